"""The numbers that a task reports while it runs."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Response

from api import bodies, routed, shapes
from api.addresses import TaskId
from api.asking import Wired
from api.documented import problems
from api.monitored import Monitored
from api.reports import check_reporter
from api.wire import JsonResponse, time_text
from domain.refused import Invalid
from eventstore.scalars import Point, Sample

router = routed.router("tasks")

MOST_SAMPLES = 1_000_000


@router.post(
    "/tasks/{task_id}/scalars",
    status_code=204,
    response_class=Response,
    summary="Report scalars",
    responses=problems(400, 404, 409, 413, 422),
)
def add_scalars(task_id: TaskId, body: bodies.AddScalars, services: Wired) -> None:
    """A point that is there already takes the new value, so a repeat is harmless."""
    check_reporter(services.reader, task_id, body.attempt)
    services.scalars.add(task_id, [Point(**one.model_dump()) for one in body.points])


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
    samples: Annotated[
        int | None,
        Query(ge=0, le=MOST_SAMPLES, description="Also the curves, of so many samples each; 0: all."),
    ] = None,
) -> Response:
    """The last, least and greatest value of each series; with `title` and `series` also that curve.

    Of a run: also those of its steps that its definition names, under their new names.
    """
    check_reporter(services.reader, task_id)
    if (title is None) != (series is None):
        raise Invalid("Points are those of one title and series: give both or neither.", "series" if title else "title")
    scalars = Monitored(services, task_id)
    shown: dict[str, Any] = {"last": scalars.last()}
    if title is not None and series is not None:
        shown["points"] = scalars.points(title, series)
    if samples is not None:
        curves = scalars.curves(samples or None)
        shown["curves"] = {title: {name: _curve(one) for name, one in of.items()} for title, of in curves.items()}
    return JsonResponse(shown)


def _curve(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "iterations": [sample.iteration for sample in samples],
        "values": [sample.value for sample in samples],
        "times": [time_text(sample.at) for sample in samples],
    }
