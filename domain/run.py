"""A run: one execution of a pipeline. Its state is folded from its own events and those of its tasks, by run version;
what happens next is decided from that state and the event that brought it about.

The cost of one event does not depend on the size of the run: readiness is a count of unfinished parents, and the steps
live in a persistent map, so that an uncommitted decision is dropped by dropping a reference.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from immutables import Map

from domain.changed import replace
from domain.content import Content, Edit, Overrides, edited, field_of, inside, overridden, split_parameter
from domain.ids import run_stream, step_task_id, task_stream
from domain.lifecycle import RUN, RUN_ENDED, STEP_ENDED, STEP_STATES, after, words
from domain.pipeline import STRICT, Plan, StepDefinition
from domain.references import MissingReference, Reference, as_text, resolve
from domain.refused import Invalid, Refused
from domain.task import (
    ENDS,
    Artifact,
    ArtifactAdded,
    ModelAdded,
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
from domain.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCreated:
    """All that the run will need is pinned here: `definition` is the SHA-256 of the pinned definition."""

    name: str
    project: str
    definition: str
    contents: Sequence[str] = ()  # SHA-256 of each template's content
    pipeline_id: str | None = None
    pipeline_version: str = ""
    number: int = 0
    kind: str = "pipeline"
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None  # replaces every step's queue
    queues: Sequence[str] = ()  # those that existed at submit: a reference may name one of them
    tags: Sequence[str] = ()
    origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopRequested:
    reason: str = ""
    outcome: str = "stopped"  # or failed, when whoever stops it calls it that


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped:
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    step: str
    reason: str
    cause: int  # the run version of the event that made it so


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """The step failed before it had a task."""

    step: str
    reason: str
    cause: int


RunEvent = RunCreated | RunStarted | RunStopRequested | RunCompleted | RunFailed | RunStopped | StepSkipped | StepFailed


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of the run or of one of its tasks, with what its row in the log says beside it."""

    stream: str
    event: RunEvent | TaskEvent
    at: int  # microseconds UTC
    run_version: int
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """An event to be appended to `stream`, about `step`."""

    stream: str
    event: RunEvent | TaskEvent
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRun:
    reason: str = ""
    outcome: str = "stopped"


