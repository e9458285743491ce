"""What a run's record says: its events, its states replayed, and whether the record is true."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import routed, run_shapes, streams
from api.addresses import RunId
from api.asking import WAIT_FOR_PROJECTION, Wired
from api.bodies import Nothing
from api.documented import problems
from api.paging import Limit, Page, page
from api.replay import replayed
from api.routes.events import EVENT, Event
from api.services import Services
from api.streams import streamed
from api.views import event_view
from api.wire import JsonResponse
from controller import verify
from domain.refused import Invalid, Unknown
from eventstore.store import StoreBroken
from projections.differences import Difference, differences

router = routed.router("runs")

LAST = 2**31 - 1
CHECKED = ["events", "decisions", "work", "snapshots", "projections"]

Version = Annotated[int, Query(ge=0, le=LAST)]
MOMENT: dict[str, Any] = {
    "version": EVENT["run_version"],
    "at": EVENT["recorded_at"],
    "type": EVENT["type"],
    "step": EVENT["subject"],
    "event": EVENT,
    "run": {"id": EVENT["run_id"], "version": EVENT["run_version"], "status": "running"},
    "changed": [{"name": "train", "status": "running"}],
}


@router.get(
    "/runs/{run_id}/history",
    response_model=Page[Event],
    summary="List the events of a run and its tasks, oldest first",
    responses=problems(404, 422),
)
def list_run_history(
    run_id: RunId,
    services: Wired,
    after: Annotated[Version, Query(description="A run version: events behind it.")] = 0,
    cursor: Annotated[Version | None, Query(description="The `next_cursor` of the list so far.")] = None,
    limit: Limit = 50,
) -> Response:
    start = after if cursor is None else cursor
    found = list(services.store.run(run_id, after=start, upto=min(start + limit + 1, LAST)))
    if not found and not services.reader.is_run(run_id):
        raise Unknown(f"There is no run {run_id}.")
    shown = found[:limit]
    return JsonResponse(page([event_view(row) for row in shown], str(start + limit) if len(found) > limit else None))


@router.get(
    "/runs/{run_id}/replay",
    response_class=Response,
    summary="Replay a run",
    responses={
        200: {"description": "One piece for each event.", "content": streams.documented(MOMENT)},
        **problems(404, 422),
    },
)
async def replay_run(
    request: Request,
    run_id: RunId,
    services: Wired,
    first: Annotated[Version, Query(alias="from", description="The run version to begin at.")] = 1,
    last: Annotated[Version | None, Query(alias="to", description="The run version to end at.")] = None,
    speed: Annotated[
        float, Query(ge=0, le=1e9, allow_inf_nan=False, description="1 is as it was, 10 ten times faster, 0 at once.")
    ] = 0.0,
    last_event_id: Annotated[str | None, Header(description="Goes on behind that version.")] = None,
) -> Response:
    """The states of the run one after another, made from the log each time. Nothing happens to anything.

    Lines of JSON (`application/x-ndjson`), or with `Accept: text/event-stream` events, the last of which is `end`.
    """
    version = (await run_in_threadpool(services.reader.run, run_id)).version
    last = version if last is None else min(last, version)
    form = streams.wanted(request.headers.get("accept")) or streams.LINES
    if form.end and last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        first = min(int(last_event_id), version) + 1
    elif first > last:
        raise Invalid(f"Nothing lies from {first} to {last}: the run has the versions 1 to {version}.", "from")
    return streamed(form, replayed(services, request.app.state.waiting, run_id, first, last, speed, form))


@router.post(
    "/runs/{run_id}/verify",
    response_model=run_shapes.Verified,
    summary="Verify a run's record",
    responses=problems(400, 404, 413, 422),
)
def verify_run(run_id: RunId, services: Wired, body: Nothing | None = None) -> Response:
    """Folds the events again, decides again, and compares: events, decisions, work, snapshot, and rows of the lists."""
    found = _verified(services, run_id)
    return JsonResponse({"ok": not found["differences"], **found, "checked": CHECKED})


def _verified(services: Services, run_id: str) -> dict[str, Any]:
    try:
        verified = verify.verify_run(services.store, run_id, keeper=services.keeper)
        services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION)
        rows = differences(services.store, run_id)
    except StoreBroken as broken:
        where = f"run {run_id}"
        unreadable = verify.Difference("events", where, "an event that can be read", None, f"{broken}.")
        return {"events": 0, "decisions": 0, "differences": [asdict(unreadable)]}
    found = [*verified.differences, *map(_of_projections, rows)][: verify.MOST_DIFFERENCES]
    return {"events": verified.events, "decisions": verified.decisions, "differences": [asdict(one) for one in found]}


def _of_projections(found: Difference) -> verify.Difference:
    if found.column:
        said = "the value in the list is not what the events say"
    else:
        said = "the row is missing from the list" if found.found is None else "the list has a row that no event made"
    where = f"{found.table} {found.key}{f', {found.column}' if found.column else ''}"
    return verify.Difference("projections", where, found.expected, found.found, f"{said}: rebuild the projection")
