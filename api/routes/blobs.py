"""Bytes under their own SHA-256: streamed in, streamed out, never opened."""

import re
from collections.abc import Generator, Mapping
from typing import IO, Annotated, Any

from fastapi import Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import routed
from api.addresses import Sha256
from api.asking import Wired
from api.documented import problems
from api.errors import Problem
from api.routes.logs import RAW
from api.services import Services
from domain.refused import Invalid, Unknown
from eventstore.blobs import WrongDigest

router = routed.router("blobs")

PIECE = 1_048_576  # bytes read or written at once
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_BYTES: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_LENGTH: dict[str, Any] = {
    "Content-Length": {"description": "In bytes.", "schema": {"type": "integer"}},
    "ETag": {"description": "The SHA-256 in quotes.", "schema": {"type": "string"}},
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", "headers": _LENGTH, "content": _BYTES},
    206: {"description": "The bytes that Range asks for.", "headers": _LENGTH, "content": _BYTES},
    **problems(404, 416),
}
Range = Annotated[str | None, Header(description="One range of bytes; several, or what is no range, is all.")]


@router.put(
    "/blobs/{sha256}",
    status_code=201,
    response_class=Response,
    summary="Store bytes under their SHA-256",
    openapi_extra=RAW,
    responses={200: {"description": "They are there already."}, **problems(404, 413, 422)},
)
async def put_blob(request: Request, sha256: Sha256, services: Wired) -> Response:
    """Durable when it is answered. 422 when the bytes have another hash."""
    there = await run_in_threadpool(services.blobs.exists, sha256)
    try:
        with services.blobs.writer() as writer:
            pending = bytearray()
            async for chunk in request.stream():
                pending += chunk
                if len(pending) >= PIECE:
                    await run_in_threadpool(writer.write, bytes(pending))
                    pending.clear()
            await run_in_threadpool(writer.write, bytes(pending))
            await run_in_threadpool(writer.keep, sha256)
    except WrongDigest as wrong:
        raise Invalid(str(wrong), "sha256") from None
    return Response(status_code=200 if there else 201, headers={"ETag": f'"{sha256}"'})


@router.head(
    "/blobs/{sha256}",
    response_class=Response,
    summary="Ask whether a blob is stored",
    responses={200: {"description": "It is stored.", "headers": _LENGTH}, **problems(404)},
)
def head_blob(sha256: Sha256, services: Wired) -> Response:
    return Response(headers={**_headers(sha256), "Content-Length": str(_size(services, sha256))})


@router.get("/blobs/{sha256}", response_class=Response, summary="Read a blob", responses=STREAMED)
def get_blob(sha256: Sha256, services: Wired, range: Range = None) -> Response:
    return streamed(services, sha256, range, _headers(sha256))


def streamed(services: Services, sha256: str, range: str | None, headers: Mapping[str, str]) -> Response:
    """The blob, or the part of it that the Range header asks for. Raises Unknown, and Problem for no such range."""
    size = _size(services, sha256)
    wanted = _wanted(range, size)
    start, stop = wanted or (0, size)
    told = {"Content-Type": "application/octet-stream", **headers, "Content-Length": str(stop - start)}
    if wanted:
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    file = services.blobs.path(sha256).open("rb")
    return StreamingResponse(_pieces(file, start, stop), 206 if wanted else 200, headers=told)


def _size(services: Services, sha256: str) -> int:
    try:
        return services.blobs.size(sha256)
    except FileNotFoundError:
        raise Unknown(f"There is no blob {sha256}.") from None


def _headers(sha256: str) -> dict[str, str]:
    return {
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        # Somebody's bytes: a browser shall save them, and not take them for a page of ours.
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
    }


def _wanted(range: str | None, size: int) -> tuple[int, int] | None:
    """Where the range begins and ends; None for all. Raises Problem when it lies outside."""
    found = _RANGE.fullmatch((range or "").replace(" ", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, stop = max(size - int(found[2]), 0), size
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        said = f"The blob has {size} bytes: ask for some of them."
        raise Problem(416, "no-such-range", said, {"Content-Range": f"bytes */{size}"})
    return start, stop


def _pieces(file: IO[bytes], start: int, stop: int) -> Generator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (piece := file.read(min(PIECE, stop - start))):
            start += len(piece)
            yield piece
