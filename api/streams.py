"""Answers in pieces, as server-sent events or as lines of JSON: the same pieces in either form."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi.responses import StreamingResponse

from api.live import EVENT_STREAM, HEADERS, PING, sse, wants_events

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Form:
    """`ping` is what keeps a silent connection open; `end` says that nothing follows."""

    media_type: str
    ping: bytes
    end: bytes

    def piece(self, id: int | str, data: Any) -> bytes:
        text = msgspec.json.encode(data)
        return sse(text.decode(), id=str(id)) if self is EVENTS else text + b"\n"


EVENTS = Form(EVENT_STREAM, PING, sse("{}", event="end"))
LINES = Form(NDJSON, b"", b"")


def wanted(accept: str | None) -> Form | None:
    """The form that an Accept header asks for; None when it asks for neither."""
    if wants_events(accept):
        return EVENTS
    return LINES if NDJSON in (accept or "").lower() else None


def streamed(form: Form, pieces: AsyncGenerator[bytes]) -> StreamingResponse:
    return StreamingResponse(pieces, media_type=form.media_type, headers=HEADERS)


def documented(example: Any) -> dict[str, Any]:
    """The `content` of an answer that comes in either form, piece by piece."""
    return {
        form.media_type: {"schema": {"type": "string"}, "example": form.piece(7, example).decode()}
        for form in (LINES, EVENTS)
    }
