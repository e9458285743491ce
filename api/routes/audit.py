"""The signed tree of the log: checkpoints to keep elsewhere, proofs, keys; and the check of it all, for the admin."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel, Field

from api import routed
from api.asking import Wired
from api.bodies import Body, example
from api.documented import problems
from api.errors import Problem
from api.paging import Page, page
from api.routes.admin import AdminOnly
from api.services import Services
from api.wire import JsonResponse, position_from, time_text
from domain.refused import Invalid, Refused
from eventstore.audit import proofs
from eventstore.audit.errors import AuditError, Malformed, Stopped
from eventstore.audit.keys import public_keys_from
from eventstore.audit.tree import StoredTree, checkpoint_of
from eventstore.audit.verification import verify

router = routed.router("audit")

MOST_EVENTS = 10**18 - 1
Size = Annotated[int | None, Query(ge=1, le=MOST_EVENTS, description="How many events the checkpoint covers.")]
Text = Annotated[str, Field(max_length=10_000)]


class Checkpoint(BaseModel):
    """What the log's tree is at one moment, and who signs it."""

    origin: str = Field(description="The name of this log, and its shard.")
    size: int = Field(description="How many events it covers.")
    root: str = Field(description="The root of the tree over them, 64 hex digits.")
    sealed_at: str
    note: str = Field(description="All of it as the text that is signed, with the signature: this is what to keep.")
    unsigned: int = Field(description="Events that no checkpoint covers yet.")
    error: str | None = Field(description="Why this server does not sign; null while nothing is wrong.")


class Key(BaseModel):
    key: str = Field(description="A public key, as C2SP's signed notes write it.")
    since: str


class Inclusion(BaseModel):
    kind: str
    position: str
    index: int = Field(description="The place of the leaf, from 0.")
    event: str = Field(description="What is hashed, behind a zero byte: all columns of the event as a JSON array.")
    path: list[str] = Field(description="Hashes on the way to the root, lowest first, in hex.")
    checkpoint: str = Field(description="The signed note.")


class Consistency(BaseModel):
    kind: str
    first: str = Field(description="The smaller checkpoint's signed note.")
    second: str
    path: list[str]


class Finding(BaseModel):
    kind: str = Field(description="changed, swapped, missing, added, checkpoint, tree, key, content or kept.")
    shard: int
    position: int | None
    stream: str | None
    said: str


class Verified(BaseModel):
    events: int = Field(description="Events that were hashed again.")
    signed: int = Field(description="Events that checkpoints cover.")
    unsigned: int
    archived: int
    checkpoints: int
    contents: int
    kept: int
    keys: list[str] = Field(description="Those that have signed.")
    findings: list[Finding] = Field(description="What is not as it was signed; empty when all is well.")
    untold: int = Field(description="Findings beyond the first thousand.")


class VerifyLog(Body):
    model_config = example({})

    kept: list[Text] = Field(default=[], max_length=100, description="Checkpoints that were kept elsewhere.")
    keys: list[Text] | None = Field(default=None, max_length=100, description="Only these keys may have signed.")


@contextmanager
def audit_errors() -> Generator[None]:
    try:
        yield
    except Malformed as error:
        raise Invalid(f"{_sentence(error)}.") from error
    except Stopped as error:
        raise Problem(503, "not-ready", f"{_sentence(error)}.", {"Retry-After": "1"}) from error
    except AuditError as error:
        raise Refused(f"{_sentence(error)}.") from error


@router.get(
    "/audit/checkpoint",
    response_model=Checkpoint,
    summary="Read the newest checkpoint, or one of a size",
    responses=problems(409, 422),
)
def get_checkpoint(services: Wired, size: Size = None) -> Response:
    """Keep its `note` where the owner of this machine cannot change it: only that guards against the owner."""
    with audit_errors():
        tree = StoredTree(services.store.database)
        note = proofs.note_of(tree, 0, size)
        # The newest says itself what is signed; asked once more, the tree may have grown meanwhile.
        return JsonResponse(_view(services, note, None if size is None else tree.signed(0)))


@router.get("/audit/keys", response_model=Page[Key], summary="List the keys that have signed checkpoints")
def list_audit_keys(services: Wired) -> Response:
    found = StoredTree(services.store.database).signers()
    return JsonResponse(page([{"key": key, "since": time_text(since)} for key, since in found]))


@router.get(
    "/audit/proof",
    response_model=Inclusion,
    summary="Prove that an event is in a checkpoint",
    responses=problems(409, 422),
)
def get_inclusion_proof(
    services: Wired,
    position: Annotated[str | None, Query(description="The event's position.", examples=["0-318"])] = None,
    run_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="Or its run,")] = None,
    run_version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="and its place there.")] = None,
    size: Size = None,
) -> Response:
    """In the newest checkpoint, or that of `size`. Anybody can check it: examples/audit/check.py shows how."""
    with audit_errors():
        if position is not None and run_id is None and run_version is None:
            at = position_from(position)
        elif position is None and run_id is not None and run_version is not None:
            _, at = proofs.position_of(services.store.database, run_id, run_version)
        else:
            raise Invalid("Say which event: give position, or run_id and run_version.")
        return JsonResponse(proofs.inclusion(services.store.database, at, size=size))


@router.get(
    "/audit/consistency",
    response_model=Consistency,
    summary="Prove that a checkpoint goes on from an earlier one",
    responses=problems(409, 422),
)
def get_consistency_proof(
    services: Wired,
    first: Annotated[int, Query(ge=1, le=MOST_EVENTS, description="The size of the earlier checkpoint.")],
    second: Size = None,
) -> Response:
    """From the checkpoint of size `first` to the newest, or that of size `second`."""
    with audit_errors():
        return JsonResponse(proofs.consistency(services.store.database, first, second=second))


@router.post(
    "/admin/audit/checkpoint",
    response_model=Checkpoint,
    summary="Sign now what is not signed yet",
    responses=problems(403, 409),
)
def make_checkpoint(services: Wired, _: AdminOnly) -> Response:
    """What `foldline-server audit checkpoint` asks of a server that holds the database."""
    with audit_errors():
        services.sealer.seal()
        return JsonResponse(_view(services, proofs.note_of(StoredTree(services.store.database), 0, None), None))


@router.post(
    "/admin/audit/verify",
    response_model=Verified,
    summary="Check the whole log against what was signed",
    responses=problems(400, 403, 409, 413, 422),
)
def verify_log(body: VerifyLog, services: Wired, _: AdminOnly) -> Response:
    """What `foldline-server audit verify` asks of a server that holds the database. It takes a while."""
    with audit_errors(), services.sealer.verifying():
        keys = None if body.keys is None else public_keys_from(body.keys)
        report = verify(services.store, kept=body.kept, keys=keys, stopped=services.closing.is_set)
        return JsonResponse(asdict(report))


def _view(services: Services, note: str, signed: int | None) -> dict[str, Any]:
    """`signed` is how much newer checkpoints cover; None when `note` is the newest."""
    told = checkpoint_of(note)
    return {
        "origin": told.origin,
        "size": told.size,
        "root": told.root.hex(),
        "sealed_at": time_text(told.sealed_at),
        "note": note,
        "unsigned": max(services.store.head() - (told.size if signed is None else signed), 0),
        "error": services.sealer.error,
    }


def _sentence(error: Exception) -> str:
    said = str(error)
    return said[0].upper() + said[1:]
