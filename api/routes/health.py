"""Whether the server lives and can work, and which one it is. Open to all: nothing here is anybody's."""

from fastapi import APIRouter, Response

from api import shapes
from api.asking import Wired
from api.documented import problems
from api.errors import Problem
from api.version import VERSION
from api.wire import JsonResponse
from eventstore.versions import REVISIONS

router = APIRouter(tags=["service"])


@router.get("/livez", response_model=shapes.Alive, summary="Ask whether the process answers")
async def livez() -> Response:
    return JsonResponse({"alive": True})


@router.get(
    "/readyz", response_model=shapes.Ready, summary="Ask whether the server can take work", responses=problems(503)
)
def readyz(services: Wired) -> Response:
    if not services.ready:
        said = "The server cannot take work: it ends, or its database does not answer. Try again in a moment."
        raise Problem(503, "not-ready", said, {"Retry-After": "1"})
    return JsonResponse({"ready": True})


@router.get("/version", response_model=shapes.Version, summary="Ask for the versions")
def version(services: Wired) -> Response:
    database = services.store.database.name
    return JsonResponse({"version": VERSION, "api": "v1", "database": database, "schema_version": REVISIONS[-1]})
