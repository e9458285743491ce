"""Agents: who runs tasks, and the one door through which they get them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from api import agent_bodies
from api.addresses import AgentId
from api.asking import WAIT_FOR_PROJECTION, CaughtUp, Wired
from api.documented import problems
from api.exchanging import exchanged
from api.paging import Cursor, Limit, Page, page, with_times
from api.views import run_as_task, task_view
from api.wire import JsonResponse, position_text
from controller.exchange import Claim, Exchanged, Held, Receipt, Stop
from domain.refused import Invalid, Unknown
from projections import queries

router = APIRouter(tags=["agents"])

OF_SESSION = problems(400, 404, 409, 413, 422)


@router.post(
    "/agents",
    status_code=201,
    response_model=agent_bodies.Registered,
    summary="Register an agent, or a new session of it",
    responses=problems(400, 413, 422),
)
def register_agent(body: agent_bodies.RegisterAgent, services: Wired) -> Response:
    """What an older session of the same agent still held is lost at once. A repeat changes nothing."""
    answer = services.exchange.register(body.registered())
    lease = services.controller.lease
    shown = {"id": answer.id, "session": body.session, "lease": lease, "heartbeat": round(lease * 0.3, 3)}
    return JsonResponse(shown, 201, headers=_headers(answer.position))


@router.get(
    "/agents", response_model=Page[agent_bodies.Agent], summary="List agents, newest first", responses=problems(422)
)
def list_agents(services: Wired, _: CaughtUp, limit: Limit = 50, cursor: Cursor = None) -> Response:
    with services.store.database.reading() as connection:
        rows = queries.agents(connection)
    start = 0
    if cursor is not None:
        places = {row["id"]: place for place, row in enumerate(rows, start=1)}
        if cursor not in places:
            raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor")
        start = places[cursor]
    shown = rows[start : start + limit]
    return JsonResponse(page([_view(row) for row in shown], shown[-1]["id"] if start + limit < len(rows) else None))


@router.get("/agents/{agent_id}", response_model=agent_bodies.Agent, summary="Show an agent", responses=problems(404))
def get_agent(agent_id: AgentId, services: Wired) -> Response:
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION)
    with services.store.database.reading() as connection:
        rows = queries.agents(connection, agent_id)
    if not rows:
        raise Unknown(f"There is no agent {agent_id}.")
    return JsonResponse(_view(rows[0]))


@router.post(
    "/agents/{agent_id}/exchange",
    response_model=agent_bodies.Exchanged,
    summary="Report what has ended, hear what is to stop, and take work",
    responses=OF_SESSION,
)
async def exchange_work(request: Request, agent_id: AgentId, body: agent_bodies.Exchange, services: Wired) -> Response:
    """With reports it answers at once; without, it waits for something to do.

    A claim whose answer got lost is handed over again by the next exchange, which does not name it among those held.
    """
    reports, held = body.reported(), _held(body.held)

    def look() -> Exchanged:
        return services.exchange.exchange(agent_id, body.session, held=held, reports=reports, free=body.free)

    seconds = 0 if reports else body.wait
    found = await exchanged(
        request, services, agent_id, body.session, look, takes_work=bool(body.free), seconds=seconds
    )
    shown = {
        "claims": [_claim_view(claim) for claim in found.claims],
        "stop": _plain(found.stop),
        "reports": _plain(found.receipts),
    }
    return JsonResponse(shown, headers=_headers(found.position))


@router.post(
    "/agents/{agent_id}/heartbeat",
    response_model=agent_bodies.Stops,
    summary="Say that the agent and its attempts are alive",
    responses=OF_SESSION,
)
def heartbeat_agent(agent_id: AgentId, body: agent_bodies.Beat, services: Wired) -> Response:
    """Renews the leases of the agent and of the attempts that it names."""
    return JsonResponse({"stop": _plain(services.exchange.heartbeat(agent_id, body.session, _held(body.held)))})


@router.post(
    "/agents/{agent_id}/leave",
    response_model=agent_bodies.Receipts,
    summary="End the session",
    responses=OF_SESSION,
)
def leave_agent(agent_id: AgentId, body: agent_bodies.Leave, services: Wired) -> Response:
    """After the last reports: what the agent still held is lost at once."""
    return JsonResponse({"reports": _plain(services.exchange.leave(agent_id, body.session, body.reported()))})


def _view(row: dict[str, Any]) -> dict[str, Any]:
    shown = with_times({**row, "version": row["agent_version"]})
    return {field: shown[field] for field in agent_bodies.Agent.model_fields}


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


def _held(held: Sequence[agent_bodies.Held]) -> list[Held]:
    return [one.held() for one in held]


def _plain(answers: Sequence[Stop] | Sequence[Receipt]) -> list[dict[str, Any]]:
    return [asdict(answer) for answer in answers]


def _headers(position: int) -> dict[str, str]:
    return {"Foldline-Position": position_text(position)}
