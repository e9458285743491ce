"""What every part of Task rests on: an id, a client, and the record as it was last read."""

from typing import Any

from foldline.client import Client, shared
from foldline.records import Record


class TaskHandle:
    """A task of the server, by its id."""

    def __init__(self, identifier: str, *, client: Client | None = None, record: dict[str, Any] | None = None) -> None:
        self._id = identifier
        self._given_client = client
        self._record = record

    @property
    def id(self) -> str:
        return self._id

    @property
    def task_id(self) -> str:
        return self._id

    @property
    def _client(self) -> Client:
        return self._given_client or shared()

    @property
    def data(self) -> Record:
        """The whole record, as of the last read or write; `reload()` reads it anew."""
        if self._record is None:
            self._record = self._client.tasks.get(self._id)
        return Record(self._record)

    def reload(self) -> None:
        """Read the record anew."""
        self._record = self._client.tasks.get(self._id)

    def _edit(self, **fields: Any) -> None:
        self._record = self._client.tasks.edit(self._id, fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other.id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


def identifier_of(task: "str | TaskHandle") -> str:
    return task.id if isinstance(task, TaskHandle) else str(task)
