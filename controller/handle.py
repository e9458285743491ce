"""Commands in: each is decided on the state under the lock, and appended with all that follows from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from controller.formats import definition_from, meta_of
from controller.signals import Signals
from controller.state import State, plan_of
from controller.unit import Unit
from domain import pipeline as pipelines
from domain import queue as queues
from domain import run as runs
from domain import task as tasks
from domain.content import Content
from domain.ids import derived, pipeline_id, task_stream
from domain.pipeline import Definition, StepDefinition
from domain.queue import Queue
from domain.refused import Invalid, Refused, Unknown
from domain.task import Task
from eventstore.store import Append, Recorded, Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class By:
    """Who commands. `key` is the idempotency key, `request` a hash of what was asked under it."""

    actor: str = "local"
    key: str | None = None
    request: str | None = None

    @property
    def command_id(self) -> str | None:
        return f"{self.actor}:{self.key}" if self.key else None

    def id_for(self, what: str, otherwise: str) -> str:
        """The id of what this command creates: derived from its key, so that a repeat names the same thing."""
        return derived(what, self.command_id) if self.command_id else otherwise


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to: the thing's version after it (a run's run version), and the log's position."""

    id: str
    version: int
    position: int


class KeyReused(Refused):
    """The idempotency key was used for something else."""


class StaleVersion(Refused):
    """The command was meant for an earlier version."""


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


class Controller:
    """The write side. Every method may be called from any thread and returns after its commit.

    Raises Refused and its kinds (Unknown, Invalid, KeyReused, StaleVersion); then nothing has happened.
    """

    def __init__(self, store: Store, *, lease: float = 10.0) -> None:
        """`lease`: seconds that an agent may be silent before it counts as lost."""
        self.store, self.lease = store, lease
        self.signals = Signals()
        self.state = State(self.signals)

    # Tasks

    def create_task(self, task_id: str, created: tasks.TaskCreated, content: Content, by: By) -> Answer:
        """`created.content` is filled in here."""

        def job(unit: Unit) -> Answer:
            return _task_done(unit, _created(unit, by.id_for("task", task_id), created, content))

        return self._do(by, job, _by_kind("task-"))

    def clone_task(
        self,
        task_id: str,
        source: str,
        by: By,
        *,
        name: str | None = None,
        project: str | None = None,
        parent: str | None = None,
        comment: str | None = None,
        origin: str | None = None,
    ) -> Answer:
        """A draft with what the source is made of now; its outputs, runtime and queue stay behind."""

        def job(unit: Unit) -> Answer:
            old = unit.task(source)
            content = unit.content_of(old)
            tags = [tag for tag in content.system_tags if tag not in ("archived", "development")]
            content = replace(content, system_tags=tags, comment=content.comment if comment is None else comment)
            created = tasks.TaskCreated(
                name=name or f"Clone of {old.name}",
                project=project or old.project,
                type=old.type,
                content="",
                parent=parent or old.parent or old.id,
                origin=origin,
                cloned_from=old.id,
                on_lost=old.on_lost,
                max_attempts=old.max_attempts,
            )
            return _task_done(unit, _created(unit, by.id_for("task", task_id), created, content))

        return self._do(by, job, _by_kind("task-"))

    def task(self, task_id: str, command: tasks.TaskCommand, by: By, *, expect: int | None = None) -> Answer:
        """Carry out `command` on the task; `expect` is the version it is meant for."""

        def job(unit: Unit) -> Answer:
            task = unit.task(task_id)
            _check_version(f"task {task.name!r}", expect, task.version)
            if isinstance(command, tasks.EnqueueTask):
                _known_queue(unit, command.queue)
            return _task_done(unit, _record(unit, task_id, command))

        return self._do(by, job, _of_stream(task_stream(task_id)))

    def start_task(self, task_id: str, session: str, host: str, lease: float, by: By) -> Answer:
        """The caller's own process starts to run the task, and holds it for `lease` seconds from each heartbeat on."""

        def job(unit: Unit) -> Answer:
            command = tasks.StartTask(agent_id="", session=session, host=host)
            return _task_done(unit, _record(unit, task_id, command, lease=lease))

        return self._do(by, job, _of_stream(task_stream(task_id)))

    # Queues

    def create_queue(self, name: str, by: By) -> Answer:
        def job(unit: Unit) -> Answer:
            known = unit.state.queues.get(name, Queue(name=name))
            for event in queues.create(name, known):
                unit.queue_event(event)
            return Answer(name, 1, unit.append.head)

        return self._do(by, job, lambda rows: Answer(name, 1, rows[-1].position))

    # Pipelines and runs

    def register_pipeline(self, definition: Definition, by: By) -> Answer:
        """`definition` is checked, and its templates exist."""

        def job(unit: Unit) -> Answer:
            pipelines.checked(definition)
            _templates(unit, definition)
            pipeline = _register(unit, definition)
            return Answer(pipeline.id, pipeline.version, unit.append.head)

        return self._do(by, job, _by_kind("pipeline-"))

    def submit_run(self, run_id: str, submission: Submission, by: By) -> Answer:
        """Pin all that the run will need, create it, and start it unless it is a draft."""

        def job(unit: Unit) -> Answer:
            new_id = by.id_for("run", run_id)
            _submit(unit, new_id, submission)
            return Answer(new_id, unit.run(new_id).version, unit.append.head)

        return self._do(by, job, _by_kind("run-"))

    def run(self, run_id: str, command: runs.RunCommand, by: By, *, expect: int | None = None) -> Answer:
        def job(unit: Unit) -> Answer:
            run = unit.run(run_id)
            _check_version(f"run {run.name!r}", expect, run.version)
            for event in runs.command(command, run):
                unit.run_event(run_id, event)
            return Answer(run_id, unit.run(run_id).version, unit.append.head)

        return self._do(by, job, _of_run(run_id))

    # How

    def catch_up(self) -> None:
        """Take in what other processes have written, and wake whom it concerns."""
        self.store.append(self.state.open).result()

    def _do(self, by: By, job: Callable[[Unit], Answer], rebuilt: Callable[[Sequence[Recorded]], Answer]) -> Answer:
        """Do it once: a repeat under the same key gets the first answer, rebuilt from the events it left."""

        def once(append: Append) -> Answer:
            self.state.open(append)
            if by.command_id is not None and (rows := append.command(by.command_id)):
                if meta_of(rows[0]).get("request") != by.request:
                    raise KeyReused(
                        "This Idempotency-Key was used for another request: use a new key for each command."
                    )
                return rebuilt(rows)
            return self.at_work(append, by, job)

        return self.store.append(once).result()

    def at_work(self, append: Append, by: By, job: Callable[[Unit], T]) -> T:
        """Run `job` on an open append whose state is current, and wake whom it concerns once it is durable."""
        unit = Unit(append, self.state, actor=by.actor, command_id=by.command_id, request=by.request)
        answer = job(unit)
        unit.finish()
        append.on_commit(lambda: self.signals.wake(unit.woken.queues, unit.woken.sessions))
        return answer


