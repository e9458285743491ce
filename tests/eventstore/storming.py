"""Writers and readers of the long storm, as they also run in processes of their own, and what they saw."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
from sqlalchemy import text

from eventstore.leaf import leaf_hash
from eventstore.sql import SqlStore, open_store
from eventstore.store import Append, NewEvent, Recorded, Store
from eventstore.subscription import follow
from tests.eventstore.writing import Abort

ABORTED = 0.2
NAIVE_WRITERS = 4
PAGE = 500
PAUSE = 0.002  # of the naive readers, in seconds


@dataclass
class Written:
    """What writers have been told: how many appends to each of their own streams are durable, how many were not."""

    own: Counter[str] = field(default_factory=Counter[str])
    events: int = 0
    aborted: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(self.own + other.own, self.events + other.events, self.aborted + other.aborted)


def write_until(store: Store, name: str, deadline: float) -> Written:
    """Append to shards by chance, each time to a stream of this writer's own and to a run that all writers share."""
    chance, written = random.Random(name), Written()
    while time.monotonic() < deadline:
        shard = chance.randrange(store.shards)
        own, aborted = f"own-{name}-{shard}", chance.random() < ABORTED
        shared = [
            NewEvent(stream=f"task-{shard}-{chance.randrange(8)}", type="Happened", data="{}", run_id=f"r{shard}")
            for _ in range(chance.randrange(4))
        ]

        def job(batch: Append, own: str = own, shared: Any = shared, aborted: bool = aborted) -> None:
            number = written.own[own]
            batch.add([NewEvent(stream=own, type="Happened", data=str(number + 1)), *shared])
            if aborted:
                raise Abort

        try:
            store.append(job, shard=shard).result(60)
        except Abort:
            written.aborted += 1
        else:
            written.own[own] += 1
            written.events += 1 + len(shared)
    return written


def write_together(store: Store, name: str, writers: int, seconds: float) -> Written:
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(writers) as threads:
        done = threads.map(lambda number: write_until(store, f"{name}-{number}", deadline), range(writers))
        return sum(done, Written())


def write_in_a_process(url: str, shards: int, name: str, writers: int, seconds: float) -> Written:
    with closing(open_store(url, shards=shards)) as store:
        return write_together(store, name, writers, seconds)


class Tail:
    """Follows all shards, with one cursor for each. Raises AssertionError at a gap, an old time, or a wrong hash."""

    def __init__(self, store: Store) -> None:
        self.cursors = [0] * store.shards
        self.digests = [sha256() for _ in range(store.shards)]
        self._times = [0] * store.shards
        self._store, self._stop = store, threading.Event()
        self._threads = ThreadPoolExecutor(store.shards)
        self._following = [self._threads.submit(self._follow, shard) for shard in range(store.shards)]

    def finish(self) -> None:
        """Read on until the heads, then stop. Raises what a reader has met."""
        while any(self.cursors[shard] < self._store.head(shard=shard) for shard in range(self._store.shards)):
            if any(future.done() for future in self._following):
                break
            time.sleep(0.01)
        self._stop.set()
        for future in self._following:
            future.result(60)
        self._threads.shutdown()

    def _follow(self, shard: int) -> None:
        for page in follow(self._store, 0, shard=shard, stop=self._stop, limit=PAGE):
            for event in page:
                self._take(shard, event)

    def _take(self, shard: int, event: Recorded) -> None:
        assert (event.shard, event.position) == (shard, self.cursors[shard] + 1), "a gap, or out of order"
        assert event.recorded_at >= self._times[shard], "time went back"
        assert event.leaf == leaf_hash(*event[:-1])
        self.digests[shard].update(event.leaf)
        self._times[shard], self.cursors[shard] = event.recorded_at, event.position


class BySerial:
    """The naive way on PostgreSQL: ids of a sequence, and a reader that goes on after the last id it saw."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self._seen: set[int] = set()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE naive (id bigserial PRIMARY KEY)")
        self._threads = ThreadPoolExecutor(NAIVE_WRITERS + 1)
        self._writing = [self._threads.submit(self._write, number) for number in range(NAIVE_WRITERS)]
        self._reading = self._threads.submit(self._read)

    def lost(self) -> int:
        """Stop; how many committed events the reader has never seen."""
        self._stop.set()
        for future in (*self._writing, self._reading):
            future.result(60)
        self._threads.shutdown()
        with psycopg.connect(self._url) as connection:
            there = {row[0] for row in connection.execute("SELECT id FROM naive")}
        return len(there - self._seen)

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        with psycopg.connect(self._url) as connection:
            while not self._stop.is_set():
                connection.execute("INSERT INTO naive DEFAULT VALUES")
                self._stop.wait(chance.uniform(0, 0.002))  # a transaction takes as long as it takes
                connection.rollback() if chance.random() < ABORTED else connection.commit()

    def _read(self) -> None:
        last = 0
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stop.wait(PAUSE):
                rows = connection.execute("SELECT id FROM naive WHERE id > %s ORDER BY id", (last,)).fetchall()
                self._seen.update(row[0] for row in rows)
                last = rows[-1][0] if rows else last


class ByTime:
    """The naive way on SQLite, where commits do stand in line: pages of what was recorded after the last time seen."""

    def __init__(self, store: SqlStore) -> None:
        self._store, self._stop = store, threading.Event()
        self._seen = 0
        self._threads = ThreadPoolExecutor(1)
        self._reading = self._threads.submit(self._read)

    def lost(self) -> int:
        """Read to the end and stop; how many events of shard 0 the reader has never seen."""
        self._stop.set()
        self._reading.result(60)
        self._threads.shutdown()
        return self._store.head() - self._seen

    def _read(self) -> None:
        last, stopping = 0, False
        after = text(
            "SELECT recorded_at FROM event WHERE shard = 0 AND recorded_at > :last ORDER BY recorded_at LIMIT 7"
        )
        while not stopping:
            stopping = self._stop.wait(PAUSE)
            with self._store.database.reading() as connection:
                times = list(connection.scalars(after, {"last": last}))
            if times:
                self._seen, last, stopping = self._seen + len(times), times[-1], False


def digest_of(store: Store, shard: int) -> tuple[int, bytes, Counter[str]]:
    """The whole shard read anew: its length, the hash over its leaves, and the events of each writer's own stream."""
    digest, own, position = sha256(), Counter[str](), 0
    while page := store.read(after=position, limit=PAGE, shard=shard):
        position = page[-1].position
        for event in page:
            digest.update(event.leaf)
            if event.stream.startswith("own-"):
                own[event.stream] += 1
                assert event.data == str(own[event.stream]), "what one writer did comes in its order"
    return position, digest.digest(), own
