"""What attempts print: appended and read by offset, and followed while it grows."""

import asyncio
import codecs
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import routed, shapes
from api.addresses import TaskId
from api.asking import Wired
from api.controllers import task_of
from api.documented import problems
from api.live import EVENT_STREAM, HEADERS, PING, PING_EVERY, Bells, sse, wants_events
from api.services import Services
from api.waiting import Waiter, Waiting
from api.wire import JsonResponse
from domain.lifecycle import TASK_ENDED
from domain.refused import Unknown
from domain.task import Attempt, Task
from eventstore.batches import ShardClosed
from eventstore.store import StoreUnavailable

log = structlog.get_logger()
router = routed.router("tasks")

PIECE = 65_536  # bytes in one event
MOST = 1_048_576  # bytes in one answer
POLL_SHARED = 0.5  # seconds: where other processes take logs in, nothing rings here
POLL = 5.0  # seconds: for an attempt that is lost, which rings for nobody
LINGER = 0.1  # seconds: the log of events grows all the time, and it is mostly not about this task

AttemptNumber = Annotated[int, Query(ge=1, le=2**31 - 1)]
Offset = Annotated[int, Query(ge=0, le=2**53, description="In bytes.")]
RAW: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes as they are; or, when the Accept header asks for events, each piece as it comes.",
        "headers": {
            "Foldline-Next-Offset": {"description": "The offset behind these bytes.", "schema": {"type": "integer"}}
        },
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "epoch 1: loss 0.35\n"},
            EVENT_STREAM: {"schema": {"type": "string"}, "example": 'data: {"text": "epoch 1"}\nid: 7\n\n'},
        },
    }
}


@router.post(
    "/tasks/{task_id}/logs",
    response_model=shapes.LogOffset,
    summary="Append to the log of an attempt",
    openapi_extra=RAW,
    responses=problems(404, 409, 413, 422),
)
async def append_log(
    request: Request, task_id: TaskId, services: Wired, attempt: AttemptNumber, offset: Offset
) -> Response:
    """Raw bytes; `offset` is the count of bytes sent before. A repeat is harmless; a gap is 409 with `offset`."""
    data = await request.body()

    def append() -> int:
        _attempt_of(task_of(services.reader, task_id), attempt)
        return services.logs.append(task_id, attempt, offset, data)

    reached = await run_in_threadpool(append)
    bells: Bells = request.app.state.bells
    bells.ring(_bell(task_id, attempt))
    return JsonResponse({"offset": reached})


@router.get(
    "/tasks/{task_id}/logs",
    response_class=Response,
    summary="Read or follow the log of an attempt",
    responses={**LOG, **problems(404, 422)},
)
async def read_log(
    request: Request,
    task_id: TaskId,
    services: Wired,
    attempt: Annotated[AttemptNumber | None, Query(description="The last one when it is left out.")] = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Bytes at most; not for events.")] = PIECE,
    accept: Annotated[str | None, Header()] = None,
    last_event_id: Annotated[str | None, Header(description="Goes on behind that event.")] = None,
    tail: Annotated[int | None, Query(ge=1, le=MOST, description="The last so many bytes; not for events.")] = None,
) -> Response:
    """Raw bytes; with `Accept: text/event-stream` live: `id` is the next offset, the event `end` comes with the end."""
    task = await run_in_threadpool(task_of, services.reader, task_id)
    if attempt is not None:
        _attempt_of(task, attempt)
    if wants_events(accept):
        if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
            offset = int(last_event_id)
        followed = _follow(services, request.app.state.waiting, request.app.state.bells, task_id, attempt, offset)
        return StreamingResponse(followed, media_type=EVENT_STREAM, headers=HEADERS)
    number = attempt or task.attempt
    if tail is not None and number:
        offset, limit = max(await run_in_threadpool(services.logs.size, task_id, number) - tail, 0), tail
    data = await run_in_threadpool(services.logs.read, task_id, number, offset, limit) if number else b""
    headers = {"Foldline-Next-Offset": str(offset + len(data))}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


async def _follow(
    services: Services, waiting: Waiting, bells: Bells, task_id: str, attempt: int | None, offset: int
) -> AsyncGenerator[bytes]:
    try:
        if attempt is None:
            async for piece in _until_it_starts(services, waiting, task_id):
                yield piece
        task = await run_in_threadpool(task_of, services.reader, task_id)
        number = attempt or task.attempt
        if not number:
            yield sse("{}", id=str(offset), event="end")
            return
        session = _attempt_of(task, number).session
        with waiting.pausing() as waiter, bells.waking(waiter, _bell(task_id, number), session):
            async for piece in _pieces(services, waiter, task_id, number, offset):
                yield piece
    except (StoreUnavailable, ShardClosed) as error:
        # The answer has begun, so that it cannot become an error any more: who follows resumes by the last id.
        log.warning("a log cannot be followed on", task=task_id, error=str(error))


async def _until_it_starts(services: Services, waiting: Waiting, task_id: str) -> AsyncGenerator[bytes]:
    """Pings until the task has an attempt, or has ended without one."""
    said_at = time.monotonic()
    with waiting.following() as waiter:
        while not waiter.ended:
            task = await run_in_threadpool(task_of, services.reader, task_id)
            if task.attempt or task.status in TASK_ENDED:
                return
            if time.monotonic() - said_at >= PING_EVERY:
                yield PING
                said_at = time.monotonic()
            await waiter.wait(_poll(services))
            await asyncio.sleep(LINGER)


async def _pieces(services: Services, waiter: Waiter, task_id: str, attempt: int, offset: int) -> AsyncGenerator[bytes]:
    """The log from `offset` on, then what is added, until the attempt has ended."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    said_at = time.monotonic()
    while not waiter.ended:
        # Asked before the log is read: what an attempt printed before it ended is then in the log.
        over = await run_in_threadpool(_is_over, services, task_id, attempt)
        data = await run_in_threadpool(services.logs.read, task_id, attempt, offset, PIECE)
        offset += len(data)
        text = decoder.decode(data, final=over and not data)
        if text:
            # A character of which half has come is told with its other half: the id stands before it.
            yield sse(_json({"text": text}), id=str(offset - len(decoder.getstate()[0])))
            said_at = time.monotonic()
        if data:
            continue
        if over:
            yield sse("{}", id=str(offset), event="end")
            return
        if time.monotonic() - said_at >= PING_EVERY:
            yield PING
            said_at = time.monotonic()
        await waiter.wait(_poll(services))


def _is_over(services: Services, task_id: str, attempt: int) -> bool:
    return _attempt_of(task_of(services.reader, task_id), attempt).status != "in_progress"


def _attempt_of(task: Task, number: int) -> Attempt:
    """Raises Unknown."""
    for attempt in task.attempts:
        if attempt.number == number:
            return attempt
    raise Unknown(f"Task {task.name!r} has no attempt {number}: it has had {task.attempt} so far.")


def _poll(services: Services) -> float:
    return POLL_SHARED if services.store.database.shared else POLL


def _bell(task_id: str, attempt: int) -> str:
    return f"{task_id}/{attempt}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
