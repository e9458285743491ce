"""Making checkpoints: what is new in a shard is added to its tree, and the tree is signed."""

import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from eventstore import points
from eventstore.audit.errors import Altered
from eventstore.audit.keys import Signer
from eventstore.audit.notes import Checkpoint, origin_of
from eventstore.audit.tree import CURE, LEVEL, News, StoredTree, checkpoint_of, packed
from eventstore.merkle import WIDTH, Frontier
from eventstore.schema import checkpoint, tree_node
from eventstore.sql import SqlStore

MOST_AT_ONCE = 8_192  # events in one checkpoint, so that a long log is signed in bounded memory
KNOW = text("INSERT INTO signer (key, since) VALUES (:key, :since) ON CONFLICT (key) DO NOTHING")

Row = dict[str, object]


class Tip(NamedTuple):
    """The tree of a shard as of its last checkpoint; `origin` is None before the first."""

    frontier: Frontier
    origin: str | None


class Beaten(Exception):
    """Another server has made the next checkpoint of this shard. No harm: it is a checkpoint of the same events."""


class Seals:
    """Used by one thread at a time. `now` is in microseconds since 1970."""

    def __init__(
        self, store: SqlStore, signer: Callable[[], Signer], *, now: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self.tree = StoredTree(store.database)
        self._store, self._signer, self._now = store, signer, now
        self._tips: dict[int, Tip] = {}
        self._known: set[str] = set()  # keys that are on record

    def seal(self, shard: int = 0) -> bool:
        """Sign what is new, 8,192 events at most. Returns whether there is more.

        Raises Beaten, NoKey, StoreUnavailable, and Altered when what was signed before is not what is there now.
        """
        head = self._store.head(shard=shard)
        tip = self._tips[shard] = self._tips.get(shard) or self._load(shard)
        start, size = tip.frontier.size, min(head, tip.frontier.size + MOST_AT_ONCE)
        if head < start:
            raise Altered(f"shard {shard} ends at event {head}, but {start} were signed: {CURE}")
        if head == start:
            return False
        self._extend(shard, tip, self.tree.news(shard, start, size))
        return size < head

    def size(self, shard: int) -> int:
        """How many events were signed when it last looked."""
        return self._tips[shard].frontier.size if shard in self._tips else 0

    def forget(self, shard: int) -> None:
        """Read the tree again from what is stored before the next checkpoint."""
        self._tips.pop(shard, None)

    def _extend(self, shard: int, tip: Tip, news: News) -> None:
        points.reach("seal.wanted")
        frontier, start = tip.frontier.copy(), tip.frontier.size
        nodes = frontier.extend(news.leaves)
        origin = tip.origin or origin_of(news.leaves, shard)
        by = self._signer()
        note = by.sign(Checkpoint(origin, shard, frontier.size, frontier.root(), self._now()))
        row: Row = {
            "shard": shard,
            "start": start,
            "size": frontier.size,
            "note": note,
            "leaves": news.leaves,
            "streams": packed(news.streams),
        }
        points.reach("seal.signed")
        self._write(shard, start, row, by, _node_rows(shard, start, nodes))
        self._tips[shard] = Tip(frontier, origin)

    def _write(self, shard: int, start: int, row: Row, by: Signer, nodes: list[Row]) -> None:
        """A power cut may take it back: the events were on the disk before, and will be signed again as they are."""
        key = str(by.public)
        try:
            with self._store.database.writing(durable=False) as connection:
                if key not in self._known:
                    connection.execute(KNOW, {"key": key, "since": self._now()})
                connection.execute(insert(checkpoint), row)
                if nodes:
                    connection.execute(insert(tree_node), nodes)
                points.reach("seal.written")
            points.reach("seal.kept")
        except IntegrityError as error:
            # Who continues the same checkpoint as another comes second: there is one chain, whoever writes it.
            if self.tree.signed(shard) > start:
                raise Beaten from error
            raise Altered(f"the tree of shard {shard} cannot be continued behind event {start}: {CURE}") from error
        self._known.add(key)

    def _load(self, shard: int) -> Tip:
        note = self.tree.last(shard)
        if note is None:
            return Tip(Frontier(keep=LEVEL), None)
        last = checkpoint_of(note)
        frontier = self.tree.frontier(shard, 0, last.size)
        if frontier.root() != last.root:
            raise Altered(f"the stored tree of shard {shard} is not the one that was signed: {CURE}")
        return Tip(frontier, last.origin)


def _node_rows(shard: int, start: int, nodes: bytes) -> list[Row]:
    first = start >> LEVEL
    return [
        {"shard": shard, "number": first + at // WIDTH, "root": nodes[at : at + WIDTH]}
        for at in range(0, len(nodes), WIDTH)
    ]
