"""`Client`: the HTTP API as Python calls. Task, PipelineController, the command line and the agent all use it."""

import atexit
import contextlib
import os
from collections.abc import Generator, Mapping
from functools import cache, cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from foldline import process
from foldline.calls.agents import Agents
from foldline.calls.blobs import Blobs
from foldline.calls.events import Events
from foldline.calls.models import Models
from foldline.calls.places import Pipelines, Projections, Queues
from foldline.calls.plots import Plots
from foldline.calls.runs import Runs
from foldline.calls.tasks import Tasks
from foldline.listing import Json, Listing
from foldline.transport import Content, Params, Transport
from foldline.wire import Answer

if TYPE_CHECKING:
    import httpx2

__all__ = ["Client", "Json", "Listing"]


class Client:
    """A connection to one server. May be shared between threads; connects when first asked.

    `url` and `token` default to FOLDLINE_URL and FOLDLINE_TOKEN. `timeout` (seconds) is for one answer; a server
    that is away is asked again for up to `patience` seconds: 30, inside a task 600.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30,
        patience: float | None = None,
    ) -> None:
        self._transport = Transport(url, token, timeout=timeout, patience=patience)

    @classmethod
    def from_env(cls) -> Self:
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """Give up the connections; the next request makes new ones."""
        self._transport.close()

    @property
    def url(self) -> str:
        return self._transport.url

    @property
    def position(self) -> str | None:
        """Where the last write of this client stands in the log; lists wait for it."""
        return self._transport.position

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Content | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        idempotent: bool = True,
    ) -> Answer:
        """One call of the API, retried under the same Idempotency-Key while the server is away.

        `path` is relative to /api/v1, or one of /livez, /readyz, /version. `content` may be a callable that opens the
        body anew for each try. Raises ApiError, ConnectionFailed.
        """
        return self._transport.request(
            method,
            path,
            json=json,
            content=content,
            params=params,
            headers=headers,
            timeout=timeout,
            idempotent=idempotent,
        )

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Generator["httpx2.Response", None, None]:
        """A GET that is read as it comes; `silence` seconds without a byte break it off (httpx2.ReadTimeout)."""
        with self._transport.stream(path, params=params, headers=headers, silence=silence) as response:
            yield response

    @cached_property
    def runs(self) -> Runs:
        return Runs(self)

    @cached_property
    def tasks(self) -> Tasks:
        return Tasks(self)

    @cached_property
    def pipelines(self) -> Pipelines:
        return Pipelines(self)

    @cached_property
    def queues(self) -> Queues:
        return Queues(self)

    @cached_property
    def agents(self) -> Agents:
        return Agents(self)

    @cached_property
    def events(self) -> Events:
        return Events(self)

    @cached_property
    def models(self) -> Models:
        return Models(self)

    @cached_property
    def blobs(self) -> Blobs:
        return Blobs(self)

    @cached_property
    def plots(self) -> Plots:
        return Plots(self)

    @cached_property
    def projections(self) -> Projections:
        return Projections(self)

    def whoami(self) -> Json:
        return self.request("GET", "whoami").json()

    def version(self) -> Json:
        """What the server says of its version."""
        return self.request("GET", "/version").json()

    def ready(self) -> bool:
        """Whether the server can take work now; asked once."""
        from foldline.errors import FoldlineError

        try:
            return self.request("GET", "/readyz", idempotent=False).is_success
        except FoldlineError:
            return False


_shared: dict[tuple[str | None, str | None], Client] = {}


def shared() -> Client:
    """The client that Task and PipelineController use: one per address and token of the environment."""
    if process.offline():
        return _offline()
    asked = (os.environ.get("FOLDLINE_URL"), os.environ.get("FOLDLINE_TOKEN"))
    if not _shared:
        # Registered before whatever needs the client at the interpreter's end, hence run after it.
        atexit.register(close_shared)
    return _shared.get(asked) or _shared.setdefault(asked, Client())


@cache
def _offline() -> Client:
    from foldline.offline_client import OfflineClient

    return OfflineClient()


def close_shared() -> None:
    """Give up their connections; they are made anew when asked for."""
    for client in _shared.values():
        client.close()
