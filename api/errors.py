"""Every error as application/problem+json: one shape, a stable code, a sentence with the cure."""

import errno
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from controller.exchange import Superseded
from controller.handle import KeyReused, StaleVersion
from domain.refused import Invalid, Refused, Unknown
from domain.run import Diverged
from eventstore.blobs import TooLarge
from eventstore.logs import LogGap
from eventstore.store import StoreBroken, StoreBusy, StoreDamaged, StoreUnavailable

log = structlog.get_logger()

TYPE = "https://foldline.dev/problems/"
TITLES = {
    "malformed": "The request cannot be read",
    "unauthorized": "A token is needed",
    "forbidden": "This is not yours to do",
    "not-found": "There is no such thing",
    "method-not-allowed": "This address does not take this method",
    "refused": "The present state does not allow it",
    "diverged": "The code makes other calls than those on record",
    "session-superseded": "The agent's session is over",
    "log-gap": "Bytes are missing before this offset",
    "stale-version": "It has changed since you looked",
    "too-large": "The request is too large",
    "no-such-range": "The bytes asked for do not exist",
    "invalid": "The request makes no sense",
    "key-reused": "The idempotency key was used before",
    "projection-behind": "The list is not up to date yet",
    "not-ready": "The server cannot work at this moment",
    "busy": "More is asked than can be done at this moment",
    "internal": "The server made a mistake",
}
# Of files that the server keeps: artifacts, logs.
DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES})


class Problem(Exception):
    """An error of the HTTP edge itself."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    body = {
        "type": TYPE + code,
        "code": code,
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "errors": list(errors),
        **more,
    }
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def answer_to(request: Request, error: Problem | StoreUnavailable) -> Response:
    """What is said when this comes up, in a route or before there is one."""
    if isinstance(error, Problem):
        return problem(request, error.status, error.code, error.detail, headers=error.headers)
    code, said = "not-ready", f"The database cannot do this now: {error}. Try again in a moment."
    if isinstance(error, StoreBusy):
        code, said = "busy", f"The server is asked for more than it can do: {error}. Try again in a moment."
    return problem(request, 503, code, said, headers={"Retry-After": "1"})


def install(app: FastAPI) -> None:
    """Map every error once."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer_to(request, error)

    async def on_refused(request: Request, error: Exception) -> Response:
        match error:
            case Unknown():
                return problem(request, 404, "not-found", str(error))
            case Invalid(where=where):
                errors = [{"location": where, "message": str(error)}] if where else []
                return problem(request, 422, "invalid", str(error), errors=errors)
            case KeyReused():
                return problem(request, 422, "key-reused", str(error))
            case StaleVersion():
                return problem(request, 412, "stale-version", str(error))
            case Diverged():
                return problem(request, 409, "diverged", str(error))
            case Superseded():
                return problem(request, 409, "session-superseded", str(error))
            case _:
                return problem(request, 409, "refused", str(error))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = error.errors()
        if found and found[0]["type"] == "json_invalid":
            return problem(request, 400, "malformed", f"The body is no JSON: {found[0]['ctx']['error']}.")
        errors = [
            {"location": "/".join(map(str, one["loc"][1:])) or str(one["loc"][0]), "message": one["msg"]}
            for one in found
        ]
        said = "; ".join(f"{one['location']}: {one['message']}" for one in errors[:3])
        return problem(request, 422, "invalid", f"Mend the request: {said}.", errors=errors)

    async def on_gap(request: Request, error: Exception) -> Response:
        assert isinstance(error, LogGap)
        return problem(request, 409, "log-gap", str(error), offset=error.offset)

    async def on_large(request: Request, error: Exception) -> Response:
        return problem(request, 413, "too-large", str(error))

    async def on_unavailable(request: Request, error: Exception) -> Response:
        assert isinstance(error, StoreUnavailable)
        return answer_to(request, error)

    async def on_broken(request: Request, error: Exception) -> Response:
        assert isinstance(error, StoreBroken)
        log.error("what the database holds cannot be read", path=request.url.path, error=str(error))
        cure = "upgrade this server, or see what `foldline-server audit verify` says"
        if isinstance(error, StoreDamaged):
            request.app.state.services.health.found(error)
            cure = "what `foldline-server doctor` and `foldline-server audit verify` say tells how much of it"
        return problem(request, 500, "internal", f"This cannot be read: {error}; {cure}.")

    async def on_disk(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        if error.errno not in DISK_TROUBLE:
            raise error
        log.error("the disk takes nothing", path=request.url.path, error=str(error))
        said = f"The server's disk takes nothing ({error.strerror}): make room, or mend its rights, and try again."
        return problem(request, 503, "not-ready", said, headers={"Retry-After": "1"})

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        codes = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 400: "malformed"}
        code = codes.get(error.status_code, "invalid")
        sentences = {
            400: "The body cannot be read: send JSON in UTF-8.",
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.url.path} does not take {request.method}.",
        }
        detail = sentences.get(error.status_code, str(error.detail))
        return problem(request, error.status_code, code, detail, headers=dict(error.headers or {}))

    async def on_gone(request: Request, error: Exception) -> Response:
        return problem(request, 400, "malformed", "The connection broke off before the whole request had come.")

    async def on_anything(request: Request, error: Exception) -> Response:
        log.error("a request failed", path=request.url.path, exc_info=error)
        said = "The server made a mistake; its log says more. Nothing was half done: you may try again."
        return problem(request, 500, "internal", said)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(LogGap, on_gap)
    app.add_exception_handler(TooLarge, on_large)
    app.add_exception_handler(StoreUnavailable, on_unavailable)
    app.add_exception_handler(StoreBroken, on_broken)
    app.add_exception_handler(OSError, on_disk)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_anything)
