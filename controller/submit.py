"""A run to be made: everything that it will need is found, checked, and pinned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from controller.folding import plan_of
from controller.formats import definition_from
from domain import pipeline as pipelines
from domain import run as runs
from domain.ids import pipeline_id
from domain.pipeline import Definition, HostDefinition, Pipeline, PipelineParameter, StepDefinition
from domain.references import PATTERN
from domain.refused import Invalid, Unknown
from domain.run import Run
from domain.run_events import HostStarted, RunStarted
from domain.task import Task

if TYPE_CHECKING:
    from controller.unit import Unit


@dataclass(frozen=True, slots=True)
class HeldHost:
    """The caller's own process is the run's host: `lease` is for how many seconds from each heartbeat on."""

    session: str
    host: str = ""
    lease: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run to be made. `definition` is checked; its steps' templates are given by task id or inline."""

    definition: Definition | None = None
    pipeline_id: str | None = None
    parameters: Mapping[str, Any] | None = None
    name: str | None = None
    draft: bool = False
    queue: str | None = None
    tags: Sequence[str] = ()
    origin: str | None = None
    cache: str = "use"
    host: HeldHost | None = None


@dataclass(slots=True)
class Templates:
    """What the steps of a definition are made from: tasks by id, and the definitions of pipelines in it by id."""

    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    pipelines: dict[str, tuple[Definition, bool]] = field(default_factory=dict[str, tuple[Definition, bool]])


def register(unit: "Unit", definition: Definition) -> Pipeline:
    key = pipeline_id(definition.project, definition.name)
    pipeline = unit.state.pipeline(unit.append, key)
    digest = unit.keep(replace(definition, version=None))
    for event in pipelines.register(definition, digest, pipeline):
        pipeline = unit.pipeline_event(pipeline, event)
    return pipeline


def submit(unit: "Unit", run_id: str, asked: Submission) -> None:
    """Create the run, and start it unless it is a draft. Raises Invalid, Unknown."""
    definition = _what_to_run(unit, asked)
    if asked.cache not in ("use", "refresh", "off"):
        raise Invalid(f"cache is 'use', 'refresh' or 'off', not {asked.cache!r}.", "cache")
    pipelines.check_parameters(definition, asked.parameters or {})
    _check_host(definition, asked)
    found = templates(unit, definition)
    _check_queues(unit, definition, asked.queue, found)
    # All that can be refused has been: from here on something is added, and a refusal would throw the batch away.
    pipeline = _pipeline(unit, asked.pipeline_id) if asked.definition is None else register(unit, definition)
    digest = unit.keep(_pinned(unit, definition, found))
    _create(unit, run_id, digest, pipeline, asked)
    if asked.host is not None:
        held = asked.host
        started = HostStarted(attempt=1, agent_id="", session=held.session, host=held.host)
        unit.run_event(run_id, started, lease=held.lease)
    if not asked.draft:
        unit.run_event(run_id, RunStarted())


def cloned(
    unit: "Unit",
    source: Run,
    run_id: str,
    name: str | None,
    parameters: Mapping[str, Any],
    project: str | None,
    origin: str | None,
) -> str:
    """A draft of what `source` ran, whatever its pipeline has become since. Returns its id. Raises Invalid."""
    definition = source.plan.definition
    pipelines.check_parameters(definition, parameters)
    pipeline = unit.state.pipeline(unit.append, source.pipeline_id or pipeline_id(source.project, definition.name))
    asked = Submission(
        name=name,
        parameters={**source.parameters, **parameters},
        queue=source.queue,
        tags=[tag for tag in source.tags if tag not in definition.tags],
        origin=origin,
        cache=source.cache,
    )
    _create(unit, run_id, source.definition, pipeline, asked, project=project)
    return run_id


def _create(
    unit: "Unit", run_id: str, digest: str, pipeline: Pipeline, asked: Submission, *, project: str | None = None
) -> None:
    plan = plan_of(digest, lambda name: unit.state.text(unit.append, name))
    definition = plan.definition
    number = pipeline.runs + 1
    unit.pipeline_event(pipeline, pipelines.PipelineSubmitted(run_id=run_id, number=number))
    created = runs.RunCreated(
        name=asked.name or (f"{definition.name} #{number}" if definition.add_run_number else definition.name),
        project=project or definition.project,
        definition=digest,
        contents=sorted(digests(unit, definition)),
        pipeline_id=pipeline.id,
        pipeline_version=pipeline.pipeline_version,
        number=number,
        parameters={**plan.defaults, **(asked.parameters or {})},
        queue=asked.queue,
        queues=sorted(unit.state.queues),
        tags=[*definition.tags, *asked.tags],
        origin=asked.origin,
        cache=asked.cache,
        content=definition.host.content if definition.host else None,
    )
    unit.run_event(run_id, created, plan=plan)


def digests(unit: "Unit", definition: Definition) -> set[str]:
    """The SHA-256 of everything that a pinned definition names, pipelines in it and theirs included."""
    found = {step.content for step in definition.steps if step.content}
    if definition.host is not None and definition.host.content:
        found.add(definition.host.content)
    for digest in {step.pipeline for step in definition.steps if step.pipeline}:
        found |= {digest, *digests(unit, definition_from(unit.state.text(unit.append, digest)))}
    return found


def _what_to_run(unit: "Unit", asked: Submission) -> Definition:
    if asked.definition is not None:
        return asked.definition
    return definition_from(unit.state.text(unit.append, _pipeline(unit, asked.pipeline_id).definition))


def _pipeline(unit: "Unit", pipeline_id: str | None) -> Pipeline:
    if pipeline_id is None:
        raise Invalid("Give a definition or a pipeline_id.", "definition")
    pipeline = unit.state.pipeline(unit.append, pipeline_id)
    if not pipeline.version:
        raise Unknown(f"There is no pipeline {pipeline_id}.")
    return pipeline


