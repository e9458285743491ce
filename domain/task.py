"""A task: one thing to run, from its creation to its outcome, with every attempt on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from domain.changed import replace
from domain.content import Edit, Overrides
from domain.lifecycle import TASK, TASK_ENDED, after, either, words
from domain.refused import Invalid, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCreated:
    name: str
    project: str
    content: str  # SHA-256 of its content, which the same append puts into the content table
    type: str = "training"
    parent: str | None = None
    origin: str | None = None  # the task from inside whose process it was made
    cloned_from: str | None = None
    run_id: str | None = None
    step: str | None = None
    overrides: Overrides | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False  # a step's task that somebody has to enqueue


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAdopted:
    """A task that was a draft becomes the task of a step, and begins anew as such."""

    name: str
    project: str
    content: str  # SHA-256 of what it is made of now
    run_id: str
    step: str
    type: str = "training"
    parent: str | None = None
    overrides: Overrides | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEdited:
    edit: Edit | None = None
    name: str | None = None
    project: str | None = None
    parent: str | None = None
    runtime: Mapping[str, Any] | None = None  # merged; a None value deletes
    attempt: int | None = None  # set when the edit came from the running task itself


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnqueued:
    queue: str
    priority: int = 0
    origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDequeued:
    back_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """A claim is the start: from here on the attempt is the agent's."""

    attempt: int
    agent_id: str
    session: str
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStopRequested:
    attempt: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequeued:
    """Attempt `attempt` was lost; the task waits in its queue for the next one."""

    attempt: int
    reason: str
    queue: str
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStopped:
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None  # microseconds UTC: when the user's code began


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCompleted:
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReset:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPublished:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactAdded:
    """An artifact is durable before it is said: its bytes lie in the store under `hash`, or elsewhere at `url`."""

    name: str
    url: str
    hash: str | None = None  # SHA-256 of the bytes
    size: int | None = None  # bytes
    type: str = ""
    format: str = ""
    filename: str = ""
    preview: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mode: str = "output"
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAdded:
    id: str
    kind: str  # input or output
    name: str
    url: str = ""
    framework: str = ""
    comment: str = ""
    tags: Sequence[str] = ()
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config_text: str = ""
    config_dict: Mapping[str, Any] = field(default_factory=dict[str, Any])
    project: str = ""
    published: bool = False
    archived: bool = False
    parent: str | None = None  # the model that it was made from
    iteration: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attempt: int = 0


