"""Tasks and events as the API shows them, and runs read as tasks."""

from typing import Any

import msgspec
from msgspec.structs import replace

from api.wire import position_text, time_text
from controller.formats import meta_of
from domain.content import Content, Parameter, edited
from domain.lifecycle import RUN_ENDED
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


def run_as_task(run: Run, hosted: Content | None = None) -> Json:
    """The run read as the controller task that it is. `hosted`: what its host runs, where it has one."""
    return task_view(controller_task(run), controller_content(run, hosted or Content()))


def controller_task(run: Run) -> Task:
    host = run.host
    return Task(
        id=run.id,
        version=run.version,
        status="in_progress" if run.status in ("running", "paused") else run.status,
        reason=run.reason,
        name=run.name,
        project=run.project,
        type="controller",
        parent=run.parent_run,
        origin=run.origin,
        queue=host.queue or None,
        attempts=host.attempts,
        stop_requested=run.ending is not None and run.status not in RUN_ENDED,
        stop_reason=run.reason if run.ending else "",
        artifacts=run.outputs.artifacts,
        models=run.outputs.models,
        runtime=run.outputs.runtime,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def controller_content(run: Run, hosted: Content) -> Content:
    """What the run is made of as a task: what its host runs, the run's parameters, and what was edited since."""
    known = {parameter.name: parameter for parameter in run.plan.definition.parameters}
    arguments: dict[str, Parameter] = {}
    for name, value in run.parameters.items():
        declared = known.get(name)
        arguments[name] = Parameter(value, declared and declared.type, declared and declared.description)
    sections = {**hosted.hyperparameters, **({"Args": arguments} if arguments else {})}
    content = replace(hosted, type="controller", hyperparameters=sections, tags=run.tags, system_tags=("pipeline",))
    for edit in run.outputs.edits:
        content = edited(content, edit)
    return content


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
