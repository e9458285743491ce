"""The hash of one event: a leaf of the shard's RFC 6962 tree. A file format: never change it, add another beside it."""

from hashlib import sha256
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_BEGUN = sha256(b"\x00")  # a leaf, not a node; beginning a hash costs more than going on with a copy of it


def leaf_hash(
    shard: int,
    position: int,
    stream: str,
    version: int,
    run_id: str | None,
    run_version: int | None,
    type: str,
    schema: int,
    subject: str | None,
    from_state: str | None,
    to_state: str | None,
    data: str,
    meta: str,
    recorded_at: int,
) -> bytes:
    """SHA-256 over 0x00 (RFC 6962: a leaf, not a node) and the JSON array of all columns in this order."""
    columns = (
        shard, position, stream, version, run_id, run_version, type, schema,
        subject, from_state, to_state, data, meta, recorded_at,
    )  # fmt: skip
    return leaf_of(columns)


def leaf_of(columns: tuple[Any, ...]) -> bytes:
    """The same of the columns as one tuple."""
    leaf = _BEGUN.copy()
    leaf.update(_encode(columns))
    return leaf.digest()


def leaf_data(columns: tuple[Any, ...]) -> bytes:
    """What of the columns is hashed, behind the 0x00: the `data` of RFC 6962."""
    return _encode(columns)
