"""What an event makes of the row of its run."""

from collections.abc import Sequence

import msgspec

from domain.lifecycle import RUN_ENDED
from domain.run_events import (
    DeadlinePassed,
    HookAnswered,
    HookRequested,
    HostEnded,
    HostEnqueued,
    HostLost,
    HostStarted,
    RunCompleted,
    RunEdited,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopped,
    RunStopRequested,
    StepsReopened,
)
from domain.task import ArtifactAdded, ArtifactsRemoved
from eventstore.codec import encode
from projections.projection import Entry
from projections.sheet import Row


def evolve_run(row: Row, entry: Entry) -> None:
    event, at = entry.event, entry.at
    match event:
        case RunStarted():
            row.update(status="running", started_at=at)
        case RunPaused():
            row.update(status="paused", reason=event.reason or "paused")
        case RunResumed():
            row.update(status="running", reason="")
        case RunStopRequested():
            row["reason"] = event.reason
        case RunCompleted():
            row.update(status="completed", reason="", ended_at=at)
        case RunFailed():
            row.update(status="failed", reason=event.reason, ended_at=at)
        case RunStopped():
            row.update(status="stopped", reason=event.reason, ended_at=at)
        case StepsReopened():
            if row["status"] in RUN_ENDED:
                row.update(status="running", reason="", ended_at=None)
        case RunEdited():
            row["name"] = event.name or row["name"]
            if event.parameters:
                row["parameters"] = encode({**msgspec.json.decode(row["parameters"]), **event.parameters})
        case HookRequested():
            note_hooks(row, asked={event.id: "" if event.kind == "status" else event.step})
        case HookAnswered():
            note_hooks(row, closed=event.id)
        case DeadlinePassed(kind="hook"):
            note_hooks(row, closed=event.name)
        case HostEnqueued() | HostStarted() | HostLost() | HostEnded():
            _evolve_host(row, event, at)
        case ArtifactAdded() if entry.step is None:
            add_artifact(row, event.name)
        case ArtifactsRemoved() if entry.step is None:
            remove_artifacts(row, event.names)
        case _:
            pass


def note_hooks(row: Row, *, asked: dict[str, str] | None = None, closed: str = "", ended: str = "") -> None:
    """Questions that were asked, one that was closed, or those about a step that has ended."""
    if not asked and row["hooks"] == "{}":
        return
    hooks: dict[str, str] = {**msgspec.json.decode(row["hooks"]), **(asked or {})}
    hooks.pop(closed, None)
    row["hooks"] = encode({key: step for key, step in hooks.items() if not ended or step != ended})


def add_artifact(row: Row, name: str) -> None:
    names: list[str] = msgspec.json.decode(row["artifacts"])
    if name not in names:
        row["artifacts"] = encode(sorted([*names, name]))


def remove_artifacts(row: Row, names: Sequence[str]) -> None:
    known: list[str] = msgspec.json.decode(row["artifacts"])
    row["artifacts"] = encode([name for name in known if name not in names])


def _evolve_host(row: Row, event: HostEnqueued | HostStarted | HostLost | HostEnded, at: int) -> None:
    known = msgspec.json.decode(row["host_state"])
    host = known or {"status": "", "queue": "", "attempt": 0, "agent": None, "session": None, "started_at": None}
    row.update(host_queued_at=None, host_agent=None)
    match event:
        case HostEnqueued():
            host.update(status="queued", queue=event.queue)
            row.update(host_queue=event.queue, host_queued_at=at)
        case HostStarted():
            host.update(status="running", attempt=event.attempt, agent=event.agent_id or None)
            host.update(session=event.session, started_at=at)
            row["host_agent"] = event.agent_id or None
        case HostLost():
            host["status"] = "lost"
        case HostEnded():
            host["status"] = "ended"
    row["host_state"] = encode(host)
