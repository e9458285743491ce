"""What an event of one run asks for outside of it: results to reuse, a task to adopt, the run of a pipeline in it."""

import json
from typing import TYPE_CHECKING

from controller.folding import plan_of
from controller.formats import definition_from
from controller.submit import digests
from domain import pipeline as pipelines
from domain import run as runs
from domain.caching import differing
from domain.content import Edit
from domain.ids import pipeline_id
from domain.lifecycle import RUN_ENDED, STEP_ENDED, words
from domain.refused import Refused, Unknown
from domain.run import Fact, Run
from domain.run_events import (
    AdoptionAsked,
    AdoptionRefused,
    CacheAnswered,
    CacheAsked,
    ChildRunEnded,
    ChildRunLaunched,
    ChildStopRequested,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopped,
)
from domain.task import Task, TaskAdopted, TaskCompleted
from eventstore.store import Put, Row

if TYPE_CHECKING:
    from controller.unit import Unit


# The events that ask for something outside of their run, and those whose result is kept for others.
ASKING = frozenset[type](
    {
        CacheAsked,
        AdoptionAsked,
        ChildRunLaunched,
        ChildStopRequested,
        RunPaused,
        RunResumed,
        RunCompleted,
        RunFailed,
        RunStopped,
        TaskCompleted,
    }
)


def follow(unit: "Unit", run_id: str, fact: Fact) -> None:
    """Carry out what `fact` of the run asks for. What comes of it are causes of their own, in the same append."""
    event = fact.event
    if isinstance(event, CacheAsked | AdoptionAsked) and unit.run(run_id).step(event.step).status in STEP_ENDED:
        return  # what else happened in this append has ended the run
    match event:
        case CacheAsked(look=True):
            unit.run_event(run_id, _answer(unit, event))
        case AdoptionAsked():
            _adopt(unit, run_id, event)
        case ChildRunLaunched():
            _launch_child(unit, unit.run(run_id), event)
        case ChildStopRequested():
            _stop_child(unit, event)
        case RunPaused() | RunResumed():
            _pause_children(unit, unit.run(run_id), event)
        case RunCompleted() | RunFailed() | RunStopped():
            _tell_parent(unit, unit.run(run_id))
        case TaskCompleted():
            _keep_result(unit, unit.run(run_id), fact)
        case _:
            pass


# Results that can be reused


def _answer(unit: "Unit", asked: CacheAsked) -> CacheAnswered:
    rows = unit.append.select("cache", key=asked.key)
    if rows and (task := _still_good(unit, str(rows[0]["task_id"]))) is not None:
        return _hit(unit, asked, task)
    nearest = max(unit.append.select("cache", scope=asked.scope), key=_age, default=None)
    if rows:
        reason = f"the result of task {rows[0]['task_id']} is not there any more"
        return CacheAnswered(step=asked.step, reason=reason)
    if nearest is None:
        return CacheAnswered(step=asked.step, reason="no result of this step has been kept before")
    differs = differing(asked.parts, json.loads(str(nearest["parts"])))
    reason = f"no result has this key; against that of task {nearest['task_id']}: {', '.join(differs[:5])}"
    return CacheAnswered(step=asked.step, reason=reason, differs=differs)


def _age(row: Row) -> int:
    return int(row["recorded_at"] or 0)


def _still_good(unit: "Unit", task_id: str) -> Task | None:
    try:
        task = unit.task(task_id)
    except Unknown:
        return None
    return task if task.status in ("completed", "published") and not task.incomplete else None


def _hit(unit: "Unit", asked: CacheAsked, task: Task) -> CacheAnswered:
    # All its parameters, not only what it returned: references to the step's parameters mean the reused task's.
    parameters = unit.content_of(task).hyperparameters
    return CacheAnswered(
        step=asked.step,
        task_id=task.id,
        reason=f"reused the results of task {task.id}",
        artifacts=[artifact.record for artifact in task.artifacts.values() if artifact.record.mode == "output"],
        models=[model for model in task.models if model.kind == "output"],
        edit=Edit(hyperparameters=parameters) if parameters else None,
    )


def _keep_result(unit: "Unit", run: Run, fact: Fact) -> None:
    asked = None if fact.step is None else run.step(fact.step).gates.key
    task_id = fact.stream.partition("-")[2]
    if asked is None or not _ran(unit.task(task_id)):
        return
    row = {
        "key": asked.key,
        "scope": asked.scope,
        "task_id": task_id,
        "parts": json.dumps(asked.parts, sort_keys=True, ensure_ascii=False),
        "recorded_at": fact.at,
    }
    unit.append.add([], [Put("cache", row)])


