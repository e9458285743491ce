"""A step's way from being ready to its queue: an approval, callbacks, the look for results to reuse, then its task."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from domain import caching
from domain.content import NONE, Content, Overrides, overridden, split_parameter
from domain.ids import derived, run_stream, step_task_id, task_stream
from domain.lookup import project_of, resolved
from domain.pipeline import StepDefinition
from domain.references import MissingReference, parse
from domain.refused import Refused
from domain.run_events import (
    AdoptionAsked,
    ApprovalRequested,
    CacheAsked,
    ChildRunLaunched,
    Decided,
    Fact,
    HookRequested,
    RunEvent,
    StepFailed,
)
from domain.run_state import ADOPTION, APPROVAL, CACHE, CREATED, FACTORY, PRE, Run
from domain.task_events import TaskCreated, TaskEnqueued, TaskReset

# An input that is what another step returned: `${step.id}.name`.
RETURNED = re.compile(r"\$\{([^{}]*)\.id\}\.(.+)")


def launch(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """The next thing on the step's way; nothing while the run is paused. What cannot be fails the step, saying why."""
    if run.status != "running" or run.ending:
        return []
    definition, gates = run.plan.steps[name], run.step(name).gates
    if definition.approval is not None and APPROVAL not in gates.passed:
        asked = ApprovalRequested(step=name, message=definition.approval.message, deadline=definition.approval.deadline)
        return [_said(run, asked, name)]
    try:
        overrides, queue = resolved(run, name)
        return _with_values(run, name, fact, overrides, queue)
    except (MissingReference, Refused) as missing:
        return [_said(run, StepFailed(step=name, reason=str(missing), cause=fact.run_version), name)]


def hook(run: Run, name: str, kind: str, fact: Fact, **said: Any) -> Decided:
    """The question to the host; its id follows from what it is about."""
    step = run.step(name)
    hook_id = derived("hook", run.id, name, kind, fact.run_version, slot=run.id)
    asked = HookRequested(id=hook_id, kind=kind, step=name, attempt=step.attempts, retries=step.gates.retries, **said)
    return _said(run, asked, name)


def enqueued(run: Run, name: str) -> Decided:
    """The step's task into its queue. Raises MissingReference when that is not there."""
    queue = run.step(name).queue or resolved(run, name)[1]
    return Decided(_stream(run, name), TaskEnqueued(queue=_known(run, queue)), name)


def _with_values(run: Run, name: str, fact: Fact, overrides: Overrides, queue: str) -> Sequence[Decided]:
    definition, step = run.plan.steps[name], run.step(name)
    passed, asked = step.gates.passed, run.plan.hooks(name)
    if PRE in asked and PRE not in passed:
        return [hook(run, name, PRE, fact, parameters=dict(overrides.parameters))]
    if FACTORY in asked and FACTORY not in passed:
        return [hook(run, name, FACTORY, fact)]
    if definition.pipeline is not None:
        # An own word on the queue, or one for the whole run, holds for the steps of the child too.
        said = step.gates.queue or run.queue or definition.queue
        return [_child(run, definition, overrides, _known(run, queue) if said else None)]
    _known(run, queue)
    if step.task_id is not None:
        # It has its task from an earlier attempt, or from before a pause.
        return _enqueue_unless_held(run, name, fact, queue, overrides)
    if (adopted := _to_adopt(run, definition)) is not None and ADOPTION not in passed:
        given = overrides if overrides != NONE else None
        return [_said(run, AdoptionAsked(step=name, task_id=adopted, overrides=given), name)]
    content = run.plan.content_of(name)
    if overrides != NONE:
        content = overridden(content, overrides)
    before: list[Decided] = []
    if definition.cache and run.cache != "off" and CACHE not in passed and not caching.why_not(content):
        question = _said(run, _cache_question(run, definition, content), name)
        if run.cache == "use":
            return [question]
        before = [question]
    created = Decided(task_stream(step_task_id(run.id, name)), _created(run, definition, content.type, overrides), name)
    return [*before, created, *_after_creation(run, name, fact, queue, overrides)]


def _enqueue_unless_held(run: Run, name: str, fact: Fact, queue: str, overrides: Overrides) -> Sequence[Decided]:
    step, enqueue = run.step(name), Decided(_stream(run, name), TaskEnqueued(queue=queue), name)
    if step.gates.done:
        return [Decided(enqueue.stream, TaskReset(), name), enqueue]
    if step.attempts:
        return [enqueue]
    return _after_creation(run, name, fact, queue, overrides)


