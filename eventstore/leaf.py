"""The hash of one event: a leaf of the shard's RFC 6962 tree. A file format: never change it, add another beside it."""

from hashlib import sha256

import msgspec

_encode = msgspec.json.Encoder().encode


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
    return sha256(b"\x00" + _encode(columns)).digest()
