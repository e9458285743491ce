"""An open append, whichever store is under it: counts positions and versions on, and keeps all until the commit."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from eventstore.leaf import leaf_hash
from eventstore.schema import INLINE, INSERT_ONLY
from eventstore.store import Delete, NewEvent, Put, Recorded, Row, Scalar, VersionConflict

log = logging.getLogger(__name__)

Versions = Mapping[str, int]
Key = tuple[Scalar, ...]
Values = tuple[Scalar, ...]
NONE: Set[str] = frozenset()


class Shape(NamedTuple):
    """The columns of an inline table and those of its key."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    known: frozenset[str]


SHAPES = {
    name: Shape(
        name,
        tuple(column.name for column in table.columns),
        tuple(column.name for column in table.primary_key.columns),
        frozenset(column.name for column in table.columns),
    )
    for name, table in INLINE.items()
}


def shape_of(table: str) -> Shape:
    """The shape of an inline table. Raises ValueError for any other table."""
    try:
        return SHAPES[table]
    except KeyError:
        raise ValueError(f"{table!r} is no inline table: {', '.join(sorted(SHAPES))} are") from None


class Heads:
    """Versions of the streams and runs of one shard, the latest used, true as of the shard's position `at`."""

    def __init__(self, most: int = 32_768) -> None:
        self.at = 0
        self.streams: OrderedDict[str, int] = OrderedDict()
        self.runs: OrderedDict[str, int] = OrderedDict()
        self._most = most

    def clear(self) -> None:
        self.streams.clear()
        self.runs.clear()

    def learn(self, streams: Versions, runs: Versions) -> None:
        for memo, versions in ((self.streams, streams), (self.runs, runs)):
            for name, version in versions.items():
                memo[name] = version
                memo.move_to_end(name)
            while len(memo) > self._most:
                memo.popitem(last=False)


class Committed(Protocol):
    """What an open append reads of its shard besides what it has added."""

    def read(self, *, after: int, limit: int, shard: int) -> Sequence[Recorded]: ...

    def stream(self, stream: str) -> Sequence[Recorded]: ...

    def streams(self, prefix: str) -> Iterator[Recorded]: ...

    def run(self, run_id: str) -> Iterator[Recorded]: ...

    def command(self, command_id: str, *, shard: int) -> Sequence[Recorded]: ...

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]: ...

    def versions(self, streams: Sequence[str], runs: Sequence[str]) -> tuple[Versions, Versions]:
        """The versions of these streams and runs; those that do not exist may be left out."""
        ...