def _ran(task: Task) -> bool:
    """Whether its own code came to this end. What a person marks as completed is that step's result and no other's."""
    return bool(task.attempts) and task.attempts[-1].status == "completed"


# Tasks that a step runs itself


def _adopt(unit: "Unit", run_id: str, asked: AdoptionAsked) -> None:
    run = unit.run(run_id)
    definition = run.plan.steps[asked.step]
    try:
        task = unit.task(asked.task_id)
    except Unknown as unknown:
        unit.run_event(run_id, AdoptionRefused(step=asked.step, reason=str(unknown)))
        return
    if task.status != "created" or task.run_id is not None:
        whose = f"belongs to run {task.run_id}" if task.run_id else f"is {words(task.status)}"
        reason = f"task {task.name!r} ({task.id}) {whose}: only a draft can be run as it is"
        unit.run_event(run_id, AdoptionRefused(step=asked.step, reason=reason))
        return
    adopted = TaskAdopted(
        name=task.name,
        project=task.project,
        content=unit.keep(unit.content_of(task)),
        run_id=run_id,
        step=asked.step,
        type=task.type,
        parent=run_id,
        overrides=asked.overrides,
        on_lost=definition.on_lost,
        max_attempts=definition.max_attempts,
        draft=definition.draft,
    )
    unit.task_event(task.id, adopted)


# Pipelines as steps


def _launch_child(unit: "Unit", parent: Run, launched: ChildRunLaunched) -> None:
    def text(digest: str) -> str:
        return unit.state.text(unit.append, digest)

    definition = definition_from(text(launched.definition))
    plan = plan_of(launched.definition, text)
    pipeline = unit.state.pipeline(unit.append, pipeline_id(definition.project, definition.name))
    number = pipeline.runs + 1
    if pipeline.version:
        unit.pipeline_event(pipeline, pipelines.PipelineSubmitted(run_id=launched.run_id, number=number))
    created = RunCreated(
        name=launched.name or (f"{definition.name} #{number}" if definition.add_run_number else definition.name),
        project=definition.project,
        definition=launched.definition,
        contents=sorted(digests(unit, definition)),
        pipeline_id=pipeline.id if pipeline.version else None,
        pipeline_version=pipeline.pipeline_version,
        number=number,
        parameters={**plan.defaults, **launched.parameters},
        queue=launched.queue,
        queues=sorted(parent.queues),
        tags=definition.tags,
        cache=parent.cache,
        content=definition.host.content if definition.host else None,
        parent_run=parent.id,
        parent_step=launched.step,
    )
    unit.run_event(launched.run_id, created, plan=plan)
    unit.run_event(launched.run_id, RunStarted())


def _stop_child(unit: "Unit", asked: ChildStopRequested) -> None:
    child = unit.run(asked.run_id)
    if child.status in RUN_ENDED:
        return
    for decided in runs.command(runs.StopRun(reason=asked.reason), child):
        unit.happen(child.id, decided)


def _pause_children(unit: "Unit", parent: Run, event: RunPaused | RunResumed) -> None:
    """A pause holds for what runs as a step, too; one that its own people have paused meanwhile goes on as well."""
    paused = isinstance(event, RunPaused)
    asked = (runs.PauseRun if paused else runs.ResumeRun)(actor=event.actor, reason=event.reason)
    for name in parent.plan.names:
        step = parent.step(name)
        if step.run_id is None or step.status in STEP_ENDED:
            continue
        child = unit.run(step.run_id)
        if child.status == ("running" if paused else "paused") and not child.ending:
            for decided in runs.command(asked, child):
                unit.happen(child.id, decided)


def _tell_parent(unit: "Unit", child: Run) -> None:
    if child.parent_run is None or child.parent_step is None:
        return
    try:
        parent = unit.run(child.parent_run)
    except Refused:
        return
    step = parent.step(child.parent_step)
    if step.run_id != child.id or step.status in STEP_ENDED:
        return
    ended = ChildRunEnded(
        step=child.parent_step,
        run_id=child.id,
        status=child.status,
        reason=child.reason,
        artifacts=[artifact.record for artifact in child.outputs.artifacts.values()],
        models=[model for model in child.outputs.models if model.kind == "output"],
    )
    unit.run_event(parent.id, ended)
