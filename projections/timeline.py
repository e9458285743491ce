"""When each task waited and when it ran: a row for each stay in a queue and each attempt, as Gantt charts draw them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Table

from domain.task import (
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEnqueued,
    TaskFailed,
    TaskRequeued,
    TaskStarted,
    TaskStopped,
)
from projections.projection import Entry, Page
from projections.sheet import Desk, Row
from projections.tables import timeline

# TaskCreated puts nothing in, but a task that is created on a page has no rows yet that would have to be looked for.
KINDS = (
    TaskCreated,
    TaskEnqueued,
    TaskDequeued,
    TaskStarted,
    TaskRequeued,
    TaskStopped,
    TaskFailed,
    TaskCompleted,
)

# What is said of a stay that these end.
OUTCOMES: Mapping[type, str] = {
    TaskStarted: "started",
    TaskEnqueued: "moved",
    TaskDequeued: "dequeued",
    TaskRequeued: "lost",
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskStopped: "stopped",
}


class Timeline:
    name = "timeline"
    version = 1
    tables: Sequence[Table] = (timeline,)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        rows = desk.load(timeline.c.task_id, page.begun_before())
        last: dict[str, Row] = {}
        for row in rows.rows.values():
            known = last.get(row["task_id"])
            if known is None or row["version"] > known["version"]:
                last[row["task_id"]] = row
        for entry in page:
            before = last.get(entry.id)
            if before is not None and before["ended_at"] is None:
                _close(before, entry)
                rows.put(before)
            after = _opened(entry, before)
            if after is not None:
                last[entry.id] = after
                rows.put(after)


def _opened(entry: Entry, before: Row | None) -> Row | None:
    """The row that begins with this event."""
    attempts = 0
    if before is not None:
        attempts = before["attempt"] if before["phase"] == "running" else before["attempt"] - 1
    match entry.event:
        case TaskEnqueued() | TaskRequeued():
            return _row(entry, phase="queued", attempt=attempts + 1, queue=entry.event.queue)
        case TaskStarted():
            row = _row(entry, phase="running", attempt=entry.event.attempt, queue=None)
            row.update(agent_id=entry.event.agent_id or None, host=entry.event.host)
            return row
        case _:
            return None


def _row(entry: Entry, *, phase: str, attempt: int, queue: str | None) -> Row:
    return {
        "task_id": entry.id,
        "version": entry.version,
        "run_id": entry.run_id,
        "step": entry.step,
        "attempt": attempt,
        "phase": phase,
        "queue": queue,
        "agent_id": None,
        "host": None,
        "outcome": None,
        "started_at": entry.at,
        "began_at": None,
        "ended_at": None,
    }


def _close(row: Row, entry: Entry) -> None:
    event = entry.event
    row.update(ended_at=entry.at, outcome=OUTCOMES.get(type(event)))
    if isinstance(event, TaskCompleted | TaskFailed | TaskStopped):
        row["began_at"] = event.began_at
