"""A task's histories, one for each status, for tables of given, when and then."""

from collections.abc import Sequence

from domain.lifecycle import TASK
from domain.task import (
    Task,
    TaskCompleted,
    TaskCreated,
    TaskEnqueued,
    TaskEvent,
    TaskFailed,
    TaskPublished,
    TaskRequeued,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
    evolve,
)

CREATED = TaskCreated(name="train", project="iris", content="c" * 64)
ENQUEUED = TaskEnqueued(queue="default")
STARTED = TaskStarted(attempt=1, agent_id="a1", session="s1", host="h1")
STOPPED = TaskStopped(attempt=1, reason="enough")
FAILED = TaskFailed(attempt=1, reason="exit code 3", exit_code=3)
COMPLETED = TaskCompleted(attempt=1, exit_code=0)
ASKED = TaskStopRequested(attempt=1, reason="enough")
LOST = TaskRequeued(attempt=1, reason="agent lost", queue="default")

HISTORY: dict[str, list[TaskEvent]] = {
    "absent": [],
    "created": [CREATED],
    "queued": [CREATED, ENQUEUED],
    "in_progress": [CREATED, ENQUEUED, STARTED],
    "stopped": [CREATED, ENQUEUED, STARTED, STOPPED],
    "failed": [CREATED, ENQUEUED, STARTED, FAILED],
    "completed": [CREATED, ENQUEUED, STARTED, COMPLETED],
    "published": [CREATED, ENQUEUED, STARTED, COMPLETED, TaskPublished()],
}
# The same task as a step of a run: nobody puts it into a queue but the run.
OF_STEP = TaskCreated(name="train", project="iris", content="c" * 64, run_id="r1", step="train", parent="r1")
LEGAL = {(before, after) for (before, _), after in TASK.items()}


def fold(events: Sequence[TaskEvent]) -> Task:
    """The task after `events`, the first recorded at 1 s, the next at 2 s, and so on."""
    task = Task(id="t1")
    for number, event in enumerate(events, 1):
        task = evolve(task, event, number * 1_000_000)
    return task


def of_step(status: str) -> list[TaskEvent]:
    return [OF_STEP, *HISTORY[status][1:]]


def stays_legal(before: Task, after: Task) -> bool:
    """Whether the chart knows a way from `before` to `after`, or nothing has moved."""
    return before.status == after.status or (before.status, after.status) in LEGAL
