"""A run as its author follows it: how it stands, when it ends, how it ended."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from foldline.automation.nodes import ENDED, Node
from foldline.calls.runs import ENDED as RUN_ENDED
from foldline.client import shared
from foldline.errors import FoldlineError, TimedOut
from foldline.listing import Json
from foldline.task import Task


class FollowedRun:
    """PipelineController's methods about the run that it has submitted."""

    def __init__(self) -> None:
        self._run: Json | None = None
        self._nodes: dict[str, Node] = {}

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the run has ended, waiting for it for up to `timeout` minutes, or as long as it takes."""
        try:
            self._run = shared().runs.wait(self._known_run()["id"], None if timeout is None else timeout * 60)
        except TimedOut:
            return False
        return True

    def stop(self, timeout: float | None = None, mark_failed: bool = False, mark_aborted: bool = False) -> None:
        """Stop the run and wait for its end, for up to `timeout` minutes: stopped, or failed when marked so."""
        run = self._look()
        if run["status"] not in RUN_ENDED:
            outcome = "failed" if mark_failed and not mark_aborted else None
            self._run = shared().runs.stop(run["id"], "stopped by its author", outcome=outcome)
            self.wait(timeout)

    def is_running(self) -> bool:
        """Whether the run has been started and has not ended."""
        return self._run is not None and self._look()["status"] not in (*RUN_ENDED, "created")

    def is_successful(
        self, fail_on_step_fail: bool = True, fail_condition: Literal["all", "failed", "aborted"] = "all"
    ) -> bool:
        """Whether the run has completed and, with `fail_on_step_fail`, no step of it failed or was stopped.

        `fail_condition` says which of the two counts.
        """
        bad = {"all": ("failed", "stopped"), "failed": ("failed",), "aborted": ("stopped",)}
        if fail_condition not in bad:
            raise ValueError(f"fail_condition is one of {', '.join(bad)}, not {fail_condition!r}")
        if self._run is None or self._look()["status"] != "completed":
            return False
        counts = self._known_run()["step_counts"]
        return not (fail_on_step_fail and any(counts[status] for status in bad[fail_condition]))

    def elapsed(self) -> float:
        """Minutes since the run was started, or that it took; -1 before."""
        if self._run is None or not self._look()["started_at"]:
            return -1.0
        run = self._known_run()
        end = datetime.fromisoformat(run["ended_at"]) if run["ended_at"] else datetime.now(UTC)
        return (end - datetime.fromisoformat(run["started_at"])).total_seconds() / 60

    def get_pipeline_dag(self) -> dict[str, Node]:
        """All steps by name, in the order of their definition, as they stand now."""
        if self._run is not None:
            for step in shared().runs.steps(self._run["id"]):
                self._nodes.setdefault(step["name"], Node(name=step["name"])).update(step)
        return dict(self._nodes)

    def get_processed_nodes(self) -> dict[str, Node]:
        """The steps that have come to an end."""
        return {name: node for name, node in self.get_pipeline_dag().items() if node.status in ENDED}

    def get_running_nodes(self) -> dict[str, Node]:
        return {name: node for name, node in self.get_pipeline_dag().items() if node.status in ("queued", "running")}

    @property
    def id(self) -> str | None:
        """The run's id; None before it is submitted."""
        return None if self._run is None else str(self._run["id"])

    @property
    def task(self) -> Task | None:
        """The run, read as a task of type controller."""
        return None if self._run is None else Task(str(self._run["id"]))

    def _wait(self, each: Callable[[], None] | None = None) -> None:
        self._run = shared().runs.wait(self._known_run()["id"], each=None if each is None else lambda run: each())

    def _known_run(self) -> Json:
        if self._run is None:
            raise FoldlineError("the pipeline has not been started")
        return self._run

    def _look(self) -> Json:
        run = self._known_run()
        if run["status"] not in RUN_ENDED:
            self._run = run = shared().runs.get(run["id"])
        return run
