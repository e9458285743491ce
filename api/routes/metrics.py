"""What the server counts, in the text format of Prometheus."""

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from api.asking import Wired, actor_of, check_that_no_page_asks
from api.documented import problems
from api.requests import Requests
from api.routed import open_router
from api.services import Services
from eventstore.store import StoreUnavailable

router = open_router("service")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def may_look(request: Request, services: Wired) -> None:
    """As everywhere, but with the database away by what was known last: that is when one looks. Raises Problem."""
    try:
        await actor_of(request, services)
    except StoreUnavailable:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if not services.tokens.was_enough(secret.strip() if scheme.lower() == "bearer" else ""):
            raise
        if not secret:
            check_that_no_page_asks(request)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="Read what the server counts",
    responses={200: {"description": "Metrics in the text format of Prometheus."}, **problems(401, 503)},
)
async def metrics(request: Request, services: Wired, _: Annotated[None, Depends(may_look)]) -> Response:
    return Response(await run_in_threadpool(_text, services, request.app.state.requests), media_type=CONTENT_TYPE)


def _text(services: Services, requests: Requests) -> bytes:
    # Imported by the first who asks: a server whose metrics nobody reads shall not pay for them at its start.
    from api.metrics import exposition

    return exposition(services, requests)
