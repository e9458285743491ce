"""What only commands on the server's own machine may do: they show the key in the data folder."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import Depends, Response

from api import routed, shapes
from api.asking import Actor, Wired
from api.backup import back_up
from api.bodies import CreateToken, MakeBackup
from api.doctor import examine
from api.documented import problems
from api.errors import Problem
from api.wire import JsonResponse


async def only_admin(actor: Actor) -> None:
    if actor != "admin":
        said = "Only commands on the server's own machine may do this: run foldline-server there."
        raise Problem(403, "forbidden", said)


router = routed.router("service", prefix="/admin")
AdminOnly = Annotated[None, Depends(only_admin)]


@router.post(
    "/tokens",
    status_code=201,
    response_model=shapes.NewToken,
    summary="Create a token",
    responses=problems(400, 403, 413, 422),
)
def create_token(body: CreateToken, services: Wired, _: AdminOnly) -> Response:
    """What `foldline-server token create` asks of a server that holds the database. The token is shown this once."""
    secret = services.tokens.create(body.name, time.time_ns() // 1000)
    return JsonResponse({"name": body.name, "token": secret}, 201, headers={"Cache-Control": "no-store"})


@router.get(
    "/doctor",
    response_model=shapes.Examined,
    summary="Have the server look at its database",
    responses=problems(403),
)
def doctor(services: Wired, _: AdminOnly) -> Response:
    """What `foldline-server doctor` asks of a server that holds the database. May take a second or two."""
    findings = examine(services.settings, services.store, followed=True, unsigned=services.sealer.error)
    return JsonResponse({"items": [finding.row() for finding in findings]})


@router.post(
    "/backup",
    status_code=201,
    response_model=shapes.Backup,
    summary="Have the server make a backup",
    responses=problems(400, 403, 409, 413, 422),
)
def backup(body: MakeBackup, services: Wired, _: AdminOnly) -> Response:
    """What `foldline-server backup` asks of a server that holds the database. Answers when the backup is made."""
    made = back_up(services.settings, services.store.database, Path(body.to))
    return JsonResponse(msgspec.to_builtins(made), 201)
