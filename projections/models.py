"""The list of models: one row each, by the words of the task that has made it, else of the first that has read it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Table

from domain.task import ModelAdded, TaskPublished, TaskReset
from eventstore.codec import encode
from projections.projection import Entry, Page
from projections.sheet import Desk, Row
from projections.tables import key_of, model_row, model_tag

KINDS = (ModelAdded, TaskPublished, TaskReset)


class Models:
    name = "models"
    version = 1
    tables: Sequence[Table] = (model_row, model_tag)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        sheets = _Sheets(page, desk)
        for entry in page:
            match entry.event:
                case ModelAdded():
                    sheets.add(entry, entry.event)
                case TaskPublished():
                    # Who publishes a task publishes what it has made.
                    for row in sheets.made_by(entry.id):
                        sheets.put({**row, "published": True, "changed_at": entry.at})
                case TaskReset():
                    # A task that begins anew has made nothing yet; what was published stays for those who use it.
                    for row in sheets.made_by(entry.id):
                        sheets.remove(row)
                case _:
                    pass


class _Sheets:
    """The rows that a page is about, and which task has made which."""

    def __init__(self, page: Page, desk: Desk) -> None:
        named = {entry.event.id for entry in page.entries if isinstance(entry.event, ModelAdded)}
        ended = {entry.id for entry in page.entries if isinstance(entry.event, TaskPublished | TaskReset)}
        self._rows = desk.load(model_row.c.id, named)
        desk.load(model_row.c.task_id, ended)
        self._tags = desk.load(model_tag.c.model_id, {str(row["id"]) for row in self._rows.rows.values()})
        self._made: dict[str, set[str]] = defaultdict(set)
        for row in self._rows.rows.values():
            self._made[row["task_id"]].add(row["id"])

    def add(self, entry: Entry, event: ModelAdded) -> None:
        before = self._rows.rows.get(event.id)
        if before is not None and event.kind == "input" and (before["kind"], before["task_id"]) != ("input", entry.id):
            return  # it only reads what another has made
        self.put(
            {
                "id": event.id,
                "position": before["position"] if before else entry.position,
                "task_id": entry.id,
                "kind": event.kind,
                "name": event.name,
                "project": event.project,
                "url": event.url,
                "framework": event.framework,
                "comment": event.comment,
                "tags": encode(event.tags),
                "labels": encode(event.labels),
                "config_text": event.config_text,
                "config_dict": encode(event.config_dict),
                "metadata": encode(event.metadata),
                "parent": event.parent,
                "iteration": event.iteration,
                "published": event.published,
                "archived": event.archived,
                "created_at": before["created_at"] if before else entry.at,
                "changed_at": entry.at,
            }
        )

    def made_by(self, task_id: str) -> list[Row]:
        """What of the task's output is not published."""
        found = [self._rows.rows[identifier] for identifier in sorted(self._made[task_id])]
        return [row for row in found if row["kind"] == "output" and not row["published"]]

    def put(self, row: Row) -> None:
        before = self._rows.rows.get(row["id"])
        if before is not None:
            self.remove(before)
        self._rows.put(row)
        self._made[row["task_id"]].add(row["id"])
        for tag in _tags(row):
            self._tags.put({"tag": tag, "model_id": row["id"]})

    def remove(self, row: Row) -> None:
        self._rows.remove(row["id"])
        self._made[row["task_id"]].discard(row["id"])
        for tag in _tags(row):
            self._tags.remove((tag, row["id"]))


def _tags(row: Row) -> Iterable[str]:
    return map(key_of, msgspec.json.decode(row["tags"], type=list[str]))
