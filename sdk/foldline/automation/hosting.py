"""The host of a run: the process that runs the pipeline's own Python while the server runs the pipeline."""

import contextlib
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from foldline import process
from foldline.client import Client, shared
from foldline.errors import FoldlineError, Refused
from foldline.listing import Json
from foldline.own_process import LEASE, Begun, OwnAttempt

# What the server allows a question to wait.
LONGEST_WAIT: Final = 30.0

OnStop = Callable[[], None]


def hosted_run_id() -> str | None:
    """The run that an agent started this process for, to be its host; None in every other process."""
    run, task = os.environ.get("FOLDLINE_RUN_ID"), os.environ.get("FOLDLINE_TASK_ID")
    return run if run and run == task else None


class HostAttempt(OwnAttempt):
    """This process's attempt on a run. Asked to stop, it passes that on: there is more to end than a main thread."""

    def __init__(
        self, client: Client, run_id: str, *, keep_console: bool, begun: Begun, on_stop: Callable[[], None]
    ) -> None:
        self._on_stop = on_stop
        # A process that is a task already stays that one: what it puts out belongs there.
        task_id = process.task_id()
        self._task = None if task_id is None else (task_id, process.attempt_of(task_id))
        super().__init__(client, run_id, keep_console=keep_console, begun=begun)
        self._restore()

    def release(self) -> bool:
        held = super().release()
        self._restore()
        return held

    def _asked_to_stop(self, reason: str) -> None:
        self._stop_reason = reason
        threading.Thread(target=self._beat_on, name="foldline-heartbeat", daemon=True).start()
        self._on_stop()

    def _restore(self) -> None:
        if self._task is not None:
            process.set_own_task(*self._task)


class Hosting:
    """This process as the host of one run: what it may ask and answer, under the attempt that it is."""

    def __init__(
        self, client: Client, run_id: str, session: str, attempt: int, own: "HostAttempt | None" = None
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.session = session
        self.attempt = attempt
        self._own = own
        self._on_stop: list[OnStop] = []
        self._stopping = False
        self._lock = threading.Lock()

    @classmethod
    def submit(cls, definition: Mapping[str, Any], **submit_options: Any) -> tuple[Json, Self]:
        """A new run, and this process as its host, alive by its heartbeat until `finish()` or the process's end.

        `submit_options` are those of `client.runs.submit`. An exception that escapes, Ctrl-C or an exit code fail or
        stop the host, and with it the run, unless that has ended.
        """
        client, session = shared(), uuid.uuid4().hex
        host = {"session": session, "host": socket.gethostname(), "lease": LEASE}
        run = client.runs.submit(definition, host=host, **submit_options)
        hosting = cls(client, str(run["id"]), session, 1)
        begun = Begun(session=session, attempt=1, lease=LEASE)
        # A process that is a task already keeps its console there.
        keep_console = process.task_id() is None
        hosting._own = HostAttempt(
            client, hosting.run_id, keep_console=keep_console, begun=begun, on_stop=hosting._stop_asked
        )
        return run, hosting

    @classmethod
    def given(cls) -> Self:
        """The host that an agent started this process to be. Raises FoldlineError in any other process."""
        run_id = hosted_run_id()
        if run_id is None:
            raise FoldlineError("no agent started this process as the host of a run")
        hosting = cls(
            shared(), run_id, os.environ.get("FOLDLINE_SESSION", ""), int(os.environ.get("FOLDLINE_ATTEMPT") or 1)
        )
        hosting._watch_terminate()
        return hosting

    def wait_past(self, version: int, seconds: float = 20) -> Json:
        """The run once its version is higher than `version`; as it stands after `seconds` (at most 30) otherwise."""
        return self.client.runs.get(self.run_id, after=version, wait=min(seconds, LONGEST_WAIT))

    def hooks(self, wait: float) -> Json:
        """What the host is asked and has not answered: {"items", "status", "version"}, waiting up to `wait` seconds."""
        return self.client.runs.hooks(self.run_id, wait=min(wait, LONGEST_WAIT))

    def answer(self, hook_id: str, **fields: Any) -> Json:
        """Answer one: verdict, parameters, queue, task_id or error. Raises Refused when nobody asks any more."""
        return self.client.runs.answer(self.run_id, hook_id, session=self.session, attempt=self.attempt, **fields)

    def add_step(self, call: int, fingerprint: str, step: Mapping[str, Any]) -> Json:
        """Call number `call` of a dynamic run: the step, new or as it stands when an earlier host made the same call.

        Raises Refused with code `diverged` when that call was another one.
        """
        return self.client.runs.add_step(
            self.run_id, session=self.session, attempt=self.attempt, call=call, fingerprint=fingerprint, step=step
        )

    def finish(self, status: str = "completed", reason: str = "") -> None:
        """End the host: as completed, failed or stopped. Nothing is sent when the run has ended by itself."""
        if self._own is not None:
            self._own.release()
        tasks = self.client.tasks
        with contextlib.suppress(Refused):
            if status == "completed":
                tasks.complete(self.run_id, reason)
            elif status == "failed":
                tasks.fail(self.run_id, reason)
            else:
                tasks.stop(self.run_id, reason, now=True)

    def ended(self) -> None:
        """The run has ended: this process goes on without it. One that an agent started is ended by its script."""
        if self._own is not None:
            self.finish()

    def on_stop(self, callback: OnStop) -> None:
        """Call `callback` once, when the server asks this host to stop; at once when it has asked already."""
        with self._lock:
            self._on_stop.append(callback)
            late = self._stopping
        if late:
            callback()

    def _stop_asked(self, reason: str = "") -> None:
        with self._lock:
            if self._stopping:
                return
            self._stopping, callbacks = True, list(self._on_stop)
        for callback in callbacks:
            callback()

    def _watch_terminate(self) -> None:
        """An agent asks its processes to stop by SIGTERM; the second one ends this one as it would have been ended."""
        if threading.current_thread() is not threading.main_thread():
            return

        before = signal.getsignal(signal.SIGTERM)

        def terminated(number: int, frame: Any) -> None:
            if self._on_stop and not self._stopping:
                self._stop_asked()
            elif callable(before):
                before(number, frame)
            else:
                raise SystemExit(128 + number)

        signal.signal(signal.SIGTERM, terminated)
