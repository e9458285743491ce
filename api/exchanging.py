"""The exchange that waits: it looks, sleeps until there may be something to do, and looks again."""

import asyncio
from collections.abc import Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.awaiting import ended_when_client_leaves
from api.services import Services
from api.waiting import NOTHING, Waiter, Waiting
from controller.exchange import Exchanged


async def exchanged(
    request: Request,
    services: Services,
    agent_id: str,
    session: str,
    look: Callable[[], Exchanged],
    *,
    takes_work: bool,
    seconds: float,
) -> Exchanged:
    """What `look` finds: at once when it is something, or else when there is something, at latest after `seconds`.

    A newer exchange of the session, the client's leaving and the server's end cut it short.
    """
    waiting: Waiting = request.app.state.waiting
    with waiting.exchange(session) as waiter:
        found = await run_in_threadpool(look)
        # Until here work of any queue has woken it: which ones are its own is only sure once it has looked.
        waiter.queues = frozenset(services.exchange.queues_of(agent_id)) if takes_work else NOTHING
        if seconds and not _is_news(found, waiting, agent_id):
            deadline = asyncio.get_running_loop().time() + seconds
            async with ended_when_client_leaves(request, waiter):
                while not _is_news(found, waiting, agent_id) and await _woken(services, waiter, deadline):
                    found = await run_in_threadpool(look)
    waiting.tell(agent_id, _stops(found))
    return found


def _is_news(found: Exchanged, waiting: Waiting, agent_id: str) -> bool:
    """Whether it is worth an answer. What it was told to stop is named in every look, until it has stopped."""
    return bool(found.claims or found.receipts or waiting.untold(agent_id, _stops(found)))


def _stops(found: Exchanged) -> frozenset[tuple[str, int]]:
    return frozenset((stop.task_id, stop.attempt) for stop in found.stop)


async def _woken(services: Services, waiter: Waiter, deadline: float) -> bool:
    """Sleep until there may be something to do. False when the wait is over."""
    clock = asyncio.get_running_loop()
    while not waiter.ended and await waiter.wait(max(deadline - clock.time(), 0)):
        if waiter.ended:
            return False
        if waiter.called or services.exchange.has_work(list(waiter.queues or ())):
            waiter.called = False
            return True
    return False
