"""Routes that wait for the log to bring something about: they look, sleep until it has grown, and look again."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.waiting import Waiter, Waiting

T = TypeVar("T")

LONGEST_WAIT = 30.0  # seconds
BETWEEN_LOOKS = 0.02  # seconds at least: the log grows all the time, and it is mostly about something else


async def awaited(request: Request, look: Callable[[], tuple[T, bool]], seconds: float) -> T:
    """What `look` finds, once it says that this is worth an answer; at latest after `seconds` what it found last.

    The client's leaving and the server's end cut it short.
    """
    waiting: Waiting = request.app.state.waiting
    clock = asyncio.get_running_loop()
    deadline = clock.time() + seconds
    # Begun before the first look, or what happens after it goes unnoticed.
    with waiting.following() as waiter:
        looked_at = clock.time()
        found, enough = await run_in_threadpool(look)
        if enough or not seconds:
            return found
        async with ended_when_client_leaves(request, waiter):
            while not (enough or waiter.ended) and await waiter.wait(max(deadline - clock.time(), 0)):
                await asyncio.sleep(max(looked_at + BETWEEN_LOOKS - clock.time(), 0))
                looked_at = clock.time()
                found, enough = await run_in_threadpool(look)
    return found


@asynccontextmanager
async def ended_when_client_leaves(request: Request, waiter: Waiter) -> AsyncGenerator[None]:
    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        waiter.end()

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