class Batch:
    """An open append (store.Append), all but the commit. `heads` is believed: whoever opens it has checked them."""

    def __init__(self, committed: Committed, heads: Heads, *, shard: int, now: int, head: int) -> None:
        self.shard, self.now, self.head = shard, now, head
        self.added = 0
        self.recorded: list[Recorded] = []
        self.commands: dict[str, list[Recorded]] = {}
        self.puts: dict[str, dict[Key, Values]] = {}
        self.deletes: dict[str, set[Key]] = {}
        self.trusted: list[str] = []  # streams and runs taken for new without a look
        self._committed, self._heads = committed, heads
        self._streams: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._then: list[Callable[[], None]] = []

    def version(self, stream: str) -> int:
        return self._versions({stream}, set())[0][stream]

    def run_version(self, run_id: str) -> int:
        return self._versions(set(), {run_id})[1][run_id]

    def add(
        self,
        events: Sequence[NewEvent],
        rows: Sequence[Put | Delete] = (),
        *,
        expect: Versions | None = None,
        expect_runs: Versions | None = None,
        command_id: str | None = None,
    ) -> Sequence[Recorded]:
        for event in events:
            _refuse_nul((event.stream, event.run_id, event.type, event.subject, event.data, event.meta))
        streams, runs = self._expected(events, expect or {}, expect_runs or {})
        changes = self._changes(rows)
        recorded = self._record(events, streams, runs)
        # Whatever can be refused has been: all that follows is taken, or the whole batch fails.
        for shape, key, values in changes:
            self._change(shape, key, values)
        self._streams.update(streams)
        self._runs.update(runs)
        self.recorded += recorded
        self.head += len(recorded)
        self.added += 1
        if command_id is not None and recorded:
            self.commands.setdefault(command_id, []).extend(recorded)
        return recorded

    def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        return self._committed.read(after=after, limit=limit, shard=self.shard)

    def stream(self, stream: str) -> Sequence[Recorded]:
        mine = [event for event in self.recorded if event.stream == stream] if stream in self._streams else []
        return [*self._committed.stream(stream), *mine]

    def streams(self, prefix: str) -> Iterator[Recorded]:
        return self._committed.streams(prefix)

    def run(self, run_id: str) -> Iterator[Recorded]:
        yield from self._committed.run(run_id)
        if run_id in self._runs:
            yield from [event for event in self.recorded if event.run_id == run_id]

    def command(self, command_id: str) -> Sequence[Recorded]:
        return self.commands.get(command_id) or self._committed.command(command_id, shard=self.shard)

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        return self._committed.select(table, **equals)

    def on_commit(self, then: Callable[[], None]) -> None:
        self._then.append(then)

    def rows(self) -> list[tuple[Scalar, ...]]:
        """The recorded events as rows of the table: with the command that left them and their place in it."""
        ordinals = {
            event.position: (command_id, ordinal)
            for command_id, events in self.commands.items()
            for ordinal, event in enumerate(events)
        }
        return [event + ordinals.get(event.position, (None, None)) for event in self.recorded]

    def confirm(self) -> None:
        """To be called when the batch has become durable: remember its heads and run what waited for it."""
        self._heads.learn(self._streams, self._runs)
        self._heads.at = self.head
        for then in self._then:
            try:
                then()
            except Exception:
                # What is durable cannot be refused any more, so its caller must not be told that it failed.
                log.exception("a callback failed after the commit of shard %d up to %d", self.shard, self.head)

    def _expected(
        self, events: Sequence[NewEvent], expect: Versions, expect_runs: Versions
    ) -> tuple[dict[str, int], dict[str, int]]:
        """The versions before these events. Raises VersionConflict when they are not those expected."""
        written = {event.stream for event in events}
        runs_written = {event.run_id for event in events if event.run_id is not None}
        streams, runs = self._versions(
            written | expect.keys(),
            runs_written | expect_runs.keys(),
            new={name for name, version in expect.items() if version == 0} & written,
            new_runs={name for name, version in expect_runs.items() if version == 0} & runs_written,
        )
        for versions, expected in ((streams, expect), (runs, expect_runs)):
            for name, version in expected.items():
                if versions[name] != version:
                    raise VersionConflict(name, version, versions[name])
        return streams, runs

    def _versions(
        self, streams: Set[str], runs: Set[str], new: Set[str] = NONE, new_runs: Set[str] = NONE
    ) -> tuple[dict[str, int], dict[str, int]]:
        """The present versions. Those said to be new, and not known, are not looked for: unique indexes guard them."""
        found, missing = self._known(streams, self._streams, self._heads.streams, new)
        found_runs, missing_runs = self._known(runs, self._runs, self._heads.runs, new_runs)
        if missing or missing_runs:
            looked, looked_runs = self._committed.versions(missing, missing_runs)
            learnt = {stream: looked.get(stream, 0) for stream in missing}
            learnt_runs = {run_id: looked_runs.get(run_id, 0) for run_id in missing_runs}
            self._heads.learn(learnt, learnt_runs)
            found.update(learnt)
            found_runs.update(learnt_runs)
        return found, found_runs

    def _known(
        self, names: Set[str], added: Versions, memo: OrderedDict[str, int], new: Set[str]
    ) -> tuple[dict[str, int], list[str]]:
        """The versions that need no look, and the names that do."""
        found: dict[str, int] = {}
        missing: list[str] = []
        for name in names:
            version = added.get(name)
            if version is None and (version := memo.get(name)) is not None:
                memo.move_to_end(name)
            if version is None and name in new:
                version = 0
                self.trusted.append(name)
            if version is None:
                missing.append(name)
            else:
                found[name] = version
        return found, missing

    def _record(self, events: Sequence[NewEvent], streams: dict[str, int], runs: dict[str, int]) -> list[Recorded]:
        """The events as they will stand in the log. Counts `streams` and `runs` on."""
        recorded: list[Recorded] = []
        for position, event in enumerate(events, self.head + 1):
            stream, run_id, run_version = event.stream, event.run_id, None
            version = streams[stream] = streams[stream] + 1
            if run_id is not None:
                run_version = runs[run_id] = runs[run_id] + 1
            columns = (
                self.shard, position, stream, version, run_id, run_version, event.type, event.schema, event.subject,
                event.from_state, event.to_state, event.data, event.meta, self.now,
            )  # fmt: skip
            recorded.append(Recorded(*columns, leaf_hash(*columns)))
        return recorded

    def _changes(self, rows: Sequence[Put | Delete]) -> list[tuple[Shape, Key, Values | None]]:
        changes: list[tuple[Shape, Key, Values | None]] = []
        once: set[tuple[str, Key]] = set()
        for row in rows:
            shape = shape_of(row.table)
            given = row.row if isinstance(row, Put) else row.key
            if not given.keys() <= shape.known:
                raise ValueError(f"{row.table} has no column {', '.join(sorted(given.keys() - shape.known))}")
            key = tuple(given[name] for name in shape.key)
            if row.table in INSERT_ONLY:
                if isinstance(row, Delete):
                    raise ValueError(f"rows of {row.table} are never deleted")
                if row.table != "content" and ((row.table, key) in once or key in self.puts.get(row.table, ())):
                    raise VersionConflict(f"{row.table} {key}", None, None)
                once.add((row.table, key))
            _refuse_nul(given.values())
            changes.append((shape, key, tuple(map(given.get, shape.columns)) if isinstance(row, Put) else None))
        return changes

    def _change(self, shape: Shape, key: Key, values: Values | None) -> None:
        puts, deletes = self.puts.setdefault(shape.name, {}), self.deletes.setdefault(shape.name, set())
        if values is None:
            puts.pop(key, None)
            deletes.add(key)
        else:
            puts[key] = values
            deletes.discard(key)


def _refuse_nul(values: Iterable[Scalar]) -> None:
    """PostgreSQL's text cannot hold one, so that no store takes it."""
    for value in values:
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"text in the log may hold no NUL character: {value[:100]!r}")