def _created(unit: Unit, task_id: str, command: tasks.TaskCreated, content: Content) -> Task:
    # Decided before its content is kept: a refusal after something was added would throw the whole batch away.
    tasks.decide(command, Task(id=task_id))
    return unit.task_event(task_id, replace(command, content=unit.keep(content)))


def _record(unit: Unit, task_id: str, command: tasks.TaskCommand, *, lease: float = 0) -> Task:
    task = unit.task(task_id)
    for event in tasks.decide(command, task):
        task = unit.task_event(task_id, event, lease=lease)
    return task


def _task_done(unit: Unit, task: Task) -> Answer:
    return Answer(task.id, task.version, unit.append.head)


def _check_version(what: str, expect: int | None, actual: int) -> None:
    if expect is not None and expect != actual:
        raise StaleVersion(f"The command was meant for version {expect} of {what}, which is at {actual}: look again.")


def _known_queue(unit: Unit, name: str, where: str = "queue") -> None:
    if name not in unit.state.queues:
        known = ", ".join(sorted(unit.state.queues))
        raise Invalid(f"There is no queue {name!r}: create it first, or use one of {known}.", where)


def _where_queue(definition: Definition, name: str) -> str:
    """The first place in the definition that names the queue."""
    steps = (f"steps/{number}/queue" for number, step in enumerate(definition.steps) if step.queue == name)
    return next(steps, "default_queue")


def _register(unit: Unit, definition: Definition) -> pipelines.Pipeline:
    key = pipeline_id(definition.project, definition.name)
    pipeline = unit.state.pipeline(unit.append, key)
    digest = unit.keep(replace(definition, version=None))
    for event in pipelines.register(definition, digest, pipeline):
        pipeline = unit.pipeline_event(pipeline, event)
    return pipeline


