"""A task: one thing to run, from its creation to its outcome, with every attempt on record: what may happen to it."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from domain.content import Edit
from domain.lifecycle import TASK, TASK_ENDED, after, either, words
from domain.refused import Invalid, Refused
from domain.task_events import (
    ENDS,
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
from domain.task_fold import evolve
from domain.task_state import Artifact, Attempt, Task

__all__ = [
    "ENDS",
    "Artifact",
    "ArtifactAdded",
    "ArtifactsRemoved",
    "Attempt",
    "DequeueTask",
    "EndTask",
    "EnqueueTask",
    "LoseTask",
    "ModelAdded",
    "PublishTask",
    "RemoveArtifacts",
    "ResetTask",
    "StartTask",
    "StopTask",
    "Task",
    "TaskAdopted",
    "TaskCommand",
    "TaskCompleted",
    "TaskCreated",
    "TaskDequeued",
    "TaskEdited",
    "TaskEnqueued",
    "TaskEvent",
    "TaskFailed",
    "TaskPublished",
    "TaskRequeued",
    "TaskReset",
    "TaskStarted",
    "TaskStopRequested",
    "TaskStopped",
    "decide",
    "evolve",
    "removed",
]


class EnqueueTask(Struct, frozen=True, kw_only=True, gc=False):
    queue: str
    priority: int = 0
    origin: str | None = None


class DequeueTask(Struct, frozen=True, kw_only=True, gc=False):
    pass


class StartTask(Struct, frozen=True, kw_only=True, gc=False):
    agent_id: str
    session: str
    host: str = ""


class StopTask(Struct, frozen=True, kw_only=True, gc=False):
    """Ask it to stop, so that it may save its work; `now`: it is stopped, whatever it does."""

    reason: str = ""
    now: bool = False
    by_attempt: int = 0  # whose own process says so: refused once that attempt was lost or has a successor


class EndTask(Struct, frozen=True, kw_only=True, gc=False):
    """Without `attempt` it is the user's word, about whichever attempt runs; with one, that attempt's own report."""

    status: str  # completed, failed or stopped
    reason: str = ""
    attempt: int | None = None
    session: str | None = None
    exit_code: int | None = None
    began_at: int | None = None
    by_attempt: int = 0  # as in StopTask: still the user's word, said in the process of this attempt


class LoseTask(Struct, frozen=True, kw_only=True, gc=False):
    """The holder of `attempt` is gone."""

    attempt: int
    reason: str


class ResetTask(Struct, frozen=True, kw_only=True, gc=False):
    pass


class PublishTask(Struct, frozen=True, kw_only=True, gc=False):
    pass


class RemoveArtifacts(Struct, frozen=True, kw_only=True, gc=False):
    names: Sequence[str]
    attempt: int = 0  # the one that removes its own task's; 0 when a person does


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
    | RemoveArtifacts
    | ArtifactAdded
    | ModelAdded
)


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
        case RemoveArtifacts():
            if task.status in ("absent", "published"):
                raise Refused(f"Cannot remove artifacts of task {task.name!r}: it is {words(task.status)}.")
            if _gone(task, command.attempt):
                raise _over(task, command.attempt)
            return removed(command, task.artifacts, f"task {task.name!r}")
        case _:
            assert_never(command)


def removed(command: RemoveArtifacts, artifacts: Mapping[str, Artifact], what: str) -> Sequence[ArtifactsRemoved]:
    """The event for `what`, which has `artifacts`; none for no names. Raises Refused for a name that is not there."""
    for name in command.names:
        if name not in artifacts:
            raise Refused(f"Cannot remove artifact {name!r} of {what}: it has none of that name.")
    names = tuple(dict.fromkeys(command.names))
    return [ArtifactsRemoved(names=names, attempt=command.attempt)] if names else []


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
    if _gone(task, command.by_attempt):
        raise _over(task, command.by_attempt)
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
    if _gone(task, command.by_attempt):
        raise _over(task, command.by_attempt)
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
