"""The promise kept in dicts: for tests, and as the plainest reading of what the SQL store does."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from eventstore.appending import Batch, Heads, Key, Shape, Values, Versions, shape_of, told_of
from eventstore.batches import Batcher, ShardClosed
from eventstore.schema import INSERT_ONLY
from eventstore.signals import Signals
from eventstore.store import Append, Recorded, Row, Scalar, Told, VersionConflict

T = TypeVar("T")


def wall_clock() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class MemoryStore:
    """A store.Store whose log ends with the process. `clock` gives microseconds and may go back: events do not."""

    def __init__(self, shards: int = 1, clock: Callable[[], int] = wall_clock) -> None:
        self._clock = clock
        self._mutex = threading.RLock()
        self._closed = False
        self._logs: list[list[Recorded]] = [[] for _ in range(shards)]
        self._streams: dict[str, list[Recorded]] = {}
        self._runs: dict[str, list[Recorded]] = {}
        self._commands: dict[tuple[int, str], list[Recorded]] = {}
        self._rows: dict[str, dict[Key, Values]] = {}
        self._signals = Signals(shards)
        self._batchers = [Batcher(partial(self._begin, shard), f"memory-{shard}") for shard in range(shards)]

    @property
    def shards(self) -> int:
        return len(self._logs)

    def append(self, job: Callable[[Append], T], *, shard: int = 0) -> "Future[T]":
        return self._batchers[shard].submit(job)

    def head(self, *, shard: int = 0) -> int:
        with self._open():
            return len(self._logs[shard])

    def read(self, *, after: int = 0, limit: int = 1000, shard: int = 0) -> Sequence[Recorded]:
        with self._open():
            return self._logs[shard][after : after + limit]

    def stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        with self._open():
            return self._streams.get(stream, [])[after : None if limit is None else after + limit]

    def streams(self, prefix: str) -> Iterator[Recorded]:
        with self._open():
            events = [self._streams[stream][:] for stream in sorted(self._streams) if stream.startswith(prefix)]
        for stream in events:
            yield from stream

    def run(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        with self._open():
            events = self._runs.get(run_id, [])[after:upto]
        yield from events

    def told(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Told]:
        return map(told_of, self.run(run_id, after=after, upto=upto))

    def command(self, command_id: str, *, shard: int = 0) -> Sequence[Recorded]:
        with self._open():
            return list(self._commands.get((shard, command_id), ()))

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        shape = shape_of(table)
        wanted = _wanted(shape, equals)
        with self._open():
            rows: dict[Any, Values] = dict(self._rows.get(table, {}))
        return [
            dict(zip(shape.columns, rows[key], strict=True))
            for key in sorted(rows)  # by code point, which is the order of the bytes of UTF-8
            if all(rows[key][index] == value for index, value in wanted)
        ]

    def content(self, digest: str) -> str | None:
        with self._open():
            values = self._rows.get("content", {}).get((digest,))
        return None if values is None else str(values[1])

    def versions(self, streams: Sequence[str], runs: Sequence[str]) -> tuple[Versions, Versions]:
        with self._mutex:
            return (
                {stream: len(self._streams.get(stream, ())) for stream in streams},
                {run_id: len(self._runs.get(run_id, ())) for run_id in runs},
            )

    def subscribe(self, call: Callable[[int, int], None]) -> Callable[[], None]:
        return self._signals.subscribe(call)

    def close(self) -> None:
        for batcher in self._batchers:
            batcher.close()
        with self._mutex:
            self._closed = True

    @contextmanager
    def _open(self) -> Generator[None]:
        with self._mutex:
            if self._closed:
                raise ShardClosed("the store is closed")
            yield

    @contextmanager
    def _begin(self, shard: int) -> Generator["MemoryAppend"]:
        with self._mutex:
            events = self._logs[shard]
            last = events[-1].recorded_at if events else 0
            batch = MemoryAppend(self, Heads(), shard=shard, clock=self._clock(), last=last, head=len(events))
        yield batch  # nothing of it shows before `take`

    def take(self, batch: "MemoryAppend") -> None:
        """Make all that the batch holds visible at once. Raises VersionConflict, having changed nothing."""
        with self._mutex:
            self._refuse_duplicates(batch)
            for event in batch.recorded:
                self._logs[batch.shard].append(event)
                self._streams.setdefault(event.stream, []).append(event)
                if event.run_id is not None:
                    self._runs.setdefault(event.run_id, []).append(event)
            for command_id, events in batch.commands.items():
                self._commands[batch.shard, command_id] = list(events)
            for table, changes in batch.changes.items():
                self._change(self._rows.setdefault(table, {}), table, changes)

    def _change(self, kept: dict[Key, Values], table: str, changes: Mapping[Key, Values | None]) -> None:
        for key, values in changes.items():
            if values is None:
                kept.pop(key, None)
            elif table != "content" or key not in kept:
                kept[key] = values

    def _refuse_duplicates(self, batch: "MemoryAppend") -> None:
        """What unique indexes do in a database."""
        for names in (self._streams, self._runs):
            for name in batch.trusted:
                if name in names:
                    raise VersionConflict(name, 0, len(names[name]))
        for command_id in batch.commands:
            if (batch.shard, command_id) in self._commands:
                raise VersionConflict(f"command {command_id}", None, None)
        for table in INSERT_ONLY - {"content"}:
            for key in batch.changes.get(table, {}):
                if key in self._rows.get(table, {}):
                    raise VersionConflict(f"{table} {key}", None, None)

    def announce(self, shard: int, head: int) -> None:
        self._signals.announce(shard, head)


class MemoryAppend(Batch):
    def __init__(self, store: MemoryStore, heads: Heads, *, shard: int, clock: int, last: int, head: int) -> None:
        super().__init__(store, heads, shard=shard, clock=clock, last=last, head=head)
        self._store = store

    def commit(self) -> None:
        self._store.take(self)
        self.confirm()
        self._store.announce(self.shard, self.head)


def _wanted(shape: Shape, equals: Row) -> list[tuple[int, Scalar]]:
    for name in equals:
        if name not in shape.known:
            raise ValueError(f"{shape.name} has no column {name}")
    return [(shape.columns.index(name), value) for name, value in equals.items()]