def _check_host(definition: Definition, asked: Submission) -> None:
    if _hooked(definition) and definition.host is None and asked.host is None:
        raise Invalid("The pipeline has hooks but no host that could answer them: give it one.", "definition/host")


def _hooked(definition: Definition) -> bool:
    return bool(definition.hooks or any(step.hooks for step in definition.steps))


def _check_queues(unit: "Unit", definition: Definition, queue: str | None, found: Templates) -> None:
    if queue:
        known_queue(unit, queue, "queue")
    for name in sorted(pipelines.literal_queues(definition)):
        host = definition.host is not None and definition.host.queue == name
        if not queue or host:
            known_queue(unit, name, "host/queue" if host else _where_queue(definition, name))
    for child, _ in found.pipelines.values():
        _check_queues(unit, child, queue, Templates())


def known_queue(unit: "Unit", name: str, where: str = "queue") -> None:
    if name not in unit.state.queues:
        known = ", ".join(sorted(unit.state.queues))
        raise Invalid(f"There is no queue {name!r}: create it first, or use one of {known}.", where)


def _where_queue(definition: Definition, name: str) -> str:
    """The first place in the definition that names the queue."""
    steps = (f"steps/{number}/queue" for number, step in enumerate(definition.steps) if step.queue == name)
    return next(steps, "default_queue")


# Templates


def templates(unit: "Unit", definition: Definition, within: Sequence[str] = ()) -> Templates:
    """What the steps are made from. `within` are the pipelines that the definition is part of. Raises Invalid."""
    found = Templates()
    within = within or (pipeline_id(definition.project, definition.name),)
    for number, step in enumerate(definition.steps):
        key = step.pipeline_id or step.base_task_id
        if step.task is not None or key is None or key in found.tasks or key in found.pipelines:
            continue
        if step.content is not None or step.pipeline is not None:
            continue  # pinned already: it comes from a run
        where = f"steps/{number}/{'pipeline_id' if step.pipeline_id else 'base_task_id'}"
        if (child := _child(unit, key)) is not None:
            if key in within:
                raise Invalid(f"Step {step.name!r}: pipeline {child[0].name!r} would be a step of itself.", where)
            found.pipelines[key] = child
            if _hooked(child[0]) and child[0].host is None:
                said = (
                    f"Step {step.name!r}: pipeline {child[0].name!r} has callbacks but no host that could answer them."
                )
                raise Invalid(said, where)
            templates(unit, child[0], (*within, key))
            _check_arguments(step, child[0], f"steps/{number}/parameter_override")
            continue
        try:
            found.tasks[key] = unit.task(key)
        except Unknown:
            kind = "pipeline" if step.pipeline_id else "template task"
            raise Invalid(f"Step {step.name!r}: there is no {kind} {key}.", where) from None
    return found


def _child(unit: "Unit", key: str) -> tuple[Definition, bool] | None:
    """The definition of the pipeline or the run with this id, and whether it is pinned; None when it is neither."""
    pipeline = unit.state.pipeline(unit.append, key)
    if pipeline.version:
        return definition_from(unit.state.text(unit.append, pipeline.definition)), False
    run = unit.state.run(unit.append, key)
    if run is None:
        return None
    # What that run was given is what this one is given, unless the step says otherwise.
    parameters = [_given(parameter, run) for parameter in run.plan.definition.parameters]
    return replace(run.plan.definition, parameters=parameters), True


def _given(parameter: PipelineParameter, run: Run) -> PipelineParameter:
    return replace(parameter, default=run.parameters.get(parameter.name, parameter.default))


def _check_arguments(step: StepDefinition, child: Definition, where: str) -> None:
    known = [parameter.name for parameter in child.parameters]
    for path, value in step.parameter_override.items():
        name = path.partition("/")[2]
        if name not in known:
            has = ", ".join(known) or "none"
            said = f"Step {step.name!r}: pipeline {child.name!r} has no parameter {name!r}; it has: {has}."
            raise Invalid(said, where)
        if not (isinstance(value, str) and PATTERN.search(value)):  # what it refers to is known at launch only
            try:
                pipelines.check_parameters(child, {name: value})
            except Invalid as wrong:
                raise Invalid(f"Step {step.name!r}: {wrong}", where) from None


def _pinned(unit: "Unit", definition: Definition, found: Templates) -> Definition:
    """`definition` with each step's template as it is now, by digest: what is edited later affects later runs."""
    contents = {key: unit.keep(unit.content_of(template)) for key, template in found.tasks.items()}
    children = {key: _pinned_child(unit, *child) for key, child in found.pipelines.items()}

    def pin(step: StepDefinition) -> StepDefinition:
        key = step.pipeline_id or step.base_task_id
        if step.task is not None:
            return replace(step, task=None, content=unit.keep(step.task))
        if key in children:
            return replace(step, pipeline=children[key], pipeline_id=key, base_task_id=None)
        if key in contents:
            template = found.tasks[key]
            version, project = template.version, template.project
            return replace(step, content=contents[key], content_version=version, content_project=project)
        return step

    host = None if definition.host is None else _pinned_host(unit, definition.host)
    return replace(definition, steps=[pin(step) for step in definition.steps], host=host)


def _pinned_child(unit: "Unit", child: Definition, pinned: bool) -> str:
    return unit.keep(child if pinned else _pinned(unit, child, templates(unit, child)))


def _pinned_host(unit: "Unit", host: HostDefinition) -> HostDefinition:
    return host if host.task is None else replace(host, task=None, content=unit.keep(host.task))
