"""How much a request may bring: refused before it is read, and while it is read when it lied about its length."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.settings import Settings


class Limits:
    """ASGI middleware. JSON bodies, logs and artifacts each have their own limit, see Settings."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most(scope["method"], scope["path"])
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most or (declared.isdigit() and int(declared) > most):
                # The one kind of error that the framework lets through from the reading of a body.
                raise HTTPException(413, f"This request may bring {most:,} bytes at most.")
            return message

        await self._app(scope, limited, send)

    def _most(self, method: str, path: str) -> int:
        if method == "PUT" and "/blobs/" in path:
            return self._settings.most_artifact_bytes
        if method == "POST" and path.endswith("/logs"):
            return self._settings.most_log_bytes
        return self._settings.most_json_bytes
