"""From what the domain says to what the log holds, and back."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from domain.content import Content
from domain.events import TYPES, UPCASTS, Event
from domain.pipeline import Definition
from domain.run import Fact
from eventstore.codec import Codec, digest, encode
from eventstore.store import Put, Recorded, StoreBroken

CODEC = Codec(TYPES, UPCASTS)

_content = msgspec.json.Decoder(Content)
_definition = msgspec.json.Decoder(Definition)


def event_of(row: Recorded) -> Event:
    """The domain's event in a row of the log. Raises StoreBroken for a type or schema this program does not know."""
    return CODEC.decode(row.type, row.schema, row.data)


def fact_of(row: Recorded) -> Fact:
    if row.run_version is None:
        raise StoreBroken(f"event {row.shard}-{row.position} belongs to no run")
    event: Any = event_of(row)
    return Fact(row.stream, event, row.recorded_at, row.run_version, row.subject)


def kept(value: Content | Definition) -> tuple[str, Put]:
    """The SHA-256 of `value` as JSON, and the row that keeps it under that name."""
    text = encode(value)
    name = digest(text)
    return name, Put("content", {"digest": name, "data": text})


@lru_cache(maxsize=4096)
def content_from(text: str) -> Content:
    return _content.decode(text)


@lru_cache(maxsize=256)
def definition_from(text: str) -> Definition:
    return _definition.decode(text)


def meta(**said: str | int | None) -> str:
    """The meta of an event as JSON; what is None is left out."""
    return encode({name: value for name, value in said.items() if value is not None})


def meta_of(row: Recorded) -> Mapping[str, Any]:
    return msgspec.json.decode(row.meta)
