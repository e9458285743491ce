"""How values look on the wire: JSON, times, positions, ETags."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fastapi import Response

from domain.refused import Invalid
from domain.times import EPOCH, rfc3339

MOST_DIGITS = 18  # of a count that fits into a database's column


class JsonResponse(Response):
    """Plain data as JSON. The response model of a route that answers this describes, and a test holds it to that."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def time_text(at: int | None) -> str | None:
    """Microseconds since 1970 as RFC 3339 in UTC with six decimals; None stays None."""
    return None if at is None else rfc3339(at)


def time_from(text: str) -> int:
    """Microseconds since 1970. Raises Invalid."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time: write it like 2026-01-31T12:00:00Z.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def position_text(position: int, shard: int = 0) -> str:
    """A position of the log, opaque to clients."""
    return f"{shard}-{position}"


def position_from(text: str) -> int:
    """Raises Invalid."""
    shard, dash, position = text.partition("-")
    if not (dash and shard == "0" and position.isascii() and position.isdigit() and len(position) <= MOST_DIGITS):
        raise Invalid(f"{text!r} is no position of this log: use one that it gave out.")
    return int(position)


def etag(version: int) -> str:
    return f'"{version}"'


def version_from_etag(text: str) -> int:
    """Raises Invalid."""
    bare = text.strip().removeprefix("W/").strip('"')
    if not (bare.isascii() and bare.isdigit() and len(bare) <= MOST_DIGITS):
        raise Invalid(f'If-Match takes an ETag that this server gave out, such as "12", not {text!r}.', "If-Match")
    return int(bare)
