"""The numbers that a task reports while it runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api import bodies, shapes
from api.addresses import TaskId
from api.asking import Wired
from api.documented import problems
from api.wire import JsonResponse
from domain.refused import Invalid
from eventstore.scalars import Point

router = APIRouter(tags=["tasks"])


@router.post(
    "/tasks/{task_id}/scalars",
    status_code=204,
    response_class=Response,
    summary="Report scalars",
    responses=problems(400, 404, 413, 422),
)
def add_scalars(task_id: TaskId, body: bodies.AddScalars, services: Wired) -> None:
    """A point that is there already takes the new value, so a repeat is harmless."""
    services.reader.task(task_id)
    services.scalars.add(task_id, [Point(one.title, one.series, one.iteration, one.value) for one in body.points])


@router.get(
    "/tasks/{task_id}/scalars",
    response_model=shapes.Scalars,
    response_model_exclude_unset=True,
    summary="Show a task's scalars",
    responses=problems(404, 422),
)
def get_scalars(
    task_id: TaskId,
    services: Wired,
    title: Annotated[bodies.PrintableName | None, Query()] = None,
    series: Annotated[bodies.PrintableName | None, Query()] = None,
) -> Response:
    """The last, least and greatest value of each series; with `title` and `series` also that curve."""
    services.reader.task(task_id)
    if (title is None) != (series is None):
        raise Invalid("Points are those of one title and series: give both or neither.", "series" if title else "title")
    shown: dict[str, Any] = {"last": services.scalars.last(task_id)}
    if title is not None and series is not None:
        shown["points"] = services.scalars.points(task_id, title, series)
    return JsonResponse(shown)
