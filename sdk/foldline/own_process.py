"""A task in the user's own process: begun by Task.init, kept alive by a thread, ended as the process ends."""

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from foldline import process
from foldline.console import Console
from foldline.errors import ApiError, FoldlineError, Refused
from foldline.logger import flush_all

if TYPE_CHECKING:
    from foldline.client import Client

LEASE: Final = 60.0
# The lease would allow longer pauses, but a stop request comes with the answer.
LONGEST_PAUSE: Final = 5.0

log = logging.getLogger("foldline")


class OwnAttempt:
    """The attempt that this process is. It ends once: marked, stopped, failed by an exception, or completed."""

    def __init__(self, client: "Client", identifier: str, *, keep_console: bool) -> None:
        self._client = client
        self._id = identifier
        self._session = uuid.uuid4().hex
        self._owner = os.getpid()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._stop_reason: str | None = None
        started = client.tasks.start(identifier, session=self._session, host=socket.gethostname(), lease=LEASE)
        self.attempt = int(started["attempt"])
        self._pause = min(float(started["lease"]) / 4, LONGEST_PAUSE)
        self._hooks = (sys.excepthook, sys.exit)
        sys.excepthook, sys.exit = self._on_exception, self._on_exit
        atexit.register(self._at_exit)
        self._interrupter = _interrupter()
        self._console = Console(client, identifier, self.attempt) if keep_console else None
        threading.Thread(target=self._beat, name="foldline-heartbeat", daemon=True).start()
        process.set_own_task(identifier, self.attempt)

    def release(self) -> None:
        """The task has its outcome, or is to have it from elsewhere: this process says nothing more about it."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
        sys.excepthook, sys.exit = self._hooks
        atexit.unregister(self._at_exit)
        process.set_own_task(None)
        flush_all()
        if self._console is not None:
            self._console.close()

    def finish(self) -> None:
        """End the task with the outcome that this process has come to."""
        if self._ended.is_set() or os.getpid() != self._owner:
            return
        failure, stopped = self._failure, self._stop_reason
        self.release()
        tasks = self._client.tasks
        try:
            if stopped is not None:
                tasks.stop(self._id, stopped, now=True)
            elif failure is not None:
                tasks.fail(self._id, failure)
            else:
                tasks.complete(self._id)
        except Refused as no:
            log.debug("task %s has its outcome already: %s", self._id, no)

    def _beat(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                answer = self._client.tasks.heartbeat(self._id, session=self._session, attempt=self.attempt)
            except Refused as no:
                if not self._ended.is_set():
                    log.warning("task %s is no longer this process's: %s", self._id, no)
                    self._interrupt(str(no), lost=True)
                return
            except ApiError as no:
                log.warning("the heartbeat of task %s was refused: %s", self._id, no)
            except FoldlineError as why:
                log.debug("no heartbeat of task %s: %s", self._id, why)
            else:
                if answer["stop"]:
                    self._interrupt(str(answer.get("reason") or "stop requested"), lost=False)
                    return

    def _interrupt(self, reason: str, *, lost: bool) -> None:
        """Interrupt the main thread as Ctrl-C would, so that it may save its work."""
        if lost:
            self.release()
        else:
            self._stop_reason = reason
            threading.Thread(target=self._beat_on, name="foldline-heartbeat", daemon=True).start()
        main = threading.main_thread().ident
        if main is not None and hasattr(signal, "pthread_kill"):
            # Sent to the main thread itself: a signal to the process may find another one, and a sleep goes on.
            signal.pthread_kill(main, self._interrupter)
        else:
            signal.raise_signal(self._interrupter)

    def _beat_on(self) -> None:
        """Keep the lease while the interrupted script saves its work."""
        while not self._ended.wait(self._pause):
            with contextlib.suppress(FoldlineError):
                self._client.tasks.heartbeat(self._id, session=self._session, attempt=self.attempt)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._stop_reason = self._stop_reason or "interrupted from the keyboard"
        else:
            self._failure = traceback.format_exception_only(kind, error)[-1].strip()
        self._hooks[0](kind, error, trace)

    def _on_exit(self, code: Any = None, /) -> None:
        if code is not None and code != 0 and self._owner == os.getpid():
            self._failure = f"exit code {code}" if isinstance(code, int) else str(code)
        raise SystemExit(code)

    def _at_exit(self) -> None:
        try:
            self.finish()
        except FoldlineError as why:
            print(f"the outcome of task {self._id} could not be told: {why}", file=sys.stderr)


def _interrupter() -> signal.Signals:
    """The signal that interrupts the main thread: Ctrl-C's, or another where that is ignored (`script.py &`)."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    on_main = threading.current_thread() is threading.main_thread()
    if ignored and on_main and hasattr(signal, "SIGUSR1") and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        return signal.SIGUSR1
    return signal.SIGINT


def save_work_on_terminate() -> None:
    """In an agent's process: let SIGTERM unwind the stack, so that `finally` and what is unsent have their turn."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, leave)
