"""Agents: who runs tasks, and the one door through which they get them."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response

from api import agent_bodies, routed
from api.addresses import AgentId
from api.asking import WAIT_FOR_PROJECTION, Wired, caught_up
from api.documented import problems
from api.exchanging import Said, answer_exchange
from api.paging import Cursor, Limit, Page, page, with_times
from api.wire import JsonResponse, position_text
from controller.exchange import Held
from domain.refused import Invalid, Unknown
from projections import queries

router = routed.router("agents")
MADE_FROM = ("agents", "tasks", "runs")

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
    "/agents",
    response_model=Page[agent_bodies.Agent],
    summary="List agents, newest first",
    responses=problems(422),
    dependencies=[caught_up(*MADE_FROM)],
)
def list_agents(services: Wired, limit: Limit = 50, cursor: Cursor = None) -> Response:
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
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION, names=MADE_FROM)
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
    said = Said(body.session, _held(body.held), body.reported(), body.free, body.wait)
    return await answer_exchange(request, services, agent_id, said)


@router.post(
    "/agents/{agent_id}/heartbeat",
    response_model=agent_bodies.Stops,
    summary="Say that the agent and its attempts are alive",
    responses=OF_SESSION,
)
def heartbeat_agent(agent_id: AgentId, body: agent_bodies.Beat, services: Wired) -> Response:
    """Renews the leases of the agent and of the attempts that it names."""
    return JsonResponse({"stop": services.exchange.heartbeat(agent_id, body.session, _held(body.held))})


@router.post(
    "/agents/{agent_id}/leave",
    response_model=agent_bodies.Receipts,
    summary="End the session",
    responses=OF_SESSION,
)
def leave_agent(agent_id: AgentId, body: agent_bodies.Leave, services: Wired) -> Response:
    """After the last reports: what the agent still held is lost at once."""
    return JsonResponse({"reports": services.exchange.leave(agent_id, body.session, body.reported())})


def _view(row: dict[str, Any]) -> dict[str, Any]:
    shown = with_times({**row, "version": row["agent_version"]})
    return {field: shown[field] for field in agent_bodies.Agent.model_fields}


def _held(held: Sequence[agent_bodies.Held]) -> list[Held]:
    return [one.held() for one in held]


def _headers(position: int) -> dict[str, str]:
    return {"Foldline-Position": position_text(position)}
