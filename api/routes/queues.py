"""Queues: where tasks wait for an agent that listens."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.asking import WAIT_FOR_PROJECTION, Asking, CaughtUp, Wired
from api.bodies import Body, PrintableName
from api.documented import problems
from api.paging import Cursor, Limit, Page, page, with_times
from api.services import Services
from api.wire import JsonResponse, position_text
from domain.refused import Unknown
from projections import queries

router = APIRouter(tags=["queues"])


class CreateQueue(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "gpu"}]})

    name: PrintableName = Field(max_length=200)


class Queue(BaseModel):
    name: str
    created_at: str
    length: int = Field(description="How many tasks wait in it.")
    agents: list[str] = Field(description="The names of the agents that listen to it now.")
    oldest_enqueued_at: str | None = Field(description="Since when the oldest of them waits.")


@router.post(
    "/queues",
    status_code=201,
    response_model=Queue,
    summary="Create a queue",
    responses=problems(400, 413, 422),
)
def create_queue(body: CreateQueue, services: Wired, asking: Asking) -> Response:
    """Nothing changes when it is there already."""
    answer = services.controller.create_queue(body.name, asking)
    headers = {"Foldline-Position": position_text(answer.position)}
    return JsonResponse(_present(services, body.name), 201, headers=headers)


@router.get("/queues", response_model=Page[Queue], summary="List queues by name", responses=problems(422))
def list_queues(services: Wired, _: CaughtUp, limit: Limit = 50, cursor: Cursor = None) -> Response:
    with services.store.database.reading() as connection:
        rows = sorted(queries.queues(connection), key=lambda row: row["name"])  # not by the database's language
    left = [row for row in rows if cursor is None or row["name"] > cursor]
    more = len(left) > limit
    return JsonResponse(page([with_times(row) for row in left[:limit]], left[limit - 1]["name"] if more else None))


@router.get("/queues/{name:path}", response_model=Queue, summary="Show a queue", responses=problems(404))
def get_queue(name: Annotated[str, Path(examples=["default"])], services: Wired) -> Response:
    """Its name may hold slashes."""
    return JsonResponse(_present(services, name))


def _present(services: Services, name: str) -> dict[str, Any]:
    """Raises Unknown."""
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION)
    with services.store.database.reading() as connection:
        rows = queries.queues(connection, name)
    if not rows:
        raise Unknown(f"There is no queue {name!r}: create it first.")
    return with_times(rows[0])
