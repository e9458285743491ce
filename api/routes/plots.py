"""What tasks draw: named on the task once the bytes are stored, listed, and shown to a browser."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import Path, Query, Response
from pydantic import TypeAdapter

from api import bodies, routed, shapes
from api.addresses import Sha256, TaskId
from api.asking import Wired
from api.documented import problems
from api.paging import Limit, Page, page
from api.plot_bodies import AddPlot, Iteration, PlotKind
from api.reports import OPAQUE, check_reporter, media_type_of, view_address
from api.routes.artifacts import size_of_blob
from api.routes.blobs import STREAMED, Range, streamed
from api.wire import JsonResponse, time_text
from domain.refused import Invalid
from eventstore.plots import Plot, PlotKey

router = routed.router("tasks")

ANYTHING: dict[str, Any] = {"*/*": {}}
# Names may be long, and the address of a page holds those of the last plot before it.
Cursor = Annotated[str | None, Query(max_length=4_000, description="The `next_cursor` of the list so far.")]
VIEWED: dict[int | str, dict[str, Any]] = {
    status: {**told, "content": ANYTHING} if status in (200, 206) else told for status, told in STREAMED.items()
}
_KEY = TypeAdapter(tuple[bodies.PrintableName, bodies.PrintableName, Iteration])


@router.post(
    "/tasks/{task_id}/plots",
    status_code=201,
    response_model=shapes.Plot,
    summary="Report a plot",
    responses=problems(400, 404, 409, 413, 422),
)
def add_plot(task_id: TaskId, body: AddPlot, services: Wired) -> Response:
    """Its bytes are stored already. One of the same title, series and iteration takes the older one's place."""
    check_reporter(services.reader, task_id, body.attempt)
    plot = body.added(size_of_blob(services, body.sha256))
    services.plots.add(task_id, plot, keep=body.keep)
    return JsonResponse(_shown(services.plots.of(task_id, plot.key) or plot), 201)


@router.get(
    "/tasks/{task_id}/plots",
    response_model=Page[shapes.Plot],
    summary="List a task's plots",
    responses=problems(404, 422),
)
def list_plots(
    task_id: TaskId,
    services: Wired,
    title: Annotated[bodies.PrintableName | None, Query()] = None,
    series: Annotated[bodies.PrintableName | None, Query()] = None,
    kind: Annotated[PlotKind | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """By title, series and iteration."""
    check_reporter(services.reader, task_id)
    after = None if cursor is None else _opened(cursor)
    found = services.plots.page(task_id, title=title, series=series, kind=kind, after=after, limit=limit + 1)
    more = _cursor(found[limit - 1].key) if len(found) > limit else None
    return JsonResponse(page([_shown(plot) for plot in found[:limit]], more))


@router.get(
    "/blobs/{sha256}/{filename}", response_class=Response, summary="View a blob", tags=["blobs"], responses=VIEWED
)
def view_blob(
    sha256: Sha256,
    filename: Annotated[str, Path(description="Any; its extension says what the bytes are.", examples=["a.png"])],
    services: Wired,
    range: Range = None,
) -> Response:
    """As what the name's extension says: pictures, sound, films, text and JSON; all else is a file to save."""
    kind = media_type_of(filename)
    headers = {
        "Content-Type": kind,
        "Content-Disposition": f"{'attachment' if kind == OPAQUE else 'inline'}; filename*=UTF-8''{quote(filename)}",
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        # Somebody's bytes under our address: whatever a browser takes them for, it runs nothing with our rights.
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return streamed(services, sha256, range, headers)


def _shown(plot: Plot) -> dict[str, Any]:
    viewed = None if plot.digest is None else view_address(plot.digest, plot.kind, plot.filename)
    return {
        **plot.key._asdict(),
        "kind": plot.kind,
        "sha256": plot.digest,
        "url": plot.url,
        "filename": plot.filename,
        "size": plot.size,
        "reported_at": time_text(plot.reported_at),
        "content_url": viewed,
    }


def _cursor(key: PlotKey) -> str:
    return urlsafe_b64encode(msgspec.json.encode(tuple(key))).decode()


def _opened(cursor: str) -> PlotKey:
    try:
        return PlotKey(*_KEY.validate_json(urlsafe_b64decode(cursor)))
    except ValueError:
        raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor") from None