TaskEvent = (
    TaskCreated
    | TaskAdopted
    | TaskEdited
    | TaskEnqueued
    | TaskDequeued
    | TaskStarted
    | TaskStopRequested
    | TaskRequeued
    | TaskStopped
    | TaskFailed
    | TaskCompleted
    | TaskReset
    | TaskPublished
    | ArtifactAdded
    | ModelAdded
)
ENDS = (TaskCompleted, TaskFailed, TaskStopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueTask:
    queue: str
    priority: int = 0
    origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DequeueTask:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    agent_id: str
    session: str
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTask:
    """Ask it to stop, so that it may save its work; `now`: it is stopped, whatever it does."""

    reason: str = ""
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTask:
    """Without `attempt` it is the user's word, about whichever attempt runs; with one, that attempt's own report."""

    status: str  # completed, failed or stopped
    reason: str = ""
    attempt: int | None = None
    session: str | None = None
    exit_code: int | None = None
    began_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseTask:
    """The holder of `attempt` is gone."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetTask:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTask:
    pass


TaskCommand = (
    TaskCreated  # creating takes just what the event says
    | TaskEdited
    | EnqueueTask
    | DequeueTask
    | StartTask
    | StopTask
    | EndTask
    | LoseTask
    | ResetTask
    | PublishTask
    | ArtifactAdded
    | ModelAdded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    number: int
    agent_id: str
    session: str
    host: str
    started_at: int
    status: str = "in_progress"
    reason: str = ""
    ended_at: int | None = None
    exit_code: int | None = None
    began_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    record: ArtifactAdded
    timestamp: int


@dataclass(frozen=True, kw_only=True)
class Task:
    id: str
    version: int = 0
    status: str = "absent"
    reason: str = ""
    name: str = ""
    project: str = ""
    type: str = ""
    content: str = ""
    edits: tuple[Edit, ...] = ()
    overrides: Overrides | None = None
    parent: str | None = None
    origin: str | None = None
    cloned_from: str | None = None
    run_id: str | None = None
    step: str | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False
    queue: str | None = None
    priority: int = 0
    queued_from: str = "created"
    enqueued_after: int = 0  # the attempts made before it was last put into a queue
    stop_requested: bool = False
    stop_reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    models: tuple[ModelAdded, ...] = ()
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created_at: int | None = None
    queued_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def attempt(self) -> int:
        """The number of the last attempt, 0 before the first."""
        return self.attempts[-1].number if self.attempts else 0

    def held_by(self, session: str, attempt: int) -> bool:
        return self.status == "in_progress" and self.attempt == attempt and self.attempts[-1].session == session


def decide(command: TaskCommand, task: Task) -> Sequence[TaskEvent]:
    """The events that carry out `command`; none when it already holds. Raises Refused."""
    match command:
        case TaskCreated():
            after(TASK, task.status, "create", "a task")
            if not command.name.strip():
                raise Invalid("A task needs a name.", "name")
            if command.on_lost not in ("requeue", "fail"):
                raise Invalid(f"on_lost is 'requeue' or 'fail', not {command.on_lost!r}.", "on_lost")
            if command.max_attempts < 1:
                raise Invalid("max_attempts is at least 1.", "max_attempts")
            return [command]
        case TaskEdited():
            return _edit(command, task)
        case EnqueueTask():
            if task.status == "queued" and task.queue == command.queue and task.priority == command.priority:
                return []
            if not (task.draft and task.status == "created"):
                _not_a_step(task, "enqueue")
            after(TASK, task.status, "enqueue", f"task {task.name!r}")
            return [TaskEnqueued(queue=command.queue, priority=command.priority, origin=command.origin)]
        case DequeueTask():
            if task.status != "queued":
                raise Refused(f"Cannot dequeue task {task.name!r}: it is {words(task.status)}, not queued.")
            _not_a_step(task, "dequeue")
            after(TASK, task.status, f"return to {task.queued_from}", f"task {task.name!r}")
            return [TaskDequeued(back_to=task.queued_from)]
        case StartTask():
            return _start(command, task)
        case StopTask():
            return _stop(command, task)
        case EndTask():
            return _end(command, task)
        case LoseTask():
            return _lose(command, task)
        case ResetTask():
            if task.status == "created":
                return []
            _not_a_step(task, "reset")
            after(TASK, task.status, "reset", f"task {task.name!r}")
            return [TaskReset()]
        case PublishTask():
            if task.status == "published":
                return []
            after(TASK, task.status, "publish", f"task {task.name!r}")
            if task.status != "completed":
                _not_a_step(task, "publish")  # its run may want to run it again
            return [TaskPublished()]
        case ArtifactAdded() | ModelAdded():
            # A model lives on when its task is published: it is tagged, published, archived by itself.
            model = isinstance(command, ModelAdded) and (command.id, command.kind)
            known = [one for one in task.models if (one.id, one.kind) == model]
            if task.status == "absent" or (task.status == "published" and not known):
                raise Refused(f"Cannot add to task {task.name!r}: it is {words(task.status)}.")
            if _gone(task, command.attempt):
                raise _over(task, command.attempt)
            return [] if command in known else [command]
        case _:
            assert_never(command)


def _not_a_step(task: Task, verb: str) -> None:
    """A step's task lives by its run: what a person does to it goes through the run."""
    if task.run_id is not None:
        raise Refused(
            f"Cannot {verb} task {task.name!r}: it is step {task.step!r} of run {task.run_id}. "
            "Stop the run, or clone the task and work with the clone."
        )


def _gone(task: Task, attempt: int) -> bool:
    """Whether another attempt has taken the place of `attempt`, or will: it was lost. 0 is no attempt's number."""
    return bool(attempt) and (attempt != task.attempt or task.attempts[-1].status == "lost")


def _over(task: Task, attempt: int) -> Refused:
    return Refused(f"Attempt {attempt} of task {task.name!r} is over: it can change nothing any more.")


def _edit(command: TaskEdited, task: Task) -> Sequence[TaskEvent]:
    edit = command.edit
    deep = edit is not None and any(
        part is not None for part in (edit.type, edit.script, edit.container, edit.hyperparameters, edit.configuration)
    )
    # What a task was run with is history once it has run; names, tags, comments and properties stay open to people.
    open_to_all = edit is not None and _only_properties(edit)
    if task.status == "absent" or (
        deep and not open_to_all and task.status not in ("created", "queued", "in_progress")
    ):
        raise Refused(
            f"Cannot edit the parameters of task {task.name!r}: it is {words(task.status)}. "
            "Reset it first, or clone it and edit the clone."
        )
    if command.attempt is not None and not (task.status == "in_progress" and task.attempt == command.attempt):
        raise _over(task, command.attempt)
    if command.name is not None and not command.name.strip():
        raise Invalid("A task needs a name.", "name")
    nothing = (TaskEdited(attempt=command.attempt), TaskEdited(attempt=command.attempt, edit=Edit()))
    return [] if command in nothing else [command]


def _only_properties(edit: Edit) -> bool:
    """Whether all that it changes of what a task is run with is the section that people write their own notes into."""
    others = (edit.type, edit.script, edit.container, edit.configuration)
    return (
        all(part is None for part in others)
        and not edit.replace_hyperparameters
        and edit.hyperparameters is not None
        and set(edit.hyperparameters) == {"properties"}
    )


def _start(command: StartTask, task: Task) -> Sequence[TaskEvent]:
    if task.status == "in_progress" and task.attempts[-1].session == command.session:
        return []  # asking twice: our first answer was lost
    if task.run_id is not None and task.status != "queued":
        _not_a_step(task, "start")
    after(TASK, task.status, "start", f"task {task.name!r}")
    return [
        TaskStarted(attempt=task.attempt + 1, agent_id=command.agent_id, session=command.session, host=command.host)
    ]


def _stop(command: StopTask, task: Task) -> Sequence[TaskEvent]:
    if task.status == "stopped" or (task.stop_requested and not command.now and task.status == "in_progress"):
        return []
    after(TASK, task.status, "stop", f"task {task.name!r}")
    if command.now or task.status == "queued":
        return [TaskStopped(attempt=task.attempt, reason=command.reason)]
    return [TaskStopRequested(attempt=task.attempt, reason=command.reason)]


TRIGGERS = {"completed": "complete", "failed": "fail", "stopped": "stop"}
ENDED_AS = {"completed": TaskCompleted, "failed": TaskFailed, "stopped": TaskStopped}


def _end(command: EndTask, task: Task) -> Sequence[TaskEvent]:
    if command.status not in TRIGGERS:
        raise Invalid(f"A task ends {either(list(TRIGGERS))}, not {command.status!r}.", "status")
    if command.attempt is not None:
        last = task.attempts[-1] if task.attempts else None
        ours = last is not None and (last.number, last.session) == (command.attempt, command.session)
        if ours and task.status in TASK_ENDED:
            return []  # said before, by this report or by the task itself
        if not (ours and task.status == "in_progress"):
            raise Refused(
                f"Attempt {command.attempt} of task {task.name!r} can report nothing any more: "
                f"the task is {words(task.status)}, attempt {task.attempt}."
            )
    if task.status == command.status:
        return []
    if task.run_id is not None and task.status in TASK_ENDED:
        _not_a_step(task, TRIGGERS[command.status])
    after(TASK, task.status, TRIGGERS[command.status], f"task {task.name!r}")
    return [
        ENDED_AS[command.status](
            attempt=task.attempt,
            reason=command.reason or (task.stop_reason if command.status == "stopped" else ""),
            exit_code=command.exit_code,
            began_at=command.began_at,
        )
    ]


def _lose(command: LoseTask, task: Task) -> Sequence[TaskEvent]:
    if task.status != "in_progress" or task.attempt != command.attempt:
        return []
    if task.stop_requested:
        return [TaskStopped(attempt=task.attempt, reason=f"{task.stop_reason} ({command.reason})".strip())]
    counted = ""
    if task.on_lost == "requeue" and task.queue is not None:
        # Who enqueues a task again gives it all its attempts again.
        tries = task.attempt - task.enqueued_after
        if tries < task.max_attempts:
            return [TaskRequeued(attempt=task.attempt, reason=command.reason, queue=task.queue, priority=task.priority)]
        counted = f" on attempt {tries} of {task.max_attempts}"
    return [TaskFailed(attempt=task.attempt, reason=f"{command.reason}{counted}")]


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
        case ModelAdded():
            return replace(task, version=version, models=added_model(task.models, event))
        case _:
            assert_never(event)


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
