"""The exchange past the framework: what agents ask all day long is read by msgspec, not by FastAPI and pydantic.

Only what is plainly right goes this way. All else, and with it every refusal of a body, is left to the route of the
same address in `api/routes/agents.py`, which the API's description is made from.
"""

import re
from typing import Annotated, Literal

import msgspec
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.agent_bodies import LONGEST_WAIT, MOST_HELD
from api.bodies import LARGEST_INTEGER
from api.exchanging import Said, answer_exchange
from api.services import Services
from api.wire import time_from
from controller import exchange
from domain.refused import Invalid

_ADDRESS = re.compile(r"/api/v1/agents/([0-9a-f]{32})/exchange")
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


class Express:
    """ASGI middleware, inside of the gate: who asks is known there, before anything of the body is read."""

    path = "/agents/{agent_id}/exchange"  # by which the request is counted

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (address := _ADDRESS.fullmatch(scope["path"])) and self._takes(scope):
            body = await _body(receive)
            said = read(body)
            if said is not None:
                scope["route"] = self
                await self._answer(address[1], said, scope, receive, send)
                return
            receive = _again(body, receive)
        await self._app(scope, receive, send)

    def _takes(self, scope: Scope) -> bool:
        """Whether it is plainly a body of JSON that may be read. Without a type, or a length, it is not known to be."""
        if scope["method"] != "POST" or _JSON not in scope["headers"] or "actor" not in scope.get("state", ()):
            return False
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= self._services.settings.most_json_bytes

    async def _answer(self, agent_id: str, said: Said, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await answer_exchange(request, self._services, agent_id, said)
        except Exception as error:
            answer = await _handled(request, error)
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


async def _handled(request: Request, error: Exception) -> Response:
    """What is said of it in a route. Raises it when nothing is: the framework does so further out."""
    handlers = request.app.exception_handlers
    for kind in type(error).__mro__:
        if kind in handlers and kind is not Exception:
            return await handlers[kind](request, error)
    raise error


async def _body(receive: Receive) -> bytes:
    """All of it; nothing when the client leaves before its end."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
    return b""


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` from the beginning, when all of the body was read from it."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return unread.pop() if unread else await receive()

    return received
