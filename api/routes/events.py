"""The log itself: read from a position on, or followed live."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api import routed, streams
from api.asking import Wired
from api.documented import problems
from api.live import PING_EVERY
from api.paging import ANY_OF, Limit, Page, page
from api.services import Services
from api.streams import Form, streamed
from api.trail import Trail
from api.views import event_view
from api.waiting import Waiting
from api.wire import JsonResponse, position_from, position_text
from domain.refused import Invalid

router = routed.router("events")

PIECE = 200  # events that are read at once while it is live

EVENT: dict[str, Any] = {
    "position": "0-318",
    "stream": "task-0123456789abcdef0123456789abcdef",
    "version": 3,
    "run_id": "fedcba9876543210fedcba9876543210",
    "run_version": 41,
    "type": "TaskStarted",
    "schema": 1,
    "subject": "train",
    "from_state": "queued",
    "to_state": "in_progress",
    "data": {"attempt": 1, "agent_id": "00112233445566778899aabbccddeeff", "session": "5e" * 16, "host": "node1"},
    "meta": {"actor": "agent:00112233445566778899aabbccddeeff"},
    "recorded_at": "2026-11-22T15:31:00.123456Z",
}

Name = Annotated[str | None, Query(max_length=500, pattern="^[^\x00]*$")]


class Event(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    position: str = Field(description="Its place in the log.")
    stream: str
    version: int = Field(description="Its place in the stream.")
    run_id: str | None
    run_version: int | None = Field(description="Its place among the events of the run and its tasks.")
    type: str
    schema_: int = Field(alias="schema", description="The version of the type that `data` was written in.")
    subject: str | None = Field(description="The step that it is about.")
    from_state: str | None
    to_state: str | None
    data: dict[str, Any]
    meta: dict[str, Any] = Field(description="Who brought it about, and by which command.")
    recorded_at: str


@router.get(
    "/events",
    response_model=Page[Event],
    summary="Read the log, or follow it live",
    responses={200: {"description": "Events, oldest first.", "content": streams.documented(EVENT)}, **problems(422)},
)
async def list_events(
    request: Request,
    services: Wired,
    type: Annotated[list[str], ANY_OF],
    after: Annotated[str | None, Query(description="A position: events behind it.", examples=["0-318"])] = None,
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the list so far, a position too.")] = None,
    limit: Limit = 50,
    stream: Annotated[Name, Query(description="Of this stream only, such as run-0123...")] = None,
    run_id: Annotated[Name, Query(description="Of this run and its tasks only.")] = None,
    last_event_id: Annotated[str | None, Header(description="Goes on behind that event.")] = None,
) -> Response:
    """With `Accept: text/event-stream` or `application/x-ndjson` it goes on for as long as the client listens.

    As a list it ends with what there is; `next_cursor` is where to look on, and is never null: a page may be short, or
    empty, although more events follow.
    """
    form = streams.wanted(request.headers.get("accept"))
    trail = await run_in_threadpool(
        _trail, services, (last_event_id if form else None) or cursor or after, stream, run_id, type
    )
    if form is not None:
        return streamed(form, _follow(trail, request.app.state.waiting, form))
    found, _ = await run_in_threadpool(trail.read, limit)
    return JsonResponse(page([event_view(row) for row in found], position_text(trail.position)))


def _trail(services: Services, after: str | None, stream: str | None, run_id: str | None, types: list[str]) -> Trail:
    position = 0 if after is None else position_from(after)
    head = services.store.head()
    if position > head:
        raise Invalid(f"The log ends at {position_text(head)}, before {after}: begin again without `after`.", "after")
    return Trail(services.store, position, stream=stream, run_id=run_id, types=frozenset(types))


async def _follow(trail: Trail, waiting: Waiting, form: Form) -> AsyncGenerator[bytes]:
    with waiting.following() as waiter:
        while not waiter.ended:
            pieces, more = await run_in_threadpool(_pieces, trail, form)
            if pieces:
                yield pieces
            if not more and not await waiter.wait(PING_EVERY) and form.ping:
                yield form.ping


def _pieces(trail: Trail, form: Form) -> tuple[bytes, bool]:
    found, more = trail.read(PIECE)
    return b"".join(form.piece(position_text(row.position), event_view(row)) for row in found), more
