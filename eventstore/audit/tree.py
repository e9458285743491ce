"""What is stored of the tree of each shard: checkpoints with the hashes they cover, and the roots of full subtrees."""

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from eventstore.audit.errors import Altered, NotSigned
from eventstore.audit.notes import Checkpoint, read
from eventstore.dialects import Dialect
from eventstore.merkle import WIDTH, Frontier

LEVEL = 10  # of the subtrees whose roots are stored: 1,024 leaves each
PER_NODE = 1 << LEVEL
PAGE = 16  # checkpoints that are read at once: the largest are 300 KB
COLUMNS = "shard, start, size, note, leaves, streams"
CURE = "run `foldline-server audit verify`, which says what it finds"

# All in one row: reading a thousand rows would take ten times as long, and the turns of whoever appends meanwhile.
NEWS = {
    "sqlite": (
        "SELECT count(*), group_concat(hex(leaf), ''), json_group_array(stream) FROM (SELECT leaf, stream FROM event"
        " WHERE shard = ? AND position > ? AND position <= ? ORDER BY position)"
    ),
    "postgresql": (
        "SELECT count(*), string_agg(leaf, ''::bytea ORDER BY position), json_agg(stream ORDER BY position)::text"
        " FROM event WHERE shard = ? AND position > ? AND position <= ?"
    ),
}


class Stored(NamedTuple):
    """A row of `checkpoint`: the signed note, and `leaves` and `streams` of the events from `start` + 1 to `size`."""

    shard: int
    start: int
    size: int
    note: str
    leaves: bytes
    streams: bytes


class News(NamedTuple):
    leaves: bytes
    streams: str


class StoredTree:
    def __init__(self, database: Dialect) -> None:
        sql = database.sql
        self._fetch = database.fetch
        self._news = sql(NEWS[database.name])
        self._shards = sql("SELECT shard FROM checkpoint UNION SELECT shard FROM event ORDER BY shard")
        self._last = sql("SELECT note, size FROM checkpoint WHERE shard = ? ORDER BY start DESC LIMIT 1")
        self._upto = sql("SELECT note, size FROM checkpoint WHERE shard = ? AND start < ? ORDER BY start DESC LIMIT 1")
        self._from = sql(f"SELECT {COLUMNS} FROM checkpoint WHERE shard = ? AND start >= ? ORDER BY start LIMIT ?")
        self._starts = sql("SELECT max(start) FROM checkpoint WHERE shard = ? AND start <= ?")
        self._nodes = sql("SELECT root FROM tree_node WHERE shard = ? AND number >= ? AND number < ? ORDER BY number")
        self._signers = sql("SELECT key, since FROM signer ORDER BY since, key")

    def shards(self) -> list[int]:
        """Those that hold an event or a checkpoint."""
        return [row[0] for row in self._fetch(self._shards, ())]

    def signers(self) -> list[tuple[str, int]]:
        """The public keys on record, oldest first, and since when."""
        return [(key, since) for key, since in self._fetch(self._signers, ())]

    def last(self, shard: int) -> str | None:
        """The newest note; None before the first."""
        rows = self._fetch(self._last, (shard,))
        return rows[0][0] if rows else None

    def signed(self, shard: int) -> int:
        """How many events the checkpoints cover."""
        rows = self._fetch(self._last, (shard,))
        return rows[0][1] if rows else 0

    def at(self, shard: int, size: int) -> str:
        """The note of exactly this size. Raises NotSigned."""
        for note, found in self._fetch(self._upto, (shard, size)):
            if found == size:
                return note
        raise NotSigned(f"there is no checkpoint of size {size} in shard {shard}: name one that was given out")

    def checkpoints(self, shard: int, start: int = 0) -> Iterator[Stored]:
        """From the one that covers `start` + 1, or the next, in order; in bounded memory."""
        first: int | None = self._fetch(self._starts, (shard, start))[0][0]
        after = start if first is None else first
        while True:
            rows = [Stored._make(row) for row in self._fetch(self._from, (shard, after, PAGE))]
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].start + 1

    def leaves(self, shard: int, begin: int, end: int) -> bytes:
        """The hashes from index `begin` up to, not including, `end`, as the checkpoints keep them. Raises Altered."""
        found: list[bytes] = []
        at = begin
        if begin < end:
            for one in self.checkpoints(shard, begin):
                if not one.start <= at < one.size or len(one.leaves) != (one.size - one.start) * WIDTH:
                    break
                found.append(one.leaves[(at - one.start) * WIDTH : (end - one.start) * WIDTH])
                at = min(one.size, end)
                if at == end:
                    break
        if at < end:
            raise Altered(f"the checkpoint of shard {shard} that covers event {at + 1} is missing or changed: {CURE}")
        return b"".join(found)

    def frontier(self, shard: int, begin: int, end: int) -> Frontier:
        """Over the leaves from index `begin` up to `end`; `begin` is the left border of a subtree. Raises Altered."""
        frontier = Frontier(keep=LEVEL)
        if begin % PER_NODE == 0 and end - begin >= PER_NODE:
            first, last = begin // PER_NODE, end // PER_NODE
            rows = self._fetch(self._nodes, (shard, first, last))
            if len(rows) != last - first:
                raise Altered(f"a node of the tree of shard {shard} is missing: {CURE}")
            frontier.extend(b"".join(row[0] for row in rows), level=LEVEL)
            begin = last * PER_NODE
        frontier.extend(self.leaves(shard, begin, end))
        return frontier

    def root(self, shard: int, begin: int, end: int) -> bytes:
        return self.frontier(shard, begin, end).root()

    def news(self, shard: int, after: int, upto: int) -> News:
        """The hashes and streams, as a JSON list, of the events from `after` + 1 to `upto`. Raises Altered."""
        count, leaves, streams = self._fetch(self._news, (shard, after, upto))[0]
        if isinstance(leaves, str):
            leaves = bytes.fromhex(leaves)
        if count != upto - after or len(leaves) != count * WIDTH:
            raise Altered(f"events of shard {shard} between {after + 1} and {upto} are missing or changed: {CURE}")
        return News(leaves, streams)


def packed(streams: str) -> bytes:
    return zlib.compress(streams.encode(), 1)


def unpacked(streams: bytes) -> Sequence[str]:
    """Raises Altered."""
    try:
        return cast(Sequence[str], json.loads(zlib.decompress(streams)))
    except (zlib.error, ValueError) as error:
        raise Altered(f"the streams of a checkpoint cannot be read ({error})") from error


def checkpoint_of(note: str) -> Checkpoint:
    return read(note).checkpoint
