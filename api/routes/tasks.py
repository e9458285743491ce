"""Tasks: made, found, edited, and told what to do."""

from typing import Annotated, Any

from fastapi import APIRouter, Response

from api import bodies, shapes
from api.addresses import TaskId
from api.asking import Asking, CaughtUp, Expected, Wired, new_id, said
from api.documented import problems
from api.paging import ANY_OF, Cursor, Limit, Page, page, with_times
from api.services import Services
from api.views import run_as_task, task_view
from api.wire import JsonResponse, etag
from controller.handle import Answer, By, StaleVersion
from domain import task as tasks
from domain.refused import Unknown
from projections import queries

router = APIRouter(tags=["tasks"])

COMMAND = problems(400, 404, 409, 412, 413, 422)
TRIES = 5


@router.post(
    "/tasks",
    status_code=201,
    response_model=shapes.Task,
    summary="Create a task",
    responses=problems(400, 413, 422),
)
def create_task(body: bodies.CreateTask, services: Wired, asking: Asking) -> Response:
    """It does nothing until it is enqueued, started or used as the template of a step."""
    answer = services.controller.create_task(new_id(), body.created(), body.content(), asking)
    return as_of(services, answer, 201)


@router.get("/tasks", response_model=Page[shapes.TaskRow], summary="List tasks, newest first", responses=problems(422))
def list_tasks(
    services: Wired,
    _: CaughtUp,
    status: Annotated[list[bodies.TaskStatus], ANY_OF],
    type: Annotated[list[bodies.TaskType], ANY_OF],
    tag: Annotated[list[str], ANY_OF],
    project: str | None = None,
    name: str | None = None,
    parent: str | None = None,
    run_id: str | None = None,
    step: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    with services.store.database.reading() as connection:
        rows, following = queries.tasks(
            connection,
            project=project,
            name=name,
            statuses=status,
            types=type,
            tags=tag,
            parent=parent,
            run_id=run_id,
            step=step,
            limit=limit,
            cursor=cursor,
        )
    shown = shapes.TaskRow.model_fields
    items = [{field: value for field, value in with_times(row).items() if field in shown} for row in rows]
    return JsonResponse(page(items, following))


@router.get("/tasks/{task_id}", response_model=shapes.Task, summary="Show a task", responses=problems(404))
def get_task(task_id: TaskId, services: Wired) -> Response:
    """As of now. With a run's id: the run, read as the task of type controller that it is."""
    shown = present_view(services, task_id)
    return JsonResponse(shown, headers={"ETag": etag(shown["version"])})


@router.patch("/tasks/{task_id}", response_model=shapes.Task, summary="Edit a task", responses=COMMAND)
def edit_task(task_id: TaskId, body: bodies.EditTask, services: Wired, asking: Asking, expect: Expected) -> Response:
    """What a task is run with can be edited before and while it runs; its names, tags and comment always."""
    for tried in range(TRIES):
        present = services.reader.task(task_id)
        command = body.edited(services.reader.content_of(present))
        # What is merged here must meet the task that it was merged with; the domain merges the rest by itself.
        meant = present.version if expect is None and body.builds_on_the_present else expect
        try:
            return as_of(services, services.controller.task(task_id, command, asking, expect=meant))
        except StaleVersion:
            if expect is not None or tried == TRIES - 1:
                raise
    raise AssertionError("unreachable")


@router.post(
    "/tasks/{task_id}/clone",
    status_code=201,
    response_model=shapes.Task,
    summary="Clone a task",
    responses=problems(400, 404, 413, 422),
)
def clone_task(task_id: TaskId, body: bodies.CloneTask, services: Wired, asking: Asking) -> Response:
    """A new task made of what this one is made of; its outputs and attempts stay behind."""
    answer = services.controller.clone_task(
        new_id(),
        task_id,
        asking,
        name=body.name,
        project=body.project,
        parent=body.parent,
        comment=body.comment,
        origin=body.origin,
    )
    return as_of(services, answer, 201)


@router.post("/tasks/{task_id}/enqueue", response_model=shapes.Task, summary="Put it into a queue", responses=COMMAND)
def enqueue_task(
    task_id: TaskId, body: bodies.EnqueueTask, services: Wired, asking: Asking, expect: Expected
) -> Response:
    command = tasks.EnqueueTask(queue=body.queue, priority=body.priority, origin=body.origin)
    return _tell(services, task_id, command, asking, expect)


@router.post(
    "/tasks/{task_id}/dequeue",
    response_model=shapes.Task,
    summary="Take it out of its queue",
    responses=COMMAND,
)
def dequeue_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Nothing | None = None
) -> Response:
    """It becomes again what it was before it was enqueued."""
    return _tell(services, task_id, tasks.DequeueTask(), asking, expect)


