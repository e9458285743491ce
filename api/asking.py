"""What a route knows of who asks: services, actor, idempotency key, the version that is meant, the position seen."""

import hmac
import uuid
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL

from api.errors import Problem
from api.services import Services
from api.settings import is_loopback
from api.wire import etag, position_from, position_text, version_from_etag
from controller.handle import Answer, By

WAIT_FOR_PROJECTION = 2.0  # seconds
GLANCE = 0.5  # seconds that a list waits for what others have written by now; then it shows what there is


# What waits for nothing is async all the same: the framework hands the rest to a thread, which takes longer than this.
async def services_of(request: Request) -> Services:
    return request.app.state.services


Wired = Annotated[Services, Depends(services_of)]


async def actor_of(request: Request, services: Wired) -> str:
    """Who asks, as the gate has found out, if it had to."""
    return getattr(request.state, "actor", None) or await authenticated(request, services)


async def authenticated(request: Request, services: Services) -> str:
    """Whose token it is. While the server has no tokens it listens on loopback only, and everybody is `local`.

    Raises Problem.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(secret.strip().encode(), services.admin_key.encode()):
        return "admin"
    if not services.tokens.fresh:
        await run_in_threadpool(services.tokens.refresh)
    if not services.tokens.needed():
        check_that_no_page_asks(request)
        return "local"
    name = services.tokens.name_of(secret.strip()) if scheme.lower() == "bearer" else None
    if name is None:
        said = "This server needs a token: send it as 'Authorization: Bearer ...', or set FOLDLINE_TOKEN."
        raise Problem(401, "unauthorized", said, {"WWW-Authenticate": "Bearer"})
    return name


def check_that_no_page_asks(request: Request) -> None:
    """Refuse what a page of another site has a browser on this machine ask: nobody but this machine is trusted."""
    scope, headers = request.scope, request.headers
    server = tuple(scope.get("server") or ()) or None
    if not _is_asked_here(scope["scheme"], headers.get("host"), server, headers.get("origin")):
        said = (
            "Without tokens this server answers only when asked as 127.0.0.1 or localhost, and no other site's page: "
            "make a token with `foldline-server token create NAME`."
        )
        raise Problem(401, "unauthorized", said, {"WWW-Authenticate": "Bearer"})


@lru_cache(maxsize=1_000)  # who asks again and again, says the same of it each time
def _is_asked_here(scheme: str, host: str | None, server: tuple[str, int] | None, origin: str | None) -> bool:
    """Whether this machine is asked under a name of its own, by a page of this server if by one at all."""
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    url = URL(scope={"scheme": scheme, "server": server, "path": "/", "headers": headers})
    return origin in (None, f"{url.scheme}://{url.netloc}") and is_loopback(url.hostname or "")


Actor = Annotated[str, Depends(actor_of)]


async def by(
    request: Request, actor: Actor, idempotency_key: Annotated[str | None, Header(max_length=200)] = None
) -> By:
    if idempotency_key is None:
        return By(actor=actor)
    asked = sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body())
    return By(actor=actor, key=idempotency_key, request=asked.hexdigest())


Asking = Annotated[By, Depends(by)]


async def expected(if_match: Annotated[str | None, Header()] = None) -> int | None:
    return None if if_match is None or if_match.strip() == "*" else version_from_etag(if_match)


Expected = Annotated[int | None, Depends(expected)]


def caught_up(*names: str) -> Any:
    """A dependency of a list that is made from these projections: wait until they have seen `min_position`.

    Without one a list has seen all that was written before it was asked for, unless that would take too long.
    """

    def wait(services: Wired, min_position: str | None = None) -> None:
        if min_position is None:
            services.projections.wait_for(services.store.head(), GLANCE, names=names)
            return
        asked = position_from(min_position)
        if services.projections.wait_for(asked, WAIT_FOR_PROJECTION, names=names):
            return
        # Beyond the end of the log is who remembers a write from before a backup was put back: it never comes again.
        if services.store.head() >= asked or services.projections.stopped(names) is not None:
            raise Problem(503, "projection-behind", _behind(services, names), {"Retry-After": "1"})

    return Depends(wait)


def _behind(services: Services, names: Sequence[str]) -> str:
    why = services.projections.stopped(names)
    if why is None:
        return "The list has not seen your last write yet: try again in a second."
    return (
        f"The list cannot follow the log: projection {why}. "
        f"When that is mended, make it anew: foldline-server rebuild {why.partition(' ')[0]}."
    )


def said(response: Response, answer: Answer) -> None:
    """Put the outcome of a write into the headers."""
    response.headers["ETag"] = etag(answer.version)
    response.headers["Foldline-Position"] = position_text(answer.position)


def new_id() -> str:
    return uuid.uuid4().hex
