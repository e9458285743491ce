"""Commands in: each is decided on the state under the lock, and appended with all that follows from it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from controller.formats import meta_of
from controller.signals import Signals
from controller.snapshots import Keeper
from controller.state import State
from controller.submit import HeldHost, Submission, cloned, known_queue, register, submit, templates
from controller.unit import Unit
from domain import pipeline as pipelines
from domain import queue as queues
from domain import run as runs
from domain import task as tasks
from domain.content import Content, Edit
from domain.ids import derived, task_stream
from domain.lifecycle import words
from domain.pipeline import Definition
from domain.queue import Queue
from domain.refused import Refused, Unknown
from domain.run_events import HostEnded, RunEdited
from domain.task import Task
from eventstore.store import Append, Recorded, Store

T = TypeVar("T")

__all__ = ["Answer", "By", "Controller", "HeldHost", "KeyReused", "StaleVersion", "Submission"]


class By(Struct, frozen=True):
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


class Answer(Struct, frozen=True):
    """What a command came to: the thing's version after it (a run's run version), and the log's position."""

    id: str
    version: int
    position: int


class KeyReused(Refused):
    """The idempotency key was used for something else."""


class StaleVersion(Refused):
    """The command was meant for an earlier version."""


class Controller:
    """The write side. Every method may be called from any thread and returns after its commit.

    Raises Refused and its kinds (Unknown, Invalid, KeyReused, StaleVersion); then nothing has happened.
    """

    def __init__(self, store: Store, *, lease: float = 10.0, keeper: Keeper | None = None) -> None:
        """`lease`: seconds that an agent may be silent before it counts as lost. `keeper`: of large runs' snapshots."""
        self.store, self.lease = store, lease
        self.signals = Signals()
        self.unheard = threading.Event()
        """Set where a sign of life could not be kept: silence is nobody's fault then."""
        self.state = State(self.signals, keeper)

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
                known_queue(unit, command.queue)
            _check_step(unit, task, command)
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
                unit.queue_event(name, event)
            return Answer(name, 1, unit.append.head)

        return self._do(by, job, lambda rows: Answer(name, 1, rows[-1].position))

    def pause_queue(self, name: str, reason: str, by: By) -> Answer:
        """Hand out nothing from the queue until it is resumed. Raises Unknown."""
        return self._on_queue(name, by, lambda queue: queues.pause(queue, by.actor, reason))

    def resume_queue(self, name: str, reason: str, by: By) -> Answer:
        """Raises Unknown."""
        return self._on_queue(name, by, lambda queue: queues.resume(queue, by.actor, reason))

    def _on_queue(self, name: str, by: By, decide: Callable[[Queue], Sequence[queues.QueueEvent]]) -> Answer:
        def job(unit: Unit) -> Answer:
            queue = unit.state.queues.get(name)
            if queue is None:
                raise Unknown(f"There is no queue {name!r}.")
            for event in decide(queue):
                queue = unit.queue_event(name, event)
            return Answer(name, queue.version, unit.append.head)

        return self._do(by, job, lambda rows: Answer(name, rows[-1].version, rows[-1].position))

    # Pipelines and runs

    def register_pipeline(self, definition: Definition, by: By) -> Answer:
        """`definition` is checked, and its templates exist."""

        pipelines.checked(definition)

        def job(unit: Unit) -> Answer:
            templates(unit, definition)
            pipeline = register(unit, definition)
            return Answer(pipeline.id, pipeline.version, unit.append.head)

        return self._do(by, job, _by_kind("pipeline-"))

    def submit_run(self, run_id: str, submission: Submission, by: By) -> Answer:
        """Pin all that the run will need, create it, and start it unless it is a draft."""
        if submission.definition is not None:
            pipelines.checked(submission.definition)  # of a large one that takes a while: nobody shall wait for it

        def job(unit: Unit) -> Answer:
            new_id = by.id_for("run", run_id)
            submit(unit, new_id, submission)
            return Answer(new_id, unit.run(new_id).version, unit.append.head)

        return self._do(by, job, _by_kind("run-"))

    def clone_run(
        self,
        run_id: str,
        source: str,
        by: By,
        *,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        project: str | None = None,
        comment: str | None = None,
        origin: str | None = None,
    ) -> Answer:
        """A draft of the same pinned definition, with the source's parameters and these."""

        def job(unit: Unit) -> Answer:
            new_id = by.id_for("run", run_id)
            created = cloned(unit, unit.run(source), new_id, name, parameters or {}, project, origin)
            if comment:
                unit.run_event(created, RunEdited(edit=Edit(comment=comment)))
            return Answer(created, unit.run(created).version, unit.append.head)

        return self._do(by, job, _by_kind("run-"))

    def run(self, run_id: str, command: runs.RunCommand, by: By, *, expect: int | None = None) -> Answer:
        """Carry out `command` on the run; `expect` is the run version it is meant for."""

        def job(unit: Unit) -> Answer:
            run = unit.run(run_id)
            _check_version(f"run {run.name!r}", expect, run.version)
            given = command
            if isinstance(given, runs.StartRun) and given.queue is not None:
                known_queue(unit, given.queue)
            if isinstance(given, runs.AddStep):
                # What is refused must have added nothing: a refusal after that would throw the whole batch away.
                runs.command(given, run)
                given = replace(given, content=unit.keep(given.step.task or Content()))
            for decided in runs.command(given, run):
                unit.happen(run_id, decided)
            return Answer(run_id, unit.run(run_id).version, unit.append.head)

        return self._do(by, job, _of_run(run_id))

    def end_host(self, run_id: str, status: str, reason: str, by: By, *, attempt: int = 0) -> Answer:
        """End the run's host as completed, failed or stopped; where it has none that runs, the run is stopped so.

        `attempt` is the host whose own process says so: refused once it was lost or has a successor.
        """

        def job(unit: Unit) -> Answer:
            run = unit.run(run_id)
            if attempt and (attempt != run.host.attempt or run.host.attempts[-1].status == "lost"):
                raise Refused(f"Attempt {attempt} is not the host of run {run.name!r} any more.")
            if run.host.status == "running":
                unit.run_event(run_id, HostEnded(attempt=run.host.attempt, status=status, reason=reason))
            elif status == "completed":
                raise Refused(f"Run {run.name!r} completes by itself: it has no host that could say so.")
            else:
                for decided in runs.command(runs.StopRun(reason=reason, outcome=status), run):
                    unit.happen(run_id, decided)
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


def _check_step(unit: Unit, task: Task, command: tasks.TaskCommand) -> None:
    """What a person may do to the task of a step depends on where its run stands. Raises Refused."""
    if task.run_id is None or task.step is None:
        return
    run = unit.run(task.run_id)
    status = run.step(task.step).status
    what = f"Step {task.step!r} of run {run.name!r}"
    if isinstance(command, tasks.EnqueueTask) and task.draft and task.status == "created":
        if run.status == "paused":
            raise Refused(f"Run {run.name!r} is paused: resume it first.")
        if status != "waiting":
            raise Refused(f"{what} is {words(status)}: its task waits for nobody any more.")
    if isinstance(command, tasks.PublishTask) and status != "completed":
        raise Refused(f"{what} is {words(status)}: only the task of a completed step can be published.")


def _task_done(unit: Unit, task: Task) -> Answer:
    return Answer(task.id, task.version, unit.append.head)


def _check_version(what: str, expect: int | None, actual: int) -> None:
    if expect is not None and expect != actual:
        raise StaleVersion(f"The command was meant for version {expect} of {what}, which is at {actual}: look again.")


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
