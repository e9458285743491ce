"""Whose token it is."""

from fastapi import Response

from api import routed, shapes
from api.asking import Actor, Wired
from api.wire import JsonResponse

router = routed.router("service")


@router.get("/whoami", response_model=shapes.WhoAmI, summary="Ask whose token this is")
def whoami(actor: Actor, services: Wired) -> Response:
    return JsonResponse({"name": actor, "token": services.tokens.needed()})
