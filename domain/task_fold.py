"""A task folded from its events."""

from collections.abc import Mapping
from typing import Any, assert_never

from msgspec.structs import replace

from domain.task_events import (
    ArtifactAdded,
    ArtifactsRemoved,
    ModelAdded,
    TaskAdopted,
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEdited,
    TaskEnqueued,
    TaskEvent,
    TaskFailed,
    TaskPublished,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
)
from domain.task_state import Artifact, Attempt, Task


def evolve(task: Task, event: TaskEvent, at: int) -> Task:
    """`task` after `event`, recorded `at` (microseconds UTC). Total: history is never refused."""
    version = task.version + 1
    match event:
        case TaskCreated():
            return replace(
                task,
                version=version,
                status="created",
                name=event.name,
                project=event.project,
                type=event.type,
                content=event.content,
                overrides=event.overrides,
                parent=event.parent,
                origin=event.origin,
                cloned_from=event.cloned_from,
                run_id=event.run_id,
                step=event.step,
                on_lost=event.on_lost,
                max_attempts=event.max_attempts,
                draft=event.draft,
                created_at=at,
            )
        case TaskAdopted():
            return replace(
                task,
                version=version,
                status="created",
                name=event.name,
                project=event.project,
                type=event.type,
                content=event.content,
                edits=(),
                overrides=event.overrides,
                parent=event.parent,
                run_id=event.run_id,
                step=event.step,
                on_lost=event.on_lost,
                max_attempts=event.max_attempts,
                draft=event.draft,
            )
        case TaskEdited():
            return replace(
                task,
                version=version,
                name=task.name if event.name is None else event.name,
                project=task.project if event.project is None else event.project,
                parent=task.parent if event.parent is None else event.parent,
                type=task.type if event.edit is None or event.edit.type is None else event.edit.type,
                edits=(*task.edits, event.edit) if event.edit else task.edits,
                runtime=_merged(task.runtime, event.runtime) if event.runtime else task.runtime,
            )
        case TaskEnqueued():
            return replace(
                task,
                version=version,
                status="queued",
                reason="",
                queue=event.queue,
                priority=event.priority,
                queued_from=task.status if task.status != "queued" else task.queued_from,
                enqueued_after=task.attempt,
                queued_at=at,
                ended_at=None,
                stop_requested=False,
                stop_reason="",
            )
        case TaskDequeued():
            return replace(task, version=version, status=event.back_to, queue=None)
        case TaskStarted():
            attempt = Attempt(
                number=event.attempt,
                agent_id=event.agent_id,
                session=event.session,
                host=event.host,
                started_at=at,
            )
            return replace(
                task,
                version=version,
                status="in_progress",
                reason="",
                queue=task.queue if task.status == "queued" else None,
                attempts=(*task.attempts, attempt),
                started_at=at,
                ended_at=None,
                stop_requested=False,
                stop_reason="",
            )
        case TaskStopRequested():
            return replace(task, version=version, stop_requested=True, stop_reason=event.reason)
        case TaskRequeued():
            lost = _ended(task.attempts, "lost", event.reason, at)
            return replace(task, version=version, status="queued", reason=event.reason, attempts=lost, queued_at=at)
        case TaskStopped():
            return _with_end(task, "stopped", event, at)
        case TaskFailed():
            return _with_end(task, "failed", event, at)
        case TaskCompleted():
            return _with_end(task, "completed", event, at)
        case TaskReset():
            return replace(
                task,
                version=version,
                status="created",
                reason="",
                queue=None,
                stop_requested=False,
                stop_reason="",
                artifacts={name: kept for name, kept in task.artifacts.items() if kept.record.mode == "input"},
                incomplete=False,
                models=tuple(model for model in task.models if model.kind == "input"),
                runtime={},
                started_at=None,
                ended_at=None,
            )
        case TaskPublished():
            return replace(task, version=version, status="published")
        case ArtifactAdded():
            added = Artifact(record=event, timestamp=at)
            return replace(task, version=version, artifacts={**task.artifacts, event.name: added})
        case ArtifactsRemoved():
            incomplete = task.incomplete or task.status == "completed"
            left = artifacts_left(task.artifacts, event)
            return replace(task, version=version, artifacts=left, incomplete=incomplete)
        case ModelAdded():
            return replace(task, version=version, models=added_model(task.models, event))
        case _:
            assert_never(event)


def artifacts_left(artifacts: Mapping[str, Artifact], event: ArtifactsRemoved) -> dict[str, Artifact]:
    return {name: artifact for name, artifact in artifacts.items() if name not in event.names}


def added_model(models: tuple[ModelAdded, ...], model: ModelAdded) -> tuple[ModelAdded, ...]:
    """`models` with `model`: in the place of the one with its id and kind, else at the end."""
    key = (model.id, model.kind)
    if any((known.id, known.kind) == key for known in models):
        return tuple(model if (known.id, known.kind) == key else known for known in models)
    return (*models, model)


def _with_end(task: Task, status: str, event: TaskStopped | TaskFailed | TaskCompleted, at: int) -> Task:
    attempts = task.attempts
    if task.status == "in_progress":
        attempts = _ended(attempts, status, event.reason, at, event.exit_code, event.began_at)
    return replace(
        task,
        version=task.version + 1,
        status=status,
        reason=event.reason,
        attempts=attempts,
        ended_at=at,
        stop_requested=False,
    )


def _ended(
    attempts: tuple[Attempt, ...],
    status: str,
    reason: str,
    at: int,
    exit_code: int | None = None,
    began_at: int | None = None,
) -> tuple[Attempt, ...]:
    if not attempts:
        return ()
    last = replace(attempts[-1], status=status, reason=reason, ended_at=at, exit_code=exit_code, began_at=began_at)
    return (*attempts[:-1], last)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**old, **new}.items() if value is not None}
