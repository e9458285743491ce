"""Output on its way to the server: files that attempts write, sent piece by piece as they grow."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from foldline.agent.patience import Pauses, is_away
from foldline.client import Client
from foldline.errors import ApiError, FoldlineError, Refused

PIECE: Final = 256 * 1024  # bytes in one request
EVERY: Final = 0.1  # seconds between looks at the files
AWAKE: Final = 2.0  # seconds after the last log in which one need not be told of the next

log = logging.getLogger("foldline.agent")


class Log:
    """The output of one attempt: a file that its process appends to, and how far the server has it."""

    def __init__(self, task_id: str, number: int, path: Path) -> None:
        self.task_id = task_id
        self.number = number
        self.offset = 0
        self.ended = False
        self.settled = threading.Event()  # the server has all of it, or will not have it
        self._path = path
        self._file: int | None = None
        self._lock = threading.Lock()
        self._when_settled: list[Callable[[], None]] = []

    def is_sent(self) -> bool:
        """Whether the server has all that was written so far."""
        try:
            return os.stat(self._path).st_size <= self.offset
        except OSError:
            return False  # it was never begun or somebody has removed it: the thread that sends finds out

    def next_piece(self) -> bytes:
        """For the thread that sends, which alone has the file open; and only when there is something in it."""
        if self._file is None:
            try:
                if os.stat(self._path).st_size == 0:
                    return b""
                self._file = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                return b""
        return os.pread(self._file, PIECE, self.offset)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def settle(self) -> None:
        with self._lock:
            self.settled.set()
            calls, self._when_settled = self._when_settled, []
        for call in calls:
            call()

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call it then, in whichever thread that is, or now."""
        with self._lock:
            if not self.settled.is_set():
                self._when_settled.append(call)
                return
        call()


class LogShipper:
    """One thread that sends what was appended, at most a piece of each log in turn, so that none starves the others.

    The files are followed rather than fed by a pipe: what a process writes is on disk whatever becomes of the agent
    or the server, and nobody waits for a reader. `echo` is shown what was sent, of all logs.
    """

    def __init__(self, client: Client, echo: IO[bytes] | None = None) -> None:
        self._client = client
        self._echo = echo
        self._logs: list[Log] = []
        self._asleep = False
        self._changed = threading.Condition()
        self._closed = False
        self._nudged = False
        self._failures = 0  # one after another
        self._pauses = Pauses()
        threading.Thread(target=self._run, name="logs", daemon=True).start()

    def follow(self, task_id: str, number: int, path: Path) -> Log:
        """Send `path` from now on, until `finish`."""
        shipped = Log(task_id, number, path)
        with self._changed:
            self._logs.append(shipped)
            if self._asleep:
                self._changed.notify_all()
        return shipped

    def finish(self, shipped: Log, patience: float = 0.0) -> bool:
        """Nothing more will be written. Whether the server has it all, or will not have it.

        Waits for that `patience` seconds, less when the server is away.
        """
        if shipped.is_sent():
            shipped.settle()
            return True
        with self._changed:
            shipped.ended = True
            self._nudged = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: shipped.settled.is_set() or self._is_away() or self._closed, patience)
        return shipped.settled.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether the server has all logs, within `seconds`."""
        with self._changed:
            logs = list(self._logs)
        give_up = time.monotonic() + seconds
        return all(shipped.settled.wait(max(0.0, give_up - time.monotonic())) for shipped in logs)

    def close(self) -> None:
        """Send no more. Those who wait for a log need wait no longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_away(self) -> bool:
        # Once is a hiccup, for which no outcome need be told ahead of its log.
        return self._failures > 1

    def _run(self) -> None:
        while logs := self._open_logs():
            try:
                busy = [self._send_piece(shipped) for shipped in logs]
                self._pauses.reset()
                self._failures = 0
                if not any(busy):
                    self._rest(EVERY)
            except Exception as error:
                if not isinstance(error, FoldlineError):
                    log.error("logs cannot be sent now", exc_info=error)
                self._failures += 1
                self._rest(self._pauses.next(), until_nudged=False)
        for shipped in self._logs:
            shipped.settle()
            shipped.close()

    def _open_logs(self) -> list[Log]:
        """The logs to look at; waits while there are none. Empty when closed."""
        with self._changed:
            for shipped in self._logs:
                if shipped.settled.is_set():
                    shipped.close()
            self._logs = [shipped for shipped in self._logs if not shipped.settled.is_set()]
            self._changed.notify_all()
            # While attempts follow each other, it looks now and then rather than be woken by each.
            asleep_at = time.monotonic() + AWAKE
            while not self._logs and not self._closed and time.monotonic() < asleep_at:
                self._changed.wait(EVERY)
            self._asleep = not self._logs
            self._changed.wait_for(lambda: self._logs or self._closed)
            self._asleep = False
            return [] if self._closed else list(self._logs)

    def _rest(self, seconds: float, *, until_nudged: bool = True) -> None:
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or (until_nudged and self._nudged), seconds)
            self._nudged = False

    def _send_piece(self, shipped: Log) -> bool:
        """Send the next piece, if there is one. Raises FoldlineError when the server is away."""
        ended = shipped.ended  # read first: what comes before it is in the file already
        piece = shipped.next_piece()
        if not piece:
            if ended:
                shipped.settle()
            return False
        try:
            shipped.offset = self._client.tasks.append_log(
                shipped.task_id, piece, attempt=shipped.number, offset=shipped.offset
            )
            self._show(piece)
        except ApiError as error:
            if is_away(error):
                raise
            self._resume_or_give_up(shipped, error)
        return True

    def _show(self, piece: bytes) -> None:
        if self._echo is None:
            return
        try:
            self._echo.write(piece)
            self._echo.flush()
        except OSError:
            self._echo = None  # nobody reads it any more

    def _resume_or_give_up(self, shipped: Log, error: ApiError) -> None:
        """The server says where it stands (a piece was lost with it), or that it takes no more."""
        offset = error.problem.get("offset")
        if isinstance(error, Refused) and isinstance(offset, int) and offset != shipped.offset:
            shipped.offset = offset
            return
        log.warning("the log of attempt %s of task %s ends early: %s", shipped.number, shipped.task_id, error)
        shipped.settle()
