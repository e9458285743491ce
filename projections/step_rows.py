"""What an event makes of the row of its step."""

from domain.lifecycle import STEP_ENDED
from domain.run_events import (
    AdoptionRefused,
    ApprovalRequested,
    CacheAnswered,
    ChildRunEnded,
    ChildRunLaunched,
    DeadlinePassed,
    HookAnswered,
    HookRequested,
    StepApproved,
    StepFailed,
    StepRejected,
    StepRetryScheduled,
    StepSettled,
    StepSkipped,
)
from domain.task import (
    ArtifactAdded,
    ArtifactsRemoved,
    TaskAdopted,
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEnqueued,
    TaskFailed,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
)
from eventstore.codec import encode
from projections.projection import Entry
from projections.run_rows import add_artifact, remove_artifacts
from projections.sheet import Row

# What may follow the end of a step's task before the step has ended.
FOLLOW_UPS = (HookRequested, StepRetryScheduled, StepSettled)


def evolve_step(row: Row, entry: Entry) -> None:
    event, at = entry.event, entry.at
    if entry.before == "waiting" and isinstance(event, FOLLOW_UPS) and row["status"] in STEP_ENDED:
        # That it is not the step's end yet is said by what follows in the same append.
        row.update(status="waiting", ended_at=None)
    match event:  # the commonest first: they are most of a log
        case TaskCreated():
            row["task_id"] = row["id"]
            _hold_draft(row, event.draft)
        case TaskEnqueued():
            row.update(status="queued", reason="", queue=event.queue, queued_at=at)
        case TaskStarted():
            row.update(status="running", reason="", attempts=event.attempt, started_at=at)
        case TaskCompleted():
            row["done"] = True
            _end(row, "completed", event.reason, at)
        case TaskAdopted():
            row["task_id"] = entry.id
            _hold_draft(row, event.draft)
        case TaskDequeued():
            if row["status"] == "queued":
                row.update(status="waiting", queued_at=None)
        case TaskRequeued():
            row.update(status="queued", reason=event.reason, queued_at=at)
        case TaskReset():
            row["done"] = False
        case TaskFailed():
            row["done"] = False
            _end(row, "failed", event.reason, at)
        case TaskStopped():
            _task_stopped(row, event.reason, at)
        case ArtifactAdded():
            add_artifact(row, event.name)
        case ArtifactsRemoved():
            remove_artifacts(row, event.names)
        case StepFailed():
            _end(row, "failed", event.reason, at)
        case StepSkipped():
            _end(row, "skipped", event.reason, at)
        case StepSettled():
            _end(row, event.status, event.reason, at)
        case _:
            _evolve_gates(row, entry)


def _evolve_gates(row: Row, entry: Entry) -> None:
    event, at = entry.event, entry.at
    match event:
        case ApprovalRequested() | HookRequested():
            row["status"] = entry.after or row["status"]
        case HookAnswered():
            if event.kind == "created" and row["status"] == "waiting":
                row["was_asked"] = True
            row["status"] = entry.after or row["status"]
        case StepApproved() if entry.after == "completed":
            _end(row, "completed", _judged("approved", event), at)
        case StepApproved():
            row["status"] = "pending"
        case StepRejected():
            _end(row, "failed", _judged("rejected", event), at)
        case CacheAnswered() if event.task_id is not None:
            row.update(task_id=event.task_id, artifacts=encode(sorted({one.name for one in event.artifacts})))
            _end(row, "cached", event.reason, at)
        case AdoptionRefused():
            row["reason"] = event.reason
        case ChildRunLaunched():
            row.update(child_run=event.run_id, task_id=event.run_id, attempts=row["attempts"] + 1)
            row.update(status="running", queued_at=at, started_at=at)
        case ChildRunEnded():
            row["artifacts"] = encode(sorted({one.name for one in event.artifacts}))
            if event.status == "stopped":
                _task_stopped(row, event.reason, at)
            else:
                _end(row, event.status, event.reason, at)
        case StepRetryScheduled():
            row.update(status="waiting", reason=event.reason, retries=event.retry, timed_out=False)
        case DeadlinePassed(kind="time_limit"):
            row["timed_out"] = True
        case _:
            pass  # counted in the run's version, and in no other column


def reopen(row: Row, to_be_completed: bool = False) -> None:
    """It goes back to what it was before it began; a draft that nobody has touched waits as it did."""
    row["was_asked"] = row["was_asked"] and row["status"] != "skipped"
    asked = row["was_asked"] or not row["asks_created"]
    untouched = row["draft"] and row["task_id"] is not None and not (row["attempts"] or row["done"])
    row["status"] = "waiting" if untouched and asked and not to_be_completed else "pending"
    row.update(reason="", artifacts="[]", child_run=None, retries=0, timed_out=False)
    row.update(queued_at=None, started_at=None, ended_at=None)


def _hold_draft(row: Row, draft: bool) -> None:
    row["draft"] = draft
    if draft:
        row["status"] = "waiting"


def _task_stopped(row: Row, reason: str, at: int) -> None:
    if row["timed_out"]:
        _end(row, "failed", f"it ran longer than its time limit of {row['time_limit'] or 0:g} s", at)
    else:
        _end(row, "stopped", reason, at)


def _judged(verb: str, event: StepApproved | StepRejected) -> str:
    by = f"{verb} by {event.actor}" if event.actor else verb
    return f"{by}: {event.reason}" if event.reason else by


def _end(row: Row, status: str, reason: str, at: int) -> None:
    if row["status"] not in STEP_ENDED:
        row.update(status=status, reason=reason, ended_at=at)
