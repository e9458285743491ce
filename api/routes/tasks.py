"""Tasks: made, found, edited, and told what to do."""

from typing import Annotated, Any

from fastapi import Response

from api import bodies, routed, shapes
from api.addresses import TaskId
from api.asking import Asking, Expected, Wired, caught_up, new_id, said
from api.controllers import asked_of, edited_run, ended, view_of
from api.documented import problems
from api.paging import ANY_OF, Cursor, Limit, Page, page, with_times
from api.services import Services
from api.views import task_view
from api.wire import JsonResponse, etag
from controller.handle import Answer, By, StaleVersion
from domain import run as runs
from domain import task as tasks
from projections import queries

router = routed.router("tasks")

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


@router.get(
    "/tasks",
    response_model=Page[shapes.TaskRow],
    summary="List tasks, newest first",
    responses=problems(422),
    dependencies=[caught_up("tasks")],
)
def list_tasks(
    services: Wired,
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
        try:
            return as_of(services, _edited(services, task_id, body, asking, expect))
        except StaleVersion:
            if expect is not None or tried == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _edited(services: Services, task_id: str, body: bodies.EditTask, asking: By, expect: int | None) -> Answer:
    """What is merged here must meet what it was merged with; the domain merges the rest by itself."""

    def meant(present: int) -> int | None:
        return present if expect is None and body.builds_on_the_present else expect

    def of_task() -> Answer:
        present = services.reader.task(task_id)
        command = body.edited(services.reader.content_of(present))
        return services.controller.task(task_id, command, asking, expect=meant(present.version))

    def of_run() -> Answer:
        command, present = edited_run(services, task_id, body)
        return services.controller.run(task_id, command, asking, expect=meant(present))

    return asked_of(services, task_id, of_task, of_run)


@router.post(
    "/tasks/{task_id}/clone",
    status_code=201,
    response_model=shapes.Task,
    summary="Clone a task",
    responses=problems(400, 404, 413, 422),
)
def clone_task(task_id: TaskId, body: bodies.CloneTask, services: Wired, asking: Asking) -> Response:
    """A new task made of what this one is made of; its outputs and attempts stay behind. Of a run: a draft of it."""
    names: dict[str, Any] = {"name": body.name, "project": body.project, "comment": body.comment, "origin": body.origin}
    controller, new = services.controller, new_id()
    answer = asked_of(
        services,
        task_id,
        lambda: controller.clone_task(new, task_id, asking, parent=body.parent, **names),
        lambda: controller.clone_run(new, task_id, asking, **names),
    )
    return as_of(services, answer, 201)


@router.post("/tasks/{task_id}/enqueue", response_model=shapes.Task, summary="Put it into a queue", responses=COMMAND)
def enqueue_task(
    task_id: TaskId, body: bodies.EnqueueTask, services: Wired, asking: Asking, expect: Expected
) -> Response:
    """A run that is a draft starts; its host, where it has one, waits in that queue."""
    command = tasks.EnqueueTask(queue=body.queue, priority=body.priority, origin=body.origin)
    controller = services.controller
    answer = asked_of(
        services,
        task_id,
        lambda: controller.task(task_id, command, asking, expect=expect),
        lambda: controller.run(task_id, runs.StartRun(queue=body.queue), asking, expect=expect),
    )
    return as_of(services, answer)


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
    rows = [*services.store.select("lease", stream=f"task-{task_id}")]
    rows += services.store.select("lease", stream=f"run-{task_id}")
    seconds = float((rows[0]["seconds"] if rows else None) or bodies.LEASE)
    stop = services.exchange.heartbeat_task(task_id, body.session, body.attempt, seconds)
    return JsonResponse({"stop": stop is not None, "reason": stop.reason if stop else ""})


@router.post("/tasks/{task_id}/complete", response_model=shapes.Task, summary="End it well", responses=COMMAND)
def complete_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.End | None = None
) -> Response:
    return _end(services, task_id, "completed", body, asking, expect)


@router.post("/tasks/{task_id}/fail", response_model=shapes.Task, summary="End it as failed", responses=COMMAND)
def fail_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.End | None = None
) -> Response:
    return _end(services, task_id, "failed", body, asking, expect)


@router.post("/tasks/{task_id}/stop", response_model=shapes.Task, summary="Stop it", responses=COMMAND)
def stop_task(
    task_id: TaskId, services: Wired, asking: Asking, expect: Expected, body: bodies.Stop | None = None
) -> Response:
    """It is asked to stop and may save its work first; with `now` it is stopped, whatever it does."""
    asked = body or bodies.Stop()
    reason = asked.reason or f"stop requested by {asking.actor}"
    command = tasks.StopTask(reason=reason, now=asked.now, by_attempt=asked.attempt)
    answer = asked_of(
        services,
        task_id,
        lambda: services.controller.task(task_id, command, asking, expect=expect),
        lambda: ended(services, task_id, "stopped", reason, asking, expect, asked.attempt),
    )
    return as_of(services, answer)


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
    return view_of(services.reader, task_id)


def as_of(services: Services, answer: Answer, status: int = 200) -> Response:
    """The task as the command left it: a repeat of the command gets the same answer, whatever has happened since."""
    response = JsonResponse(view_of(services.reader, answer.id, answer.version), status)
    said(response, answer)
    return response


def _end(
    services: Services, task_id: str, status: str, body: bodies.End | None, asking: By, expect: int | None
) -> Response:
    """Of a run: its host ends so, or the run, when it has none."""
    asked = body or bodies.End()
    command = tasks.EndTask(status=status, reason=asked.reason, by_attempt=asked.attempt)
    answer = asked_of(
        services,
        task_id,
        lambda: services.controller.task(task_id, command, asking, expect=expect),
        lambda: ended(services, task_id, status, asked.reason, asking, expect, asked.attempt),
    )
    return as_of(services, answer)


def _tell(services: Services, task_id: str, command: tasks.TaskCommand, asking: By, expect: int | None) -> Response:
    return as_of(services, services.controller.task(task_id, command, asking, expect=expect))
