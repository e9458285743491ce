"""Whether the server lives and can work, and which one it is. Open to all: nothing here is anybody's."""

import structlog
from fastapi import Response

from api import shapes
from api.asking import Wired
from api.documented import problems
from api.errors import Problem
from api.routed import open_router
from api.version import VERSION
from api.wire import JsonResponse
from eventstore.versions import REVISIONS

log = structlog.get_logger()
router = open_router("service")


@router.get("/livez", response_model=shapes.Alive, summary="Ask whether the process answers")
async def livez() -> Response:
    return JsonResponse({"alive": True})


@router.get(
    "/readyz", response_model=shapes.Ready, summary="Ask whether the server can take work", responses=problems(503)
)
def readyz(services: Wired) -> Response:
    """No work can be taken while the database is away, its disk is full or it may only be read: the detail says why."""
    if (trouble := services.health.trouble()) is not None:
        log.warning("not ready", reason=trouble)
        raise Problem(503, "not-ready", trouble, {"Retry-After": "1"})
    return JsonResponse({"ready": True})


@router.get("/version", response_model=shapes.Version, summary="Ask for the versions")
def version(services: Wired) -> Response:
    database = services.store.database.name
    return JsonResponse({"version": VERSION, "api": "v1", "database": database, "schema_version": REVISIONS[-1]})