def _after_creation(run: Run, name: str, fact: Fact, queue: str, overrides: Overrides) -> Sequence[Decided]:
    """What follows when the step's task is there and has never been started."""
    if CREATED in run.plan.hooks(name) and CREATED not in run.step(name).gates.passed:
        return [hook(run, name, CREATED, fact, parameters=dict(overrides.parameters))]
    if run.plan.steps[name].draft:
        return []
    return [Decided(_stream(run, name), TaskEnqueued(queue=queue), name)]


def _stream(run: Run, name: str) -> str:
    return task_stream(run.step(name).task_id or step_task_id(run.id, name))


def _known(run: Run, queue: str) -> str:
    if queue not in run.queues:
        known = ", ".join(sorted(run.queues))
        raise MissingReference(f"there is no queue {queue!r}; there were at submit: {known}")
    return queue


def _to_adopt(run: Run, definition: StepDefinition) -> str | None:
    """The task that the step runs itself, in the place of a clone."""
    made = run.step(definition.name).gates.made
    if made is not None:
        return made
    return definition.base_task_id if not definition.clone else None


def _created(run: Run, definition: StepDefinition, kind: str, overrides: Overrides) -> TaskCreated:
    if run.plan.definition.add_pipeline_tags:
        tags = [*overridden(run.plan.content_of(definition.name), overrides).tags, f"pipe: {run.id}"]
        overrides = Overrides(
            parameters=overrides.parameters,
            configuration=overrides.configuration,
            task={**overrides.task, "tags": tags},
        )
    return TaskCreated(
        name=definition.task_name or definition.name,
        project=project_of(run, definition),
        content=definition.content or "",
        type=kind,
        parent=run.id,
        cloned_from=definition.base_task_id,
        run_id=run.id,
        step=definition.name,
        overrides=overrides if overrides != NONE else None,
        on_lost=definition.on_lost,
        max_attempts=definition.max_attempts,
        draft=definition.draft,
    )


def _child(run: Run, definition: StepDefinition, overrides: Overrides, queue: str | None) -> Decided:
    name = definition.name
    launched = ChildRunLaunched(
        step=name,
        run_id=derived("child", run.id, name, run.step(name).attempts, slot=run.id),
        name=definition.task_name or "",
        definition=definition.pipeline or "",
        parameters={split_parameter(path)[1]: value for path, value in overrides.parameters.items()},
        queue=queue,
    )
    return _said(run, launched, name)


def _cache_question(run: Run, definition: StepDefinition, content: Content) -> CacheAsked:
    parts = caching.parts_of(content, {**_own_results(run, content), **_inputs(run, definition)})
    return CacheAsked(
        step=definition.name,
        key=caching.key_of(parts),
        scope=derived("cache", run.project, run.plan.definition.name, definition.name),
        parts=parts,
        look=run.cache == "use",
    )


def _inputs(run: Run, definition: StepDefinition) -> Mapping[str, Any]:
    """What stands in the key for each parameter that names another step's result: its content, not whose it is."""
    return {
        path: replaced
        for path, value in definition.parameter_override.items()
        if (replaced := _by_content(run, value)) != value
    }


def _own_results(run: Run, content: Content) -> Mapping[str, Any]:
    """The same for what the run's own host has put out: `<run id>.name`."""
    found: dict[str, Any] = {}
    for section, entries in content.hyperparameters.items():
        for name, parameter in entries.items():
            task_id, dot, result = parameter.value.partition(".") if isinstance(parameter.value, str) else ("", "", "")
            if dot and task_id == run.id and result in run.outputs.artifacts:
                record = run.outputs.artifacts[result].record
                found[f"{section}/{name}"] = f"artifact {record.hash or record.url}"
    return found


def _by_content(run: Run, value: Any) -> Any:
    if isinstance(value, str) and (found := RETURNED.fullmatch(value.strip())):
        reference = parse(f"{found[1]}.id", run.plan.steps)
        return _result_of(run, reference.step or "", found[2])
    if isinstance(value, Mapping):
        return {key: _by_content(run, inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_by_content(run, inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _result_of(run: Run, name: str, result: str) -> Any:
    step = run.step(name)
    if result in step.artifacts:
        artifact = step.artifacts[result].record
        return f"artifact {artifact.hash or artifact.url}"
    for edit in reversed(step.edits):
        returned = (edit.hyperparameters or {}).get("return") or {}
        if (parameter := returned.get(result)) is not None:
            return ["value", parameter.value]
    return f"nothing called {result}"


def _said(run: Run, event: RunEvent, name: str) -> Decided:
    return Decided(run_stream(run.id), event, name)
