"""A step's task as ClearML's `node.job` shows it."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from foldline.client import shared
from foldline.errors import FoldlineError, NotSupported

if TYPE_CHECKING:
    pass

ENDED: Final = frozenset({"stopped", "failed", "completed", "published"})
# Seconds for which a status that was read is said again.
FRESH: Final = 1.0


class Job:
    """The task that a step runs, or whose results it has. Statuses are a task's: in_progress, stopped, ..."""

    def __init__(
        self,
        identifier: str,
        *,
        cached: bool = False,
        parameters: dict[str, Any] | None = None,
        configurations: dict[str, Any] | None = None,
    ) -> None:
        from foldline.task import Task

        self.task: Task = Task(identifier)
        self.task_parameter_override = parameters
        self.task_configuration_overrides = configurations
        self._cached = cached
        self._status = ""
        self._asked_at = float("-inf")

    def __repr__(self) -> str:
        return f"Job({self.task.id!r})"

    def task_id(self) -> str:
        return self.task.id

    def status(self, force: bool = False) -> str:
        """The task's status, asked at most once a second unless `force`."""
        if force or time.monotonic() - self._asked_at > FRESH:
            self._status = str(self.task.get_status())
            self._asked_at = time.monotonic()
        return self._status

    def status_message(self) -> str:
        """Why it has the status that it had when that was last asked."""
        return str(self.task.data["reason"])

    def get_metric(self, title: str, series: str) -> tuple[float, float, float]:
        """The lowest, the highest and the last value. Raises KeyError when nothing was reported there."""
        found = self.task.get_last_scalar_metrics()[title][series]
        return found["min"], found["max"], found["last"]

    def launch(self, queue_name: str | None = None) -> bool:
        """Refused: the run enqueues its steps by itself. Return False from the callback to skip the step."""
        raise NotSupported("the run enqueues its steps by itself: set node.queue in pre_execute_callback instead")

    def abort(self) -> None:
        """Stop the task; nothing when it has ended. One that only waits in its queue leaves it."""
        if not self._cached and self.status(force=True) not in ENDED:
            shared().tasks.stop(self.task.id, "aborted by the pipeline's own code")

    def elapsed(self) -> float:
        """Seconds since it was started, or that it took; -1 before."""
        self.task.reload()
        started, ended = self.task.data["started_at"], self.task.data["ended_at"]
        if not started:
            return -1.0
        end = datetime.fromisoformat(ended) if ended else datetime.now(UTC)
        return (end - datetime.fromisoformat(started)).total_seconds()

    def iterations(self) -> int:
        """The highest iteration reported; -1 before it was started."""
        return self.task.get_last_iteration() if self.started() else -1

    def wait(self, timeout: float | None = None, pool_period: float = 30.0) -> bool:
        """Whether it has ended, waiting for up to `timeout` minutes; asked every second, or `pool_period` if less."""
        give_up = None if timeout is None else time.monotonic() + timeout * 60
        while not self.is_stopped():
            if give_up is not None and time.monotonic() > give_up:
                return False
            time.sleep(min(pool_period, FRESH))
        return True

    def get_console_output(self, number_of_reports: int = 1) -> list[str]:
        """The end of what it printed: `number_of_reports` pieces of up to 64 KiB, the newest last."""
        pieces: list[str] = []
        offset = 0
        while True:
            data, after = shared().tasks.logs(self.task.id, offset=offset)
            if not data:
                return pieces[-number_of_reports:]
            pieces.append(data.decode("utf-8", "replace"))
            offset = after

    def worker(self) -> str | None:
        """The name of the agent that runs it; None while it is pending."""
        if self.is_pending():
            return None
        self.task.reload()
        return self.task.last_worker

    def started(self) -> bool:
        """Whether it has been started, or has ended."""
        return not self.is_pending()

    def is_running(self) -> bool:
        return self.status() == "in_progress"

    def is_stopped(self) -> bool:
        """Whether it has ended, however."""
        return self.status() in ENDED

    def is_failed(self) -> bool:
        return self.status() == "failed"

    def is_completed(self) -> bool:
        return self.status() in ("completed", "published")

    def is_aborted(self) -> bool:
        return self.status() == "stopped"

    def is_pending(self) -> bool:
        return self.status() in ("created", "queued")

    def is_cached_task(self) -> bool:
        """Whether the step reuses an earlier task's results."""
        return self._cached

    def delete(self) -> bool:
        """Whether the task could be deleted; a step's task belongs to its run, which keeps it."""
        if self._cached:
            return False
        try:
            return self.task.delete()
        except FoldlineError:
            return False
