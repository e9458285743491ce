"""A run as its author follows it: how it stands, when it ends, how it ended."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from foldline.automation.hosting import hosted_run_id
from foldline.automation.nodes import Node
from foldline.automation.pending import TaskToBe
from foldline.calls.runs import ENDED as RUN_ENDED
from foldline.client import shared
from foldline.errors import FoldlineError, TimedOut
from foldline.listing import Json
from foldline.task import Task

# The run that this process was started to host, once a pipeline has taken it.
_taken: str | None = None
_calling = threading.local()


def run_to_host() -> str | None:
    """The run that an agent started this process to host, as long as no pipeline of the script has taken it."""
    run_id = hosted_run_id()
    return None if run_id == _taken else run_id


def take_hosted(run_id: str) -> None:
    """One pipeline of the script is that run; a further one is a run of its own."""
    global _taken
    _taken = run_id


def in_callback() -> bool:
    """Whether this thread is in one of the pipeline's callbacks, for which the run waits."""
    return bool(getattr(_calling, "depth", 0))


class calling:
    """`with calling():` marks the thread as being in a callback."""

    def __enter__(self) -> None:
        _calling.depth = getattr(_calling, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _calling.depth -= 1


class FollowedRun:
    """PipelineController's methods about the run that it has submitted."""

    def __init__(self) -> None:
        self._run: Json | None = None
        self._nodes: dict[str, Node] = {}
        self._server: threading.Thread | None = None  # serves callbacks beside the script
        self._to_be = TaskToBe()
        self._as_task = False  # a script that an agent is to run, rather than a run

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the run has ended, waiting for it for up to `timeout` minutes, or as long as it takes.

        A callback is answered at once: the run waits for the callback.
        """
        seconds = 0.0 if in_callback() else None if timeout is None else timeout * 60
        try:
            self._run = self._await_end(seconds)
        except TimedOut:
            return False
        if self._server is not None and not in_callback():
            self._server.join()
        return True

    def stop(self, timeout: float | None = None, mark_failed: bool = False, mark_aborted: bool = False) -> None:
        """Stop the run and wait for its end, for up to `timeout` minutes: stopped, or failed when marked so.

        Nothing happens to a run that has ended. In a callback it does not wait: the run waits for the callback.
        """
        run = self._look()
        if run["status"] not in RUN_ENDED:
            outcome = "failed" if mark_failed and not mark_aborted else None
            self._run = self._stop("stopped by its author", outcome)
            self.wait(timeout)

    def is_running(self) -> bool:
        """Whether the run has been started and has not ended."""
        return self._known() is not None and self._look()["status"] not in (*RUN_ENDED, "created")

    def is_successful(
        self, fail_on_step_fail: bool = True, fail_condition: Literal["all", "failed", "aborted"] = "all"
    ) -> bool:
        """Whether the run has completed and, with `fail_on_step_fail`, no step of it failed or was stopped.

        `fail_condition` says which of the two counts.
        """
        bad = {"all": ("failed", "stopped"), "failed": ("failed",), "aborted": ("stopped",)}
        if fail_condition not in bad:
            raise ValueError(f"fail_condition is one of {', '.join(bad)}, not {fail_condition!r}")
        if self._known() is None or self._look()["status"] != "completed":
            return False
        counts = self._known_run()["step_counts"]
        return not (fail_on_step_fail and any(counts[status] for status in bad[fail_condition]))

    def elapsed(self) -> float:
        """Minutes since the run was started, or that it took; -1 before."""
        if self._known() is None or not self._look()["started_at"]:
            return -1.0
        run = self._known_run()
        end = datetime.fromisoformat(run["ended_at"]) if run["ended_at"] else datetime.now(UTC)
        return (end - datetime.fromisoformat(run["started_at"])).total_seconds() / 60

    def get_pipeline_dag(self) -> dict[str, Node]:
        """All steps by name, in the order of their definition, as they stand now."""
        if self._known() is not None:
            for step in self._steps_now():
                self._nodes.setdefault(step["name"], Node(name=step["name"])).update(step)
        return dict(self._nodes)

    def get_processed_nodes(self) -> dict[str, Node]:
        """The steps that have come to a good end: completed or cached. `executed` is the id of the task."""
        return {name: node for name, node in self.get_pipeline_dag().items() if node.executed}

    def get_running_nodes(self) -> dict[str, Node]:
        """The steps that run or wait in a queue."""
        return {name: node for name, node in self.get_pipeline_dag().items() if node.status in ("queued", "running")}

    def update_execution_plot(self) -> None:
        """Read anew how the steps stand. The graph itself is drawn by whoever looks at the run."""
        self.get_pipeline_dag()

    @property
    def id(self) -> str | None:
        """The run's id; None before it is submitted."""
        run = self._known()
        return None if run is None else str(run["id"])

    @property
    def task(self) -> Task | TaskToBe:
        """The run, read as a task of type controller. Before it is submitted what is said to it is kept for then."""
        run = self._known()
        return self._to_be if run is None else Task(str(run["id"]))

    def _await_end(self, seconds: float | None = None, each: Callable[[], None] | None = None) -> Json:
        def looked(run: Json) -> None:
            if each is not None:
                each()

        look = None if each is None else looked
        return shared().runs.wait(self._known_run()["id"], seconds, each=look)

    def _stop(self, reason: str, outcome: str | None) -> Json:
        return shared().runs.stop(self._known_run()["id"], reason, outcome=outcome)

    def _steps_now(self) -> Sequence[Mapping[str, Any]]:
        return list(shared().runs.steps(self._known_run()["id"]))

    def _known(self) -> Json | None:
        """The run that this is: the one submitted, or the one that this process was started to host."""
        if self._run is None and (run_id := run_to_host()) is not None:
            return {"id": run_id, **shared().runs.get(run_id)}
        return self._run

    def _known_run(self) -> Json:
        run = self._known()
        if run is None:
            raise FoldlineError("the pipeline has not been started")
        return run

    def _look(self) -> Json:
        run = self._known_run()
        if run["status"] in RUN_ENDED:
            return run
        run = self._read(str(run["id"]))
        if self._run is not None:
            self._run = run
        return run

    def _read(self, identifier: str) -> Json:
        return shared().runs.get(identifier)


def task_of_run(pipeline: FollowedRun | None) -> Task | TaskToBe:
    """The controller task that is meant: of the run whose step this process is, else of `pipeline`.

    Raises ValueError when this process belongs to no run and made no pipeline.
    """
    run_id = os.environ.get("FOLDLINE_RUN_ID")
    if pipeline is not None and (pipeline.id is not None or run_id is None):
        return pipeline.task
    if run_id is not None:
        return Task(run_id)
    raise ValueError("there is no pipeline here: this process is no step of one and has made none")
