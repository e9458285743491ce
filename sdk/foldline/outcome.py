"""A task's status: asked, waited for, and set."""

import contextlib
import logging
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

from foldline import aborting, process
from foldline.errors import FoldlineError, Refused
from foldline.handle import TaskHandle

# In the task's runtime, as ClearML has it.
PUBLISH_ON_COMPLETION: Final = "_publish_on_complete"

log = logging.getLogger("foldline")


class TaskFailed(FoldlineError, RuntimeError):
    """A task that was waited for came to an end that it should not come to."""


class WithOutcome(TaskHandle):
    """Task's methods about its status."""

    @property
    def status(self) -> str:
        return self.get_status()

    def get_status(self) -> str:
        """created, queued, in_progress, stopped, failed, completed or published; read from the server."""
        self.reload()
        return str(self.data["status"])

    def get_status_message(self) -> str:
        """Why it has the status that it has."""
        self.reload()
        return str(self.data["reason"])

    def wait_for_status(
        self,
        status: Iterable[str] = ("completed", "stopped", "closed"),
        raise_on_status: Iterable[str] | None = ("failed",),
        check_interval_sec: float = 60.0,
    ) -> None:
        """Return when the task has one of `status`. Raises TaskFailed when it has one of `raise_on_status` first.

        The server is asked often at first, then at most every two seconds, and no seldomer than every
        `check_interval_sec`. What is published was completed.
        """
        wanted = _words(status)
        bad = _words(raise_on_status or ())
        if "completed" in wanted:
            wanted.add("published")
        pause = 0.05
        while True:
            found = self.get_status()
            if found in bad:
                raise TaskFailed(f"task {self.data['name']!r} ({self.id}) is {found}: {self.data['reason']}")
            if found in wanted:
                return
            time.sleep(min(pause, check_interval_sec))
            pause = min(pause * 1.5, 2.0)

    def mark_started(self, force: bool = False) -> None:
        """Start an attempt in this process, and keep it until the process ends.

        `force` first takes a task out of its queue.
        """
        if force and self.get_status() == "queued":
            self._client.tasks.dequeue(self.id)
        self._start_here()

    def started(self, ignore_errors: bool = True, force: bool = False) -> None:
        with self._refusals(ignore_errors):
            self.mark_started(force=force)

    def mark_stop_request(self, force: bool = False, status_message: str | None = None) -> None:
        """Ask the task to stop: it may save its work, then it is stopped."""
        if not (force and self._is("stopped")):
            self._record = self._client.tasks.stop(self.id, status_message or "")

    def stop_request(self, ignore_errors: bool = True, force: bool = False, status_message: str | None = None) -> None:
        with self._refusals(ignore_errors):
            self.mark_stop_request(force=force, status_message=status_message)

    def mark_stopped(self, force: bool = False, status_message: str | None = None) -> None:
        """Stop the task at once. `force`: also one that does not run, by way of an attempt that does nothing."""
        attempt = self._given_up(force)
        self._run_first(force, "stopped", "in_progress", "queued")
        self._record = self._client.tasks.stop(self.id, status_message or "", now=True, attempt=attempt)

    def stopped(
        self,
        ignore_errors: bool = True,
        force: bool = False,
        status_reason: str | None = None,
        status_message: str | None = None,
    ) -> None:
        with self._refusals(ignore_errors):
            self.mark_stopped(force=force, status_message=_together(status_reason, status_message))

    def mark_completed(
        self, ignore_errors: bool = True, status_message: str | None = None, force: bool = False
    ) -> None:
        """End the task well. `force`: also one that does not run, by way of an attempt that does nothing."""
        with self._refusals(ignore_errors):
            attempt = self._given_up(force)
            self._run_first(force, "completed", "in_progress", "stopped")
            self._record = self._client.tasks.complete(self.id, status_message or "", attempt=attempt)
            self._publish_if_asked()

    def completed(self, ignore_errors: bool = True) -> None:
        self.mark_completed(ignore_errors=ignore_errors)

    def mark_failed(
        self,
        ignore_errors: bool = True,
        status_reason: str | None = None,
        status_message: str | None = None,
        force: bool = False,
    ) -> None:
        """End the task as failed. `force`: also one that does not run, by way of an attempt that does nothing."""
        with self._refusals(ignore_errors):
            attempt = self._given_up(force)
            self._run_first(force, "failed", "in_progress", "queued", "stopped")
            reason = _together(status_reason, status_message)
            self._record = self._client.tasks.fail(self.id, reason, attempt=attempt)

    def publish(self, ignore_errors: bool = True) -> None:
        """Keep the task as it is for good."""
        with self._refusals(ignore_errors):
            self._record = self._client.tasks.publish(self.id)

    def publish_on_completion(self, enable: bool = True) -> None:
        """Publish the task when this process has ended it well."""
        self._edit(runtime={PUBLISH_ON_COMPLETION: bool(enable)})

    def reset(self, set_started_on_success: bool = False, force: bool = False) -> None:
        """Back to created: parameters stay, what the task has put out goes; its history stays in the log.

        `force` stops it, or takes it out of its queue, first; `set_started_on_success` starts it in this process.
        """
        status = self.get_status() if force else ""
        if status == "in_progress":
            self.mark_stopped(status_message="reset")
        elif status == "queued":
            self._client.tasks.dequeue(self.id)
        self._record = self._client.tasks.reset(self.id)
        if set_started_on_success:
            self._start_here()

    def register_abort_callback(
        self, callback_function: Callable[[], Any] | None, callback_execution_timeout: float = 30.0
    ) -> None:
        """Call this when the task is asked to stop, and only then stop it; None takes it back.

        It has `callback_execution_timeout` seconds, while the script goes on beside it; under an agent no longer
        than the agent's own patience (10 seconds unless it was started with another). Raises FoldlineError when the
        task is not this process's.
        """
        if not self._is_mine():
            raise FoldlineError("register_abort_callback() is for the task of this process: call Task.init first")
        from foldline.own_process import save_work_on_terminate

        if process.given_by_agent():
            save_work_on_terminate()
        aborting.register(callback_function, float(callback_execution_timeout))

    def _publish_if_asked(self) -> None:
        if self.data["runtime"].get(PUBLISH_ON_COMPLETION):
            self._record = self._client.tasks.publish(self.id)

    def _is(self, status: str) -> bool:
        return self.get_status() == status

    def _given_up(self, force: bool) -> int | None:
        """The attempt of it that this process was until now, in whose name its outcome is said: none with `force`."""
        attempt = None if force else process.attempt_of(self.id)
        self._release()
        return attempt

    def _run_first(self, force: bool, wanted: str, *open_: str) -> None:
        """What `force` stands for: a legal way to an outcome that the present status does not lead to."""
        if not force:
            return
        status = self.get_status()
        if status == wanted or status in open_:
            return
        if status == "queued":
            self._client.tasks.dequeue(self.id)
        self._client.tasks.start(self.id, session=uuid.uuid4().hex, host=socket.gethostname())

    @contextlib.contextmanager
    def _refusals(self, ignore: bool) -> Generator[None, None, None]:
        """What the task's state does not allow: raised, or with `ignore` named in a warning."""
        try:
            yield
        except Refused as no:
            if not ignore:
                raise
            log.warning("%s", no)

    def _is_mine(self) -> bool:
        raise NotImplementedError

    def _start_here(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError


def _together(reason: str | None, message: str | None) -> str:
    return ": ".join(word for word in (reason, message) if word)


def _words(statuses: Iterable[Any]) -> set[str]:
    given = [statuses] if isinstance(statuses, str) else list(statuses)
    return {str(getattr(word, "value", word)) for word in given}
