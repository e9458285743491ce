"""From values to the JSON text that is kept, and back. Knows no domain: its types are handed in."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from eventstore.store import StoreBroken

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

# Sorted keys: what is hashed must not depend on the order in which a mapping was filled.
_encoder = msgspec.json.Encoder(order="sorted")


def encode(value: Any) -> str:
    """`value` as JSON text, the same text for equal values."""
    return _encoder.encode(value).decode()


def digest(text: str) -> str:
    """The SHA-256 of `text`, in hex: its name in the content table."""
    return sha256(text.encode()).hexdigest()


class Codec:
    """Events to (type, schema, data) and back.

    `types` are the event classes by the name they are stored under. `upcasts` hold, for (type, schema), the pure
    function that turns data of that schema into data of the next; a type's schema is one more than its upcasts.
    """

    def __init__(self, types: Mapping[str, type], upcasts: Mapping[tuple[str, int], Upcast]) -> None:
        self._names = {kind: name for name, kind in types.items()}
        self._schemas = {name: 1 + sum(1 for kind, _ in upcasts if kind == name) for name in types}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(kind) for name, kind in types.items()
        }
        self._types: Mapping[str, Any] = types
        self._upcasts = upcasts

    def schema(self, name: str) -> int:
        """The schema that events of this type are written in."""
        return self._schemas[name]

    def encode(self, event: Any) -> tuple[str, int, str]:
        name = self._names[type(event)]
        return name, self._schemas[name], _encoder.encode(event).decode()

    def decode(self, name: str, schema: int, data: str) -> Any:
        """Raises StoreBroken for what this program does not know or cannot read; a reader never skips an event."""
        known = self._schemas.get(name)
        if known is None:
            raise StoreBroken(f"event type {name!r} is not known: the log was written by a newer program")
        if schema > known:
            raise StoreBroken(
                f"{name} has schema {schema}, known up to {known}: the log was written by a newer program"
            )
        try:
            if schema == known:
                return self._decoders[name].decode(data)
            value: dict[str, Any] = msgspec.json.decode(data)
            for version in range(schema, known):
                value = self._upcasts[name, version](value)
            return msgspec.convert(value, type=self._types[name])
        except msgspec.MsgspecError as error:
            raise StoreBroken(f"{name} of schema {schema} cannot be read: {error}") from error
