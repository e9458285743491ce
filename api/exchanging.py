"""The exchange: what an agent has said is put to the controller, at once or when there is something to do."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from fastapi import Request, Response

from api.awaiting import ended_when_client_leaves
from api.desk import Desk
from api.services import Services
from api.views import run_as_task, task_view
from api.waiting import NOTHING, Waiter, Waiting
from api.wire import JsonResponse, position_text
from controller.exchange import Claim, Exchanged, Held, Report


class Said(msgspec.Struct, frozen=True):
    """What an agent says in one exchange. `wait`: seconds."""

    session: str
    held: Sequence[Held]
    reports: Sequence[Report]
    free: int
    wait: float


async def answer_exchange(request: Request, services: Services, agent_id: str, said: Said) -> Response:
    """With reports at once; without, when there is something to do, at latest after the time it waits."""

    def look() -> Exchanged:
        return services.exchange.exchange(agent_id, said.session, held=said.held, reports=said.reports, free=said.free)

    seconds = 0 if said.reports else said.wait
    found = await exchanged(
        request, services, agent_id, said.session, look, takes_work=bool(said.free), seconds=seconds
    )
    shown = {
        "claims": [_claim_view(claim) for claim in found.claims],
        "stop": found.stop,
        "reports": found.receipts,
    }
    return JsonResponse(shown, headers={"Foldline-Position": position_text(found.position)})


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
    desk: Desk = request.app.state.desk
    if seconds:
        found = await _awaited(request, services, agent_id, session, look, takes_work, seconds)
    else:
        waiting.end_session(session)
        found = await desk.carry_out(look)
    waiting.tell(agent_id, _stops(found))
    return found


async def _awaited(
    request: Request,
    services: Services,
    agent_id: str,
    session: str,
    look: Callable[[], Exchanged],
    takes_work: bool,
    seconds: float,
) -> Exchanged:
    waiting: Waiting = request.app.state.waiting
    desk: Desk = request.app.state.desk
    with waiting.exchange(session) as waiter:
        found = await desk.carry_out(look)
        if not _is_news(found, waiting, agent_id):
            # Until here work of any queue has woken it: which ones are its own is only sure once it has looked.
            waiter.queues = frozenset(services.exchange.queues_of(agent_id)) if takes_work else NOTHING
            deadline = asyncio.get_running_loop().time() + seconds
            async with ended_when_client_leaves(request, waiter):
                while not _is_news(found, waiting, agent_id) and await _woken(services, waiter, deadline):
                    found = await desk.carry_out(look)
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


def _claim_view(claim: Claim) -> dict[str, Any]:
    shown: dict[str, Any]
    if claim.task is None:
        # The host of a run: the run is the task that is run.
        assert claim.run is not None
        shown = {"queue": claim.run.host.queue or None, "run_id": claim.run.id, "step": None}
        shown["task"] = run_as_task(claim.run, claim.content)
    else:
        shown = {"queue": claim.task.queue, "run_id": claim.task.run_id, "step": claim.task.step}
        shown["task"] = task_view(claim.task, claim.content)
    return {"task_id": shown["task"]["id"], "attempt": claim.attempt, "lease": claim.lease, **shown}
