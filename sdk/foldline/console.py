"""The console of a task in the user's own process: shown as before, and kept as the task's log."""

import logging
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from foldline.errors import ConnectionFailed, FoldlineError, Refused, Unavailable

if TYPE_CHECKING:
    from foldline.client import Client

EVERY: Final = 1.0
PIECE: Final = 256 * 1024

log = logging.getLogger("foldline")


class Tee:
    """A stream that passes everything on to the one it stands for, and a copy to the console's log.

    No subclass of the io classes: those close what they stand for when they are thrown away.
    """

    def __init__(self, stream: TextIO, console: "Console") -> None:
        self._stream = stream
        self._console = console

    def write(self, text: str, /) -> int:
        written = self._stream.write(text)
        self._console.keep(text)
        return written

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Console:
    """Sends what the process writes to the task's log, a second at a time.

    Handlers of logging that were made before for one of the streams go on with its copy.
    """

    def __init__(
        self, client: "Client", identifier: str, attempt: int, *, stdout: bool = True, stderr: bool = True
    ) -> None:
        global _own
        self._client = client
        self._id = identifier
        self._attempt = attempt
        self._offset = 0
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._streams = (sys.stdout, sys.stderr)
        if stdout:
            sys.stdout = cast(TextIO, Tee(sys.stdout, self))
        if stderr:
            sys.stderr = cast(TextIO, Tee(sys.stderr, self))
        _move_handlers(self._streams, (sys.stdout, sys.stderr))
        _own = self
        threading.Thread(target=self._send_now_and_then, name="foldline-console", daemon=True).start()

    def keep(self, text: str) -> None:
        if self._ended.is_set():
            return
        with self._lock:
            self._waiting += text.encode("utf-8", "replace")

    def close(self) -> None:
        """Give the streams back and send what is left."""
        global _own
        _move_handlers((sys.stdout, sys.stderr), self._streams)
        if isinstance(sys.stdout, Tee):
            sys.stdout = self._streams[0]
        if isinstance(sys.stderr, Tee):
            sys.stderr = self._streams[1]
        if _own is self:
            _own = None
        self._ended.set()
        self._send_all()

    def is_of(self, identifier: str) -> bool:
        return self._id == identifier

    def _send_now_and_then(self) -> None:
        while not self._ended.wait(EVERY):
            self._send_all()

    def _send_all(self) -> None:
        with self._sending:
            while True:
                with self._lock:
                    piece = bytes(self._waiting[:PIECE])
                if not piece:
                    return
                try:
                    self._offset = self._client.tasks.append_log(
                        self._id, piece, attempt=self._attempt, offset=self._offset
                    )
                except Refused as no:
                    behind = no.problem.get("offset")
                    if behind is None or int(behind) == self._offset:
                        self._give_up(no)
                        return
                    # The server came back from a crash with less than it had said: go on where it stands.
                    self._offset = int(behind)
                    continue
                except (ConnectionFailed, Unavailable) as why:
                    log.debug("the log of task %s waits for the server: %s", self._id, why)
                    return
                except FoldlineError as no:
                    self._give_up(no)
                    return
                with self._lock:
                    del self._waiting[: len(piece)]

    def _give_up(self, why: FoldlineError) -> None:
        log.debug("the log of task %s goes no further: %s", self._id, why)
        self._ended.set()
        with self._lock:
            self._waiting.clear()


# The console that this process shares with its task's log.
_own: Console | None = None


def keep_only(identifier: str, text: str) -> bool:
    """Put `text` into the log of the task without showing it; False when this process keeps no log of that task."""
    if _own is None or not _own.is_of(identifier):
        return False
    _own.keep(text)
    return True


def _move_handlers(before: Sequence[TextIO], after: Sequence[TextIO]) -> None:
    """Have logging's handlers that write to one of `before` write to what stands there for it."""
    named = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for handler in {handler for logger in (logging.root, *named) for handler in logger.handlers}:
        if isinstance(handler, logging.StreamHandler):
            found = cast("logging.StreamHandler[TextIO]", handler)
            for old, new in zip(before, after, strict=True):
                if found.stream is old and old is not new:
                    found.setStream(new)
                    break
