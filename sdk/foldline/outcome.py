"""A task's status: asked, waited for, and set."""

import time
from collections.abc import Iterable
from typing import Any

from foldline import compat
from foldline.errors import FoldlineError
from foldline.handle import TaskHandle


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
        """Start an attempt in this process, and keep it until the process ends."""
        compat.ignored("Task.mark_started", force=force)
        self._start_here()

    def started(self, ignore_errors: bool = True, force: bool = False) -> None:
        self.mark_started()

    def mark_stop_request(self, force: bool = False, status_message: str | None = None) -> None:
        """Ask the task to stop: it may save its work, then it is stopped."""
        compat.ignored("Task.mark_stop_request", force=force)
        self._record = self._client.tasks.stop(self.id, status_message or "")

    def mark_stopped(self, force: bool = False, status_message: str | None = None) -> None:
        """Stop the task at once."""
        compat.ignored("Task.mark_stopped", force=force)
        self._release()
        self._record = self._client.tasks.stop(self.id, status_message or "", now=True)

    def mark_completed(
        self, ignore_errors: bool = True, status_message: str | None = None, force: bool = False
    ) -> None:
        compat.ignored("Task.mark_completed", ignore_errors=ignore_errors, force=force)
        self._release()
        self._record = self._client.tasks.complete(self.id, status_message or "")

    def mark_failed(
        self,
        ignore_errors: bool = True,
        status_reason: str | None = None,
        status_message: str | None = None,
        force: bool = False,
    ) -> None:
        compat.ignored("Task.mark_failed", ignore_errors=ignore_errors, force=force)
        self._release()
        said = [word for word in (status_reason, status_message) if word]
        self._record = self._client.tasks.fail(self.id, ": ".join(said))

    def publish(self, ignore_errors: bool = True) -> None:
        """Keep the task as it is for good."""
        compat.ignored("Task.publish", ignore_errors=ignore_errors)
        self._record = self._client.tasks.publish(self.id)

    def reset(self, set_started_on_success: bool = False, force: bool = False) -> None:
        """Back to created: parameters stay, what the task has put out goes; its history stays in the log."""
        compat.ignored("Task.reset", set_started_on_success=set_started_on_success, force=force)
        self._record = self._client.tasks.reset(self.id)

    def _start_here(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError


def _words(statuses: Iterable[Any]) -> set[str]:
    given = [statuses] if isinstance(statuses, str) else list(statuses)
    return {str(getattr(word, "value", word)) for word in given}
