"""The tables of the read side: how far they are, and making them anew."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field

from api import routed
from api.asking import Wired
from api.documented import problems
from api.paging import Page, page
from api.wire import JsonResponse, position_text
from domain.refused import Refused, Unknown
from projections.runner import Lag, RebuildFailed

router = routed.router("projections")

WAIT_FOR_REBUILD = 25.0  # seconds: many clients give up at 30


class Projection(BaseModel):
    name: str
    position: str = Field(description="Up to where the log is in its rows.")
    head: str = Field(description="The end of the log.")
    lag_events: int
    lag_seconds: float = Field(description="The age of the first event that is not in its rows.")
    error: str | None = Field(description="Why it does not go on.")


class Rebuilt(Projection):
    rebuilt: bool = Field(description="False when the rebuild goes on: until it is done, the old rows answer.")


@router.get("/projections", response_model=Page[Projection], summary="List projections and their lag")
def list_projections(services: Wired) -> Response:
    return JsonResponse(page([_view(lag) for lag in services.projections.lag()]))


@router.post(
    "/projections/{name}/rebuild",
    response_model=Rebuilt,
    summary="Make a projection's rows anew from the log",
    responses=problems(404, 409),
)
def rebuild_projection(name: Annotated[str, Path(examples=["runs"])], services: Wired) -> Response:
    """Lists are answered from the old rows until the new ones are there. Waits for that, 25 seconds at most."""
    lags = {lag.name: lag for lag in services.projections.lag()}
    if name not in lags:
        raise Unknown(f"There is no projection {name!r}: there are {', '.join(lags)}.")
    rebuilt = True
    try:
        services.projections.rebuild(name, WAIT_FOR_REBUILD)
    except TimeoutError:
        rebuilt = False
    except RebuildFailed as failed:
        raise Refused(f"The projection cannot be made anew: {failed}.") from None
    [lag] = [lag for lag in services.projections.lag() if lag.name == name]
    return JsonResponse({**_view(lag), "rebuilt": rebuilt})


def _view(lag: Lag) -> dict[str, Any]:
    shown = asdict(lag)
    shard = shown.pop("shard")
    return {**shown, "position": position_text(lag.position, shard), "head": position_text(lag.head, shard)}
