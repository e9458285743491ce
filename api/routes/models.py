"""Models, whichever task has made or read them."""

from typing import Annotated

from fastapi import Response

from api import routed, shapes
from api.asking import Wired, caught_up
from api.documented import problems
from api.paging import ANY_OF, Cursor, Limit, Page, page, with_times
from api.wire import JsonResponse
from domain.refused import Unknown
from projections import queries

router = routed.router("models")
CAUGHT_UP = caught_up("models")


@router.get(
    "/models",
    response_model=Page[shapes.ModelRow],
    summary="List models, newest first",
    responses=problems(422),
    dependencies=[CAUGHT_UP],
)
def list_models(
    services: Wired,
    tag: Annotated[list[str], ANY_OF],
    project: str | None = None,
    name: str | None = None,
    framework: str | None = None,
    task: str | None = None,
    url: str | None = None,
    published: bool | None = None,
    archived: bool | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Each once, as the task that has made it (else the first that has read it) says of it now."""
    with services.store.database.reading() as connection:
        rows, following = queries.models(
            connection,
            project=project,
            name=name,
            tags=tag,
            framework=framework,
            task_id=task,
            url=url,
            published=published,
            archived=archived,
            limit=limit,
            cursor=cursor,
        )
    return JsonResponse(page([with_times(row) for row in rows], following))


@router.get(
    "/models/{model_id}",
    response_model=shapes.ModelRow,
    summary="Show a model",
    responses=problems(404, 422),
    dependencies=[CAUGHT_UP],
)
def get_model(model_id: str, services: Wired) -> Response:
    with services.store.database.reading() as connection:
        rows, _following = queries.models(connection, model_id=model_id, limit=1)
    if not rows:
        raise Unknown(f"There is no model {model_id}.")
    return JsonResponse(with_times(rows[0]))
