"""Tasks, runs and steps as the API shows them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api.wire import position_text, time_text
from controller.formats import meta_of
from domain.content import Content
from domain.lifecycle import STEP_ENDED
from domain.run import Run
from domain.task import Artifact, Attempt, ModelAdded, Task
from eventstore.store import Recorded

Json = dict[str, Any]


def task_view(task: Task, content: Content) -> Json:
    made_of = msgspec.to_builtins(content)
    return {
        "id": task.id,
        "name": task.name,
        "project": task.project,
        "type": task.type,
        "status": task.status,
        "reason": task.reason,
        "version": task.version,
        "parent": task.parent,
        "origin": task.origin,
        "run_id": task.run_id,
        "step": task.step,
        "cloned_from": task.cloned_from,
        "queue": task.queue,
        "attempt": task.attempt,
        "stop_requested": task.stop_requested,
        "attempts": [attempt_view(attempt) for attempt in task.attempts],
        "created_at": time_text(task.created_at),
        "started_at": time_text(task.started_at),
        "ended_at": time_text(task.ended_at),
        "hyperparameters": made_of["hyperparameters"],
        "configuration": made_of["configuration"],
        "script": made_of["script"],
        "container": made_of["container"],
        "artifacts": {name: artifact_view(artifact) for name, artifact in task.artifacts.items()},
        "models": {
            "input": [*made_of["models"], *(model_view(model) for model in task.models if model.kind == "input")],
            "output": [model_view(model) for model in task.models if model.kind == "output"],
        },
        "runtime": dict(task.runtime),
        "tags": list(content.tags),
        "system_tags": list(content.system_tags),
        "comment": content.comment,
        "output_destination": content.output_destination,
    }


def attempt_view(attempt: Attempt) -> Json:
    return {
        "number": attempt.number,
        "agent": attempt.agent_id or None,
        "session": attempt.session,
        "host": attempt.host,
        "status": attempt.status,
        "reason": attempt.reason,
        "started_at": time_text(attempt.started_at),
        "began_at": time_text(attempt.began_at),
        "ended_at": time_text(attempt.ended_at),
        "exit_code": attempt.exit_code,
    }


def artifact_view(artifact: Artifact) -> Json:
    record: Json = msgspec.to_builtins(artifact.record)
    return {**record, "sha256": artifact.record.hash, "timestamp": time_text(artifact.timestamp)}


def model_view(model: ModelAdded) -> Json:
    return msgspec.to_builtins(model)


def run_as_task(run: Run) -> Json:
    """The run read as the controller task it is."""
    status = "in_progress" if run.status in ("running", "paused") else run.status
    content = Content(type="controller", tags=run.tags, system_tags=("pipeline",))
    task = Task(
        id=run.id,
        version=run.version,
        status=status,
        reason=run.reason,
        name=run.name,
        project=run.project,
        type="controller",
        origin=run.origin,
        stop_requested=run.ending == "stopped",
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    parameters = {name: {"value": value, "type": None, "description": None} for name, value in run.parameters.items()}
    return {**task_view(task, content), "hyperparameters": {"Args": parameters} if parameters else {}}


def run_view(run: Run, warnings: Sequence[str] = ()) -> Json:
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "kind": run.kind,
        "pipeline_id": run.pipeline_id,
        "pipeline_version": run.pipeline_version,
        "number": run.number,
        "version": run.version,
        "status": run.status,
        "reason": run.reason,
        "created_at": time_text(run.created_at),
        "started_at": time_text(run.started_at),
        "ended_at": time_text(run.ended_at),
        "parameters": dict(run.parameters),
        "tags": list(run.tags),
        "default_queue": run.queue or run.plan.definition.default_queue,
        "origin": run.origin,
        "step_counts": dict(run.counts),
        "warnings": list(warnings),
    }


def step_view(run: Run, name: str, nobody_listens: Callable[[str], bool] | None = None) -> Json:
    """A step of the run; what waits says for what."""
    step, definition = run.step(name), run.plan.steps[name]
    reason = step.reason
    if not reason and step.status == "pending" and run.status == "running":
        waits_for = [parent for parent in run.plan.parents[name] if run.step(parent).status not in STEP_ENDED]
        reason = f"waits for {', '.join(map(repr, waits_for[:5]))}{' ...' if len(waits_for) > 5 else ''}"
    elif step.status == "queued" and step.queue and nobody_listens is not None and nobody_listens(step.queue):
        reason = f"no agent listens to queue {step.queue!r}"
    return {
        "name": name,
        "status": step.status,
        "reason": reason,
        "task_id": step.task_id,
        "attempts": step.attempts,
        "parents": list(run.plan.parents[name]),
        "queue": step.queue or definition.queue or run.plan.definition.default_queue,
        "stage": definition.stage,
        "queued_at": time_text(step.queued_at),
        "started_at": time_text(step.started_at),
        "ended_at": time_text(step.ended_at),
        "artifacts": sorted(step.artifacts),
    }


def event_view(row: Recorded) -> Json:
    return {
        "position": position_text(row.position, row.shard),
        "stream": row.stream,
        "version": row.version,
        "run_id": row.run_id,
        "run_version": row.run_version,
        "type": row.type,
        "schema": row.schema,
        "subject": row.subject,
        "from_state": row.from_state,
        "to_state": row.to_state,
        "data": msgspec.json.decode(row.data),
        "meta": dict(meta_of(row)),
        "recorded_at": time_text(row.recorded_at),
    }
