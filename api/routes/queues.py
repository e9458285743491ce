"""Queues: where tasks wait for an agent that listens."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api import routed
from api.asking import WAIT_FOR_PROJECTION, Asking, Wired, caught_up
from api.bodies import Body, PrintableName, Reason
from api.documented import problems
from api.paging import Cursor, Limit, Page, page, with_times
from api.services import Services
from api.wire import JsonResponse, position_text, time_text
from controller.handle import Answer
from domain.refused import Unknown
from projections import queries

router = routed.router("queues")
MADE_FROM = ("queues", "tasks", "runs", "agents")

QueueName = Annotated[str, Path(description="It may hold slashes.", examples=["default"])]


class CreateQueue(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "gpu"}]})

    name: PrintableName = Field(max_length=200)


class Paused(BaseModel):
    actor: str
    reason: str
    since: str


class Queue(BaseModel):
    name: str
    created_at: str
    length: int = Field(description="How many tasks, and hosts of runs, wait in it.")
    agents: list[str] = Field(description="The names of the agents that listen to it now.")
    oldest_enqueued_at: str | None = Field(description="Since when the oldest of them waits.")
    paused: Paused | None = Field(description="Null while work is handed out from it.")


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


@router.get(
    "/queues",
    response_model=Page[Queue],
    summary="List queues by name",
    responses=problems(422),
    dependencies=[caught_up(*MADE_FROM)],
)
def list_queues(services: Wired, limit: Limit = 50, cursor: Cursor = None) -> Response:
    with services.store.database.reading() as connection:
        rows = sorted(queries.queues(connection), key=lambda row: row["name"])  # not by the database's language
    left = [row for row in rows if cursor is None or row["name"] > cursor]
    more = len(left) > limit
    return JsonResponse(page([_view(row) for row in left[:limit]], left[limit - 1]["name"] if more else None))


@router.get("/queues/{name:path}", response_model=Queue, summary="Show a queue", responses=problems(404))
def get_queue(name: QueueName, services: Wired) -> Response:
    return JsonResponse(_present(services, name))


@router.post(
    "/queues/{name:path}/pause", response_model=Queue, summary="Pause a queue", responses=problems(400, 404, 413, 422)
)
def pause_queue(name: QueueName, services: Wired, asking: Asking, body: Reason | None = None) -> Response:
    """Nothing is handed out from it until it is resumed; what runs goes on."""
    return _told(services, services.controller.pause_queue(name, body.reason if body else "", asking))


@router.post(
    "/queues/{name:path}/resume",
    response_model=Queue,
    summary="Resume a queue",
    responses=problems(400, 404, 413, 422),
)
def resume_queue(name: QueueName, services: Wired, asking: Asking, body: Reason | None = None) -> Response:
    return _told(services, services.controller.resume_queue(name, body.reason if body else "", asking))


def _told(services: Services, answer: Answer) -> Response:
    headers = {"Foldline-Position": position_text(answer.position)}
    return JsonResponse(_present(services, answer.id), headers=headers)


def _present(services: Services, name: str) -> dict[str, Any]:
    """Raises Unknown."""
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION, names=MADE_FROM)
    with services.store.database.reading() as connection:
        rows = queries.queues(connection, name)
    if not rows:
        raise Unknown(f"There is no queue {name!r}: create it first.")
    return _view(rows[0])


def _view(row: Mapping[str, Any]) -> dict[str, Any]:
    paused = row["paused"]
    return {**with_times(row), "paused": paused and {**paused, "since": time_text(paused["since"])}}
