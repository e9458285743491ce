"""A task in the user's own process: begun by Task.init, kept alive by a thread, ended as the process ends."""

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from foldline import aborting, process, registered
from foldline.console import Console
from foldline.errors import ApiError, FoldlineError, Refused
from foldline.exiting import Ending
from foldline.logger import flush_all
from foldline.outcome import PUBLISH_ON_COMPLETION

if TYPE_CHECKING:
    from foldline.client import Client

LEASE: Final = 60.0
# The lease would allow longer pauses, but a stop request comes with the answer.
LONGEST_PAUSE: Final = 5.0

log = logging.getLogger("foldline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt that the server has begun for this process already. `lease` in seconds."""

    session: str
    attempt: int
    lease: float


class HeldAttempt:
    """An attempt whose lease a thread of this process keeps, until it is released or its task ends."""

    def __init__(self, client: "Client", identifier: str, begun: Begun | None = None) -> None:
        self._client = client
        self._id = identifier
        self._owner = os.getpid()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        begun = begun or _begin(client, identifier)
        self._session, self.attempt = begun.session, begun.attempt
        self._pause = min(begun.lease / 4, LONGEST_PAUSE)

    def keep(self) -> None:
        threading.Thread(target=self._beat, name="foldline-heartbeat", daemon=True).start()

    def release(self) -> bool:
        """The task has its outcome, or is to have it from elsewhere. Whether it was still held."""
        with self._lock:
            held = not self._ended.is_set()
            self._ended.set()
        return held

    def _beat(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                answer = self._client.tasks.heartbeat(self._id, session=self._session, attempt=self.attempt)
            except Refused as no:
                if not self._ended.is_set():
                    log.warning("task %s is no longer this process's: %s", self._id, no)
                    self._lost(str(no))
                return
            except ApiError as no:
                log.warning("the heartbeat of task %s was refused: %s", self._id, no)
            except FoldlineError as why:
                log.debug("no heartbeat of task %s: %s", self._id, why)
            else:
                if answer["stop"]:
                    self._asked_to_stop(str(answer.get("reason") or "stop requested"))
                    return

    def _lost(self, reason: str) -> None:
        self.release()

    def _asked_to_stop(self, reason: str) -> None:
        """Nothing of this process is the task's own work: it is stopped at once."""
        self.release()
        with contextlib.suppress(FoldlineError):
            self._client.tasks.stop(self._id, reason, now=True)


class OwnAttempt(HeldAttempt):
    """The attempt that this process is. It ends once: marked, stopped, failed by an exception, or completed."""

    def __init__(
        self,
        client: "Client",
        identifier: str,
        *,
        keep_console: bool | Mapping[str, bool],
        begun: Begun | None = None,
    ) -> None:
        super().__init__(client, identifier, begun)
        self._stop_reason: str | None = None
        self._ending = Ending()
        atexit.register(self._at_exit)
        self._interrupter = _interrupter()
        self._console = _console(client, identifier, self.attempt, keep_console)
        process.set_own_task(identifier, self.attempt)
        self.keep()

    def release(self) -> bool:
        """This process says nothing more about the task."""
        held = super().release()
        if held:
            self._ending.forget()
            atexit.unregister(self._at_exit)
            aborting.register(None, 0)
            registered.upload_all()
            flush_all()
            process.set_own_task(None)
            if self._console is not None:
                self._console.close()
        return held

    def finish(self, *, at_exit: bool = False) -> None:
        """End the task with the outcome that this process has come to; before its exit that is a good one."""
        if self._ended.is_set() or os.getpid() != self._owner:
            return
        failure, stopped = self._ending.failure() if at_exit else None, self._stop_reason
        if self._ending.interrupted:
            stopped = stopped or "interrupted from the keyboard"
        self.release()
        tasks = self._client.tasks
        try:
            if stopped is not None:
                tasks.stop(self._id, stopped, now=True, attempt=self.attempt)
            elif failure is not None:
                tasks.fail(self._id, failure, attempt=self.attempt)
            elif tasks.complete(self._id, attempt=self.attempt)["runtime"].get(PUBLISH_ON_COMPLETION):
                tasks.publish(self._id)
        except Refused as no:
            log.debug("task %s has its outcome already: %s", self._id, no)

    def _lost(self, reason: str) -> None:
        self.release()
        self._interrupt()

    def _asked_to_stop(self, reason: str) -> None:
        self._stop_reason = reason
        # The lease is kept while the script saves its work.
        threading.Thread(target=self._beat_on, name="foldline-heartbeat", daemon=True).start()
        aborting.run()
        self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt the main thread as Ctrl-C would, so that it may save its work."""
        if self._ended.is_set() and self._stop_reason is not None:
            return  # it came to its end while the abort callback ran
        main = threading.main_thread().ident
        if main is not None and hasattr(signal, "pthread_kill"):
            # Sent to the main thread itself: a signal to the process may find another one, and a sleep goes on.
            signal.pthread_kill(main, self._interrupter)
        else:
            signal.raise_signal(self._interrupter)

    def _beat_on(self) -> None:
        while not self._ended.wait(self._pause):
            with contextlib.suppress(FoldlineError):
                self._client.tasks.heartbeat(self._id, session=self._session, attempt=self.attempt)

    def _at_exit(self) -> None:
        try:
            self.finish(at_exit=True)
        except FoldlineError as why:
            print(f"the outcome of task {self._id} could not be told: {why}", file=sys.stderr)


def _begin(client: "Client", identifier: str) -> Begun:
    session = uuid.uuid4().hex
    started = client.tasks.start(identifier, session=session, host=socket.gethostname(), lease=LEASE)
    return Begun(session=session, attempt=int(started["attempt"]), lease=float(started["lease"]))


def _console(client: "Client", identifier: str, attempt: int, keep: bool | Mapping[str, bool]) -> Console | None:
    """The console as the task's log; of a mapping the entries stdout and stderr, which are True when left out."""
    wanted = {name: keep if isinstance(keep, bool) else keep.get(name, True) for name in ("stdout", "stderr")}
    if not any(wanted.values()):
        return None
    return Console(client, identifier, attempt, **wanted)


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
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
        atexit.register(registered.upload_all)


def _leave(number: int, frame: Any) -> None:
    if not aborting.registered():
        raise SystemExit(128 + number)
    # The script goes on beside the abort callback, as it may be what saves the work; then the signal comes again.
    threading.Thread(target=_abort, args=(number,), name="foldline-abort", daemon=True).start()


def _abort(number: int) -> None:
    aborting.run()
    os.kill(os.getpid(), number)
