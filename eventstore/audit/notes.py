"""A checkpoint as text: what the tree of one shard is at one moment, and the signatures under it. A file format.

The first three lines and the form of the signatures are those of Certificate Transparency's newer logs (C2SP's
tlog-checkpoint and signed-note), so that their tools read our checkpoints; the fourth line is ours.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from eventstore.audit.errors import Malformed
from eventstore.merkle import WIDTH

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = re.compile(
    r"(foldline/[0-9a-f]{32}/([0-9]{1,5}))\n([1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\ntime ([0-9T:.-]+Z)\n"
)
SIGNATURE = re.compile(r"— ([^ +]+) ([A-Za-z0-9+/]+=*)")


class Checkpoint(NamedTuple):
    """The tree of a shard: `origin` tells this log from every other, `sealed_at` is in microseconds since 1970, UTC."""

    origin: str
    shard: int
    size: int
    root: bytes
    sealed_at: int

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\ntime {_rfc3339(self.sealed_at)}\n"


class Signature(NamedTuple):
    name: str
    key_id: bytes
    value: bytes


class Note(NamedTuple):
    checkpoint: Checkpoint
    signatures: Sequence[Signature]


def origin_of(first_leaf: bytes, shard: int) -> str:
    """The name of the log whose first event has this hash: it holds random ids and a time, no other log has it."""
    return f"foldline/{first_leaf[:16].hex()}/{shard}"


def written(checkpoint: Checkpoint, signatures: Sequence[Signature]) -> str:
    lines = [f"— {one.name} {b64encode(one.key_id + one.value).decode()}\n" for one in signatures]
    return f"{checkpoint.text}\n{''.join(lines)}"


def read(note: str) -> Note:
    """Raises Malformed."""
    text, _, signatures = note.replace("\r\n", "\n").partition("\n\n")
    if not (found := TEXT.fullmatch(f"{text}\n")):
        raise Malformed("this is no checkpoint of an event log")
    origin, shard, size, root, sealed_at = found.groups()
    try:
        at = (datetime.fromisoformat(sealed_at) - EPOCH) // timedelta(microseconds=1)
    except ValueError:
        raise Malformed(f"{sealed_at} is no time of a checkpoint") from None
    checkpoint = Checkpoint(origin, int(shard), int(size), b64decode(root), at)
    if checkpoint.text != f"{text}\n" or len(checkpoint.root) != WIDTH:
        raise Malformed("this checkpoint is not written as a checkpoint is")
    return Note(checkpoint, [_signature(line) for line in signatures.splitlines() if line])


def _signature(line: str) -> Signature:
    if not (found := SIGNATURE.fullmatch(line)):
        raise Malformed("a line under the checkpoint is no signature")
    try:
        data = b64decode(found[2], validate=True)
    except ValueError:
        raise Malformed("a signature under the checkpoint is no base64") from None
    return Signature(found[1], data[:4], data[4:])


def _rfc3339(at: int) -> str:
    return (EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")