@router.post(
    "/tasks/{task_id}/start",
    response_model=shapes.Started,
    summary="Run it in the caller's own process",
    responses=problems(400, 404, 409, 413, 422),
)
def start_task(task_id: TaskId, body: bodies.StartTask, services: Wired, asking: Asking) -> Response:
    """The process holds the attempt as long as it sends heartbeats; silent for `lease` seconds, it counts as lost."""
    answer = services.controller.start_task(task_id, body.session, body.host, body.lease, asking)
    task = services.reader.task(task_id, upto=answer.version)
    shown = task_view(task, services.reader.content_of(task))
    response = JsonResponse({"task": shown, "attempt": task.attempt, "lease": body.lease})
    said(response, answer)
    return response


@router.post(
    "/tasks/{task_id}/heartbeat",
    response_model=shapes.Beat,
    summary="Say that the caller's own process is alive",
    responses=problems(400, 404, 409, 413, 422),
)
def heartbeat_task(task_id: TaskId, body: bodies.Heartbeat, services: Wired) -> Response:
    """409 when the attempt is no longer this session's: the process should end."""
    [lease] = services.store.select("lease", stream=f"task-{task_id}") or [{"seconds": bodies.LEASE}]
    seconds = float(lease["seconds"] or bodies.LEASE)
    task = services.exchange.heartbeat_task(task_id, body.session, body.attempt, seconds)
    return JsonResponse({"stop": task.stop_requested, "reason": task.stop_reason if task.stop_requested else ""})


@router.post("/tasks/{task_id}/complete", response_model=shapes.Task, summary="End it well", responses=COMMAND)
def complete_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Reason | None = None
) -> Response:
    return _end(services, task_id, "completed", body, asking, expect)


@router.post("/tasks/{task_id}/fail", response_model=shapes.Task, summary="End it as failed", responses=COMMAND)
def fail_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Reason | None = None
) -> Response:
    return _end(services, task_id, "failed", body, asking, expect)


@router.post("/tasks/{task_id}/stop", response_model=shapes.Task, summary="Stop it", responses=COMMAND)
def stop_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Stop | None = None
) -> Response:
    """It is asked to stop and may save its work first; with `now` it is stopped, whatever it does."""
    asked = body or bodies.Stop()
    command = tasks.StopTask(reason=asked.reason or f"stop requested by {asking.actor}", now=asked.now)
    return _tell(services, task_id, command, asking, expect)


@router.post("/tasks/{task_id}/reset", response_model=shapes.Task, summary="Make it a draft again", responses=COMMAND)
def reset_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Nothing | None = None
) -> Response:
    """Its outputs are forgotten; its attempts stay on record."""
    return _tell(services, task_id, tasks.ResetTask(), asking, expect)


@router.post("/tasks/{task_id}/publish", response_model=shapes.Task, summary="Publish it", responses=COMMAND)
def publish_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Nothing | None = None
) -> Response:
    """From here on nothing about it can be changed."""
    return _tell(services, task_id, tasks.PublishTask(), asking, expect)


def present_view(services: Services, task_id: str) -> dict[str, Any]:
    """The task as it is now, or the run of this id read as a task. Raises Unknown."""
    try:
        task = services.reader.task(task_id)
    except Unknown as unknown:
        try:
            return run_as_task(services.reader.run(task_id))
        except Unknown:
            raise unknown from None
    return task_view(task, services.reader.content_of(task))


def as_of(services: Services, answer: Answer, status: int = 200) -> Response:
    """The task as the command left it: a repeat of the command gets the same answer, whatever has happened since."""
    task = services.reader.task(answer.id, upto=answer.version)
    response = JsonResponse(task_view(task, services.reader.content_of(task)), status)
    said(response, answer)
    return response


def _end(
    services: Services, task_id: str, status: str, body: bodies.Reason | None, asking: By, expect: int | None
) -> Response:
    command = tasks.EndTask(status=status, reason=body.reason if body else "")
    return _tell(services, task_id, command, asking, expect)


def _tell(services: Services, task_id: str, command: tasks.TaskCommand, asking: By, expect: int | None) -> Response:
    return as_of(services, services.controller.task(task_id, command, asking, expect=expect))
