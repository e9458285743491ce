"""The exchange past the framework: what agents ask all day long is read by msgspec, not by FastAPI and pydantic.

Only what is plainly right goes this way. All else, and with it every refusal of a body, is left to the route of the
same address in `api/routes/agents.py`, which the API's description is made from.
"""

import re
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from fastapi import Request
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.agent_bodies import LONGEST_WAIT, MOST_HELD
from api.bodies import LARGEST_INTEGER
from api.exchanging import Said, answer_exchange
from api.services import Services
from api.wire import time_from
from controller import exchange
from domain.refused import Invalid

_ADDRESS = re.compile(r"/api/v1/agents/([0-9a-f]{32})/exchange")
_LEFT = "foldline.left"  # in the scope of a request that is not for this way
_JSON = (b"content-type", b"application/json")

# The same bounds as in api/agent_bodies.py: a test compares.
_Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_INTEGER)]


class _Held(msgspec.Struct, forbid_unknown_fields=True):
    task_id: _Id
    attempt: _Number


class _Report(_Held, kw_only=True, forbid_unknown_fields=True):
    status: Literal["completed", "failed", "stopped"]
    reason: Annotated[str, msgspec.Meta(max_length=100_000)] = ""
    exit_code: Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)] | None = None
    began_at: str | None = None


class _Exchange(msgspec.Struct, forbid_unknown_fields=True):
    session: _Id
    held: Annotated[list[_Held], msgspec.Meta(max_length=MOST_HELD)] = []
    reports: Annotated[list[_Report], msgspec.Meta(max_length=MOST_HELD)] = []
    free: Annotated[int, msgspec.Meta(ge=0, le=MOST_HELD)] = 0
    wait: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT)] = 0.0


_decoder = msgspec.json.Decoder(_Exchange)


class Express(BaseRoute):
    """The first of the routes of `router`, to which it leaves what it does not take."""

    path = "/agents/{agent_id}/exchange"  # by which the request is counted

    def __init__(self, services: Services, router: ASGIApp) -> None:
        self._services, self._router = services, router

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["method"] == "POST" and _LEFT not in scope:
            address = _ADDRESS.fullmatch(scope["path"])
            # Who asks is known to the gate, and what has no type is not known to be JSON.
            if address and "actor" in scope.get("state", ()) and _JSON in scope["headers"]:
                return Match.FULL, {"route": self, "path_params": {"agent_id": address[1]}}
        return Match.NONE, {}

    def url_path_for(self, name: str, /, **path_params: Any) -> NoReturn:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        body = await request.body()
        said = read(body)
        if said is None:
            scope[_LEFT] = True
            await self._router(scope, _again(body, receive), send)
            return
        answer = await answer_exchange(request, self._services, scope["path_params"]["agent_id"], said)
        await answer(scope, receive, send)


def read(body: bytes) -> Said | None:
    """What the body says; None when that is for others to judge."""
    try:
        asked = _decoder.decode(body)
        reports = [_report(report) for report in asked.reports]
    except (msgspec.DecodeError, UnicodeDecodeError, Invalid):
        return None
    held = [exchange.Held(one.task_id, one.attempt) for one in asked.held]
    return Said(asked.session, held, reports, asked.free, asked.wait)


def _report(report: _Report) -> exchange.Report:
    return exchange.Report(
        task_id=report.task_id,
        attempt=report.attempt,
        status=report.status,
        reason=report.reason,
        exit_code=report.exit_code,
        began_at=None if report.began_at is None else time_from(report.began_at),
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` from the beginning, when all of the body was read from it."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return unread.pop() if unread else await receive()

    return received