RunCommand = StartRun | StopRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    status: str = "pending"
    reason: str = ""
    task_id: str | None = None
    attempts: int = 0
    queue: str | None = None
    overrides: Overrides | None = None
    edits: tuple[Edit, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    models: tuple[ModelAdded, ...] = ()
    stop_requested: bool = False
    queued_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None


PENDING = Step()
STOPPED = "the run was stopped"
NO_COUNTS: Mapping[str, int] = dict.fromkeys(STEP_STATES, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    id: str
    plan: Plan
    version: int = 0  # the run version
    status: str = "absent"
    reason: str = ""
    name: str = ""
    project: str = ""
    kind: str = "pipeline"
    definition: str = ""
    pipeline_id: str | None = None
    pipeline_version: str = ""
    number: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None
    queues: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    origin: str | None = None
    steps: Map[str, Step] = field(
        default_factory=Map[str, Step]
    )  # those that something has happened to; the others are PENDING
    blocked: Map[str, int] = field(
        default_factory=Map[str, int]
    )  # unfinished parents, where some have finished already
    open: int = 0  # steps that have not ended
    counts: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    ending: str | None = None  # the outcome it has been told to end with, no more steps start
    aborted_by: str | None = None  # the step whose failure ended it, where the pipeline aborts on failure
    failure: str = ""  # why it cannot end well: the first step that went wrong
    created_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None

    def step(self, name: str) -> Step:
        return self.steps.get(name, PENDING)


# Commands


def command(given: RunCommand, run: Run) -> Sequence[RunEvent]:
    """The events that carry out what a person asks of the run; none when it already holds. Raises Refused."""
    match given:
        case StartRun():
            if run.status == "running":
                return []
            after(RUN, run.status, "start", f"run {run.name!r}")
            return [RunStarted()]
        case StopRun():
            if run.status in RUN_ENDED:
                raise Refused(f"Cannot stop run {run.name!r}: it is {words(run.status)} already.")
            if given.outcome not in ("stopped", "failed"):
                raise Invalid(f"A run that is stopped ends stopped or failed, not {given.outcome!r}.", "outcome")
            if run.ending:
                return []
            after(RUN, run.status, "request stop", f"run {run.name!r}")
            return [RunStopRequested(reason=given.reason, outcome=given.outcome)]
        case _:
            assert_never(given)


# Decisions


def react(run: Run, fact: Fact, record: Callable[[Run, Sequence[Decided]], Sequence[Fact]]) -> Run:
    """`run` after `fact` and all that follows from it. `record` turns what was decided into facts of the log.

    All that one decision puts out is taken in before the next decision, which then sees it: a step that fails beside
    one that was just enqueued stops that one and does not skip it.
    """
    run = evolve(run, fact)
    undecided = deque([fact])
    while undecided:
        decided = decide(run, undecided.popleft())
        if decided:
            facts = record(run, decided)
            run = fold(facts, run)
            undecided.extend(facts)
    return run


def decide(run: Run, fact: Fact) -> Sequence[Decided]:
    """What follows from `fact`, which `run` has already taken in. Pure: ids are derived, times come with the facts."""
    event = fact.event
    if isinstance(event, RunStarted):
        roots = [name for name, parents in run.plan.parents.items() if not parents]
        return [decided for name in roots for decided in _launch(run, name, fact)]
    if isinstance(event, RunStopRequested):
        return _halt(run, fact, f"{STOPPED}{f': {event.reason}' if event.reason else ''}")
    if isinstance(event, (*ENDS, StepSkipped, StepFailed)) and fact.step is not None:
        return _after_step(run, fact.step, fact)
    return ()


def _after_step(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    if run.open == 0:
        return () if run.status in RUN_ENDED else [Decided(run_stream(run.id), _outcome(run))]
    ended = run.step(name)
    if run.ending:
        return _halt(run, fact, f"step {name!r} failed") if run.aborted_by == name else ()
    decided: list[Decided] = []
    for child in run.plan.children[name]:
        if run.step(child).status != "pending":
            continue
        if why := _keeps_from_running(run, name, ended):
            skipped = StepSkipped(step=child, reason=why, cause=fact.run_version)
            decided.append(Decided(run_stream(run.id), skipped, child))
        elif run.blocked.get(child, 0) == 0 and not _kept_by_another(run, child):
            decided += _launch(run, child, fact)
    return decided


def _kept_by_another(run: Run, name: str) -> bool:
    """Whether some parent keeps the step from running. When parents end in one append, the end of each is decided by
    itself, and it is for that parent's own to skip the step."""
    return any(_keeps_from_running(run, parent, run.step(parent)) for parent in run.plan.parents[name])


def _keeps_from_running(run: Run, name: str, ended: Step) -> str:
    """Why the children of a step that has ended shall not run; empty when they may."""
    behaviour = run.plan.steps[name].continue_behaviour or STRICT
    match ended.status:
        case "skipped":
            return f"step {name!r} was skipped"
        case "failed" if behaviour.skip_children_on_fail:
            return f"step {name!r} failed"
        case "stopped" if behaviour.skip_children_on_abort:
            return f"step {name!r} was stopped"
        case _:
            return ""


def _halt(run: Run, fact: Fact, why: str) -> Sequence[Decided]:
    """End what has not ended: what waits is skipped, what is queued is stopped, what runs is asked to stop."""
    decided: list[Decided] = []
    for name in run.plan.steps:
        step = run.step(name)
        if step.status in ("pending", "waiting"):
            skipped = StepSkipped(step=name, reason=why, cause=fact.run_version)
            decided.append(Decided(run_stream(run.id), skipped, name))
        elif step.task_id and step.status == "queued":
            stopped = TaskStopped(attempt=step.attempts, reason=why)
            decided.append(Decided(task_stream(step.task_id), stopped, name))
        elif step.task_id and step.status == "running" and not step.stop_requested:
            asked = TaskStopRequested(attempt=step.attempts, reason=why)
            decided.append(Decided(task_stream(step.task_id), asked, name))
    return decided


def _outcome(run: Run) -> RunCompleted | RunFailed | RunStopped:
    if run.ending == "stopped":
        return RunStopped(reason=run.reason)
    if run.ending or run.failure:
        return RunFailed(reason=run.failure or run.reason or STOPPED)
    return RunCompleted()


def _launch(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """Clone the template with its overrides and enqueue the clone; or fail the step, saying why it cannot be."""
    step = run.plan.steps[name]
    try:
        overrides, queue = _resolved(run, step)
        if queue not in run.queues:
            known = ", ".join(sorted(run.queues))
            raise MissingReference(f"there is no queue {queue!r}; there were at submit: {known}")
        content = run.plan.content_of(name)
        kind = overridden(content, overrides).type
    except (MissingReference, Refused) as missing:
        failed = StepFailed(step=name, reason=str(missing), cause=fact.run_version)
        return [Decided(run_stream(run.id), failed, name)]
    created = TaskCreated(
        name=step.task_name or name,
        project=_project_of(run, step),
        content=step.content or "",
        type=kind,
        parent=run.id,
        cloned_from=step.base_task_id,
        run_id=run.id,
        step=name,
        overrides=overrides if overrides != Overrides() else None,
        on_lost=step.on_lost,
        max_attempts=step.max_attempts,
    )
    stream = task_stream(step_task_id(run.id, name))
    return [Decided(stream, created, name), Decided(stream, TaskEnqueued(queue=queue), name)]


def _project_of(run: Run, step: StepDefinition) -> str:
    target = run.plan.definition.target_project
    if step.project:
        return step.project
    if isinstance(target, str):
        return target
    return run.project if target else step.content_project or run.project


# References


def _resolved(run: Run, step: StepDefinition) -> tuple[Overrides, str]:
    names = run.plan.steps

    def lookup(reference: Reference) -> Any:
        return _look_up(run, reference)

    # The kept definition has its keys sorted: in any other order the first thing missing, hence the reason, would be
    # another one when it is decided again.
    deep = step.recursively_parse_parameters
    parameters, task = sorted(step.parameter_override.items()), sorted(step.task_overrides.items())
    overrides = Overrides(
        parameters={path: resolve(value, names, lookup, deep=deep) for path, value in parameters},
        configuration={name: as_text(value) for name, value in step.configuration_overrides.items()},
        task={path: resolve(value, names, lookup) for path, value in task},
    )
    queue = run.queue or step.queue or run.plan.definition.default_queue or ""
    return overrides, as_text(resolve(queue, names, lookup))


def _look_up(run: Run, reference: Reference) -> Any:
    """The value a reference stands for. Raises MissingReference with the sentence that becomes the step's reason."""
    if reference.step is None:
        name = reference.path[0]
        if name in run.parameters:
            return run.parameters[name]
        if name in run.plan.defaults:
            return run.plan.defaults[name]
        raise MissingReference(f"{reference.text}: the pipeline has no parameter {name!r}")
    step = run.step(reference.step)
    if reference.kind == "parameters":
        return _parameter_of(run, reference, step)
    if reference.kind == "field":
        return _field_of(run, reference, step)
    if step.task_id is None:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has no task, it is {words(step.status)}")
    if reference.kind == "id":
        return step.task_id
    if reference.kind == "artifact":
        return _artifact_of(reference, step)
    return _model_of(reference, step)


def _artifact_of(reference: Reference, step: Step) -> str:
    name, attribute = reference.path
    if name not in step.artifacts:
        known = ", ".join(sorted(step.artifacts)) or "none"
        raise MissingReference(
            f"{reference.text}: step {reference.step!r} has no artifact {name!r}; its artifacts are: {known}"
        )
    artifact = step.artifacts[name]
    if attribute == "timestamp":
        return rfc3339(artifact.timestamp)
    value = _inside(artifact.record, attribute)
    if value is None:
        raise MissingReference(f"{reference.text}: artifact {name!r} has no {attribute!r}")
    return as_text(value)


def _model_of(reference: Reference, step: Step) -> Any:
    kind, index, attribute = reference.path
    models = [model for model in step.models if model.kind == kind]
    try:
        model = models[int(index)]
    except IndexError:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has {len(models)} {kind} models") from None
    if attribute == "task":
        return step.task_id
    value = _inside(model, attribute)
    if value is None:
        raise MissingReference(f"{reference.text}: a model has no {attribute!r}")
    return value


def _inside(record: ArtifactAdded | ModelAdded, attribute: str) -> Any:
    """A field of `record`, or what lies inside it under a dotted name; None when there is nothing."""
    try:
        return inside(record, attribute.split("."))
    except LookupError:
        return None


def _parameter_of(run: Run, reference: Reference, step: Step) -> Any:
    path = reference.path[0]
    section, name = split_parameter(path) if "/" in path else ("General", path)
    known = _content_of(run, reference, step).hyperparameters.get(section, {})
    if name not in known:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has no parameter '{section}/{name}'")
    return known[name].value


def _field_of(run: Run, reference: Reference, step: Step) -> Any:
    path = ".".join(reference.path)
    if path == "project":
        return _project_of(run, run.plan.steps[reference.step or ""])
    if path == "name":
        return run.plan.steps[reference.step or ""].task_name or reference.step
    try:
        return field_of(_content_of(run, reference, step), path)
    except LookupError:
        raise MissingReference(f"{reference.text}: a task has no field {path!r}") from None


def _content_of(run: Run, reference: Reference, step: Step) -> Content:
    """What the step's task is made of. The newest word counts: the template, its overrides, then what the task said."""
    content = run.plan.content_of(reference.step or "")
    if step.overrides:
        content = overridden(content, step.overrides)
    for edit in step.edits:
        content = edited(content, edit)
    return content


# Folding


def fold(facts: Iterable[Fact], run: Run) -> Run:
    for fact in facts:
        run = evolve(run, fact)
    return run


def evolve(run: Run, fact: Fact) -> Run:
    """`run` after `fact`. Total: history is never refused, whatever today's rules say."""
    event, at = fact.event, fact.at
    run = replace(run, version=fact.run_version)
    match event:
        case RunCreated():
            steps = len(run.plan.definition.steps)
            return replace(
                run,
                status="created",
                name=event.name,
                project=event.project,
                kind=event.kind,
                definition=event.definition,
                pipeline_id=event.pipeline_id,
                pipeline_version=event.pipeline_version,
                number=event.number,
                parameters=event.parameters,
                queue=event.queue,
                queues=frozenset(event.queues),
                tags=tuple(event.tags),
                origin=event.origin,
                open=steps,
                counts={**NO_COUNTS, "pending": steps},
                created_at=at,
            )
        case RunStarted():
            return replace(run, status="running", started_at=at)
        case RunStopRequested():
            return replace(run, ending=event.outcome, reason=event.reason)
        case RunCompleted():
            return replace(run, status="completed", reason="", ended_at=at)
        case RunFailed():
            return replace(run, status="failed", reason=event.reason, ended_at=at)
        case RunStopped():
            return replace(run, status="stopped", reason=event.reason, ended_at=at)
        case StepSkipped():
            return _ended(run, event.step, "skipped", event.reason, at)
        case StepFailed():
            return _ended(run, event.step, "failed", event.reason, at)
        case _:
            return _evolve_step(run, fact.step, event, at) if fact.step is not None else run


def _evolve_step(run: Run, name: str, event: TaskEvent, at: int) -> Run:
    step = run.step(name)
    match event:
        case TaskCreated():
            task_id = step_task_id(run.id, name)
            return _with(run, name, replace(step, task_id=task_id, overrides=event.overrides))
        case TaskEnqueued():
            return _with(run, name, replace(step, status="queued", queue=event.queue, queued_at=at))
        case TaskStarted():
            started = replace(step, status="running", reason="", attempts=event.attempt, started_at=at)
            return _with(run, name, started)
        case TaskStopRequested():
            return _with(run, name, replace(step, stop_requested=True))
        case TaskRequeued():
            return _with(run, name, replace(step, status="queued", reason=event.reason, queued_at=at))
        case TaskCompleted():
            return _ended(run, name, "completed", event.reason, at)
        case TaskFailed():
            return _ended(run, name, "failed", event.reason, at)
        case TaskStopped():
            return _ended(run, name, "stopped", event.reason, at)
        case ArtifactAdded():
            added = {**step.artifacts, event.name: Artifact(record=event, timestamp=at)}
            return _with(run, name, replace(step, artifacts=added))
        case ModelAdded():
            return _with(run, name, replace(step, models=(*step.models, event)))
        case TaskEdited():
            if event.edit is None:
                return run
            return _with(run, name, replace(step, edits=(*step.edits, event.edit)))
        case TaskDequeued() | TaskReset() | TaskPublished():
            return run
        case _:
            assert_never(event)


def _with(run: Run, name: str, step: Step) -> Run:
    old = run.step(name).status
    counts = run.counts
    if old != step.status:
        counts = {**counts, old: counts[old] - 1, step.status: counts[step.status] + 1}
    return replace(run, steps=run.steps.set(name, step), counts=counts)


def _ended(run: Run, name: str, status: str, reason: str, at: int) -> Run:
    step = run.step(name)
    if step.status in STEP_ENDED:
        return run
    run = _with(run, name, replace(step, status=status, reason=reason, ended_at=at))
    blocked = run.blocked
    for child in run.plan.children[name]:
        blocked = blocked.set(child, blocked.get(child, len(run.plan.parents[child])) - 1)
    run = replace(run, blocked=blocked, open=run.open - 1)
    behaviour = run.plan.steps[name].continue_behaviour or STRICT
    bad = (status == "failed" and not behaviour.continue_on_fail) or (
        status == "stopped" and not behaviour.continue_on_abort
    )
    if not bad or run.ending:
        return run
    said = "failed" if status == "failed" else "was stopped"
    failure = run.failure or f"step {name!r} {said}{f': {reason}' if reason else ''}"
    aborts = run.plan.definition.abort_on_failure and status == "failed"
    return replace(run, failure=failure, ending="failed" if aborts else None, aborted_by=name if aborts else None)
