"""Stores of each kind with any number of shards, and one shard of several with the face of a whole store."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Append, NewEvent, Recorded, Row, Scalar, Store, Told, append

SHARDS, MINE = 4, 2


def store_of(request: pytest.FixtureRequest, kind: str, shards: int) -> Store:
    """An empty store: `kind` is memory, sqlite or postgres."""
    if kind == "memory":
        return MemoryStore(shards)
    name = "sqlite_url" if kind == "sqlite" else "emptied_postgres_url"
    return open_store(request.getfixturevalue(name), shards=shards)


class OnShard:
    """A Store whose shard 0 is another store's shard 2. That one's other shards hold what must not be seen."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.shards = 1
        for shard in (0, SHARDS - 1):
            noise = NewEvent(stream=f"noise-{shard}", type="Happened", data="{}", run_id=f"noise-{shard}")
            append(store, [noise] * 2, command_id="c1", shard=shard).result()

    def append(self, job: Callable[[Append], Any], *, shard: int = 0) -> "Future[Any]":
        return self.inner.append(job, shard=MINE + shard)

    def head(self, *, shard: int = 0) -> int:
        return self.inner.head(shard=MINE + shard)

    def read(self, *, after: int = 0, limit: int = 1000, shard: int = 0) -> Sequence[Recorded]:
        return self.inner.read(after=after, limit=limit, shard=MINE + shard)

    def command(self, command_id: str, *, shard: int = 0) -> Sequence[Recorded]:
        return self.inner.command(command_id, shard=MINE + shard)

    def stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        return self.inner.stream(stream, after=after, limit=limit)

    def streams(self, prefix: str) -> Iterator[Recorded]:
        return self.inner.streams(prefix)

    def run(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        return self.inner.run(run_id, after=after, upto=upto)

    def told(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Told]:
        return self.inner.told(run_id, after=after, upto=upto)

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        return self.inner.select(table, **equals)

    def content(self, digest: str) -> str | None:
        return self.inner.content(digest)

    def subscribe(self, call: Callable[[int, int], None]) -> Callable[[], None]:
        return self.inner.subscribe(lambda shard, head: call(shard - MINE, head))

    def close(self) -> None:
        self.inner.close()
