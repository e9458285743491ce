"""Who asks is known before any of the body is read: the framework takes it in, whoever sent it, and only then asks."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.asking import authenticated
from api.errors import Problem, answer_to
from api.services import Services
from eventstore.store import StoreUnavailable

PREFIX = "/api/"


class Gate:
    """ASGI middleware. Requests without a body pass: their route asks who it is before it does anything."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX) and _has_body(scope):
            request = Request(scope)
            try:
                request.state.actor = await authenticated(request, self._services)
            except (Problem, StoreUnavailable) as no:
                await answer_to(request, no)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