def _submit(unit: Unit, run_id: str, asked: Submission) -> None:
    definition = _what_to_run(unit, asked)
    for queue in sorted({asked.queue} if asked.queue else pipelines.literal_queues(definition)):
        _known_queue(unit, queue, "queue" if asked.queue else _where_queue(definition, queue))
    given = dict(asked.parameters or {})
    known = [parameter.name for parameter in definition.parameters]
    if unknown := [name for name in given if name not in known]:
        has = ", ".join(known) or "none"
        raise Invalid(f"The pipeline has no parameter {unknown[0]!r}; it has: {has}.", f"parameters/{unknown[0]}")
    templates = _templates(unit, definition)
    # All that can be refused has been: from here on something is added, and a refusal would throw the batch away.
    pipeline = _pipeline(unit, asked.pipeline_id) if asked.definition is None else _register(unit, definition)
    pinned = _pinned(unit, definition, templates)
    number = pipeline.runs + 1
    unit.pipeline_event(pipeline, pipelines.PipelineSubmitted(run_id=run_id, number=number))
    digest = unit.keep(pinned)
    plan = plan_of(digest, lambda name: unit.state.text(unit.append, name))
    created = runs.RunCreated(
        name=asked.name or (f"{definition.name} #{number}" if definition.add_run_number else definition.name),
        project=definition.project,
        definition=digest,
        contents=sorted(plan.contents),
        pipeline_id=pipeline.id,
        pipeline_version=pipeline.pipeline_version,
        number=number,
        parameters={**plan.defaults, **given},
        queue=asked.queue,
        queues=sorted(unit.state.queues),
        tags=[*definition.tags, *asked.tags],
        origin=asked.origin,
    )
    unit.run_event(run_id, created, plan=plan)
    if not asked.draft:
        unit.run_event(run_id, runs.RunStarted())


def _what_to_run(unit: Unit, asked: Submission) -> Definition:
    if asked.definition is not None:
        return pipelines.checked(asked.definition)
    return definition_from(unit.state.text(unit.append, _pipeline(unit, asked.pipeline_id).definition))


def _pipeline(unit: Unit, pipeline_id: str | None) -> pipelines.Pipeline:
    if pipeline_id is None:
        raise Invalid("Give a definition or a pipeline_id.", "definition")
    pipeline = unit.state.pipeline(unit.append, pipeline_id)
    if not pipeline.version:
        raise Unknown(f"There is no pipeline {pipeline_id}.")
    return pipeline


def _templates(unit: Unit, definition: Definition) -> dict[str, Task]:
    """The template tasks of the steps, by id. Raises Invalid."""
    templates: dict[str, Task] = {}
    for number, step in enumerate(definition.steps):
        key = step.base_task_id or ""
        if step.task is None and key not in templates:
            try:
                templates[key] = unit.task(key)
            except Unknown:
                said = f"Step {step.name!r}: there is no template task {key}."
                raise Invalid(said, f"steps/{number}/base_task_id") from None
    return templates


def _pinned(unit: Unit, definition: Definition, templates: Mapping[str, Task]) -> Definition:
    """`definition` with each step's template as it is now, by digest: what is edited later affects later runs."""
    digests = {key: unit.keep(unit.content_of(template)) for key, template in templates.items()}

    def pin(step: StepDefinition) -> StepDefinition:
        if step.task is not None:
            return replace(step, task=None, content=unit.keep(step.task))
        key = step.base_task_id or ""
        template = templates[key]
        return replace(step, content=digests[key], content_version=template.version, content_project=template.project)

    return replace(definition, steps=[pin(step) for step in definition.steps])


# Answers rebuilt from the events that a command left


def _of_stream(stream: str) -> Callable[[Sequence[Recorded]], Answer]:
    def rebuilt(rows: Sequence[Recorded]) -> Answer:
        version = max(row.version for row in rows if row.stream == stream)
        return Answer(stream.partition("-")[2], version, rows[-1].position)

    return rebuilt


def _of_run(run_id: str) -> Callable[[Sequence[Recorded]], Answer]:
    def rebuilt(rows: Sequence[Recorded]) -> Answer:
        version = max(row.run_version or 0 for row in rows if row.run_id == run_id)
        return Answer(run_id, version, rows[-1].position)

    return rebuilt


def _by_kind(prefix: str) -> Callable[[Sequence[Recorded]], Answer]:
    """For commands that create: the first stream of this kind is what they made."""

    def rebuilt(rows: Sequence[Recorded]) -> Answer:
        stream = next(row.stream for row in rows if row.stream.startswith(prefix))
        if prefix == "run-":
            return _of_run(stream.removeprefix(prefix))(rows)
        return _of_stream(stream)(rows)

    return rebuilt
