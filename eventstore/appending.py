"""An open append, whichever store is under it: counts positions and versions on, and keeps all until the commit."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from eventstore.leaf import leaf_of
from eventstore.schema import INLINE, INSERT_ONLY
from eventstore.store import Delete, NewEvent, Put, Recorded, Row, Scalar, Told, VersionConflict

log = logging.getLogger(__name__)

Versions = Mapping[str, int]
Key = tuple[Scalar, ...]
Values = tuple[Scalar, ...]
Change = tuple[str, Key, Values | None, bool]  # table, key, the row or none, whether it is new
NOTHING: Versions = {}
NO_COMMAND = (None, None)


class Shape(NamedTuple):
    """The columns of an inline table and those of its key."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    known: frozenset[str]
    insert_only: bool  # a second row with the same key is a conflict


SHAPES = {
    name: Shape(
        name,
        tuple(column.name for column in table.columns),
        tuple(column.name for column in table.primary_key.columns),
        frozenset(column.name for column in table.columns),
        name in INSERT_ONLY and name != "content",
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
    """Versions of the streams and runs of one shard, those met last, true as of the shard's position `at`."""

    def __init__(self, most: int = 32_768) -> None:
        self.at = 0
        self.streams: dict[str, int] = {}
        self.runs: dict[str, int] = {}
        self._most = most

    def clear(self) -> None:
        self.streams.clear()
        self.runs.clear()

    def learn(self, streams: Versions, runs: Versions) -> None:
        self.streams.update(streams)
        self.runs.update(runs)
        for memo in (self.streams, self.runs):
            if len(memo) > self._most:
                # The half that was met first: one that is still in use is looked up once more.
                for name in list(islice(memo, len(memo) // 2)):
                    del memo[name]


class Committed(Protocol):
    """What an open append reads of its shard besides what it has added."""

    def read(self, *, after: int, limit: int, shard: int) -> Sequence[Recorded]: ...

    def stream(self, stream: str) -> Sequence[Recorded]: ...

    def streams(self, prefix: str) -> Iterator[Recorded]: ...

    def run(self, run_id: str) -> Iterator[Recorded]: ...

    def told(self, run_id: str, *, after: int = 0) -> Iterator[Told]: ...

    def command(self, command_id: str, *, shard: int) -> Sequence[Recorded]: ...

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]: ...

    def versions(self, streams: Sequence[str], runs: Sequence[str]) -> tuple[Versions, Versions]:
        """The versions of these streams and runs; those that do not exist may be left out."""
        ...


def told_of(event: Recorded) -> Told:
    version = event.run_version or 0
    return event.stream, version, event.type, event.schema, event.subject, event.data, event.recorded_at


class Batch:
    """An open append (store.Append), all but the commit. `heads` is believed: whoever opens it has checked them."""

    def __init__(self, committed: Committed, heads: Heads, *, shard: int, clock: int, last: int, head: int) -> None:
        self.shard, self.clock, self.now, self.head = shard, clock, max(clock, last), head
        self.added = 0
        self.recorded: list[Recorded] = []
        self.commands: dict[str, list[Recorded]] = {}
        self.changes: dict[str, dict[Key, Values | None]] = {}  # {table: {key: the row; None: no row}}
        self.trusted: list[str] = []  # streams and runs taken for new without a look
        self._new_rows: set[tuple[str, Key]] = set()
        self._committed, self._heads = committed, heads
        # The versions of all that was looked at or written to, what this batch has added included.
        self._streams: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._then: list[Callable[[], None]] = []

    def version(self, stream: str) -> int:
        self._look((stream,), ())
        return self._streams[stream]

    def run_version(self, run_id: str) -> int:
        self._look((), (run_id,))
        return self._runs[run_id]

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
            text = f"{event.stream}{event.run_id}{event.type}{event.subject}{event.data}{event.meta}"
            if "\0" in text:
                raise _no_nul(text)
        changes = [self._change(row) for row in rows] if rows else ()
        if len(changes) > 1:
            _refuse_repeats(changes)
        if expect or expect_runs or not self._remembers(events):
            self._expect(events, expect or NOTHING, expect_runs or NOTHING)
        # Whatever can be refused has been: all that follows is taken, or the whole batch fails.
        recorded = self._record(events)
        for change in changes:
            self._take(*change)
        self.added += 1
        if command_id is not None and recorded:
            self.commands.setdefault(command_id, []).extend(recorded)
        return recorded

    def record(self, event: NewEvent, rows: Sequence[Put | Delete] = (), *, command_id: str | None = None) -> Recorded:
        text = f"{event.stream}{event.run_id}{event.type}{event.subject}{event.data}{event.meta}"
        if "\0" in text:
            raise _no_nul(text)
        changes = [self._change(row) for row in rows]
        stream, run_id = event.stream, event.run_id
        if stream not in self._streams or (run_id is not None and run_id not in self._runs):
            self._look((stream,), () if run_id is None else (run_id,))
        recorded = self._written(event)
        self.recorded.append(recorded)
        for change in changes:
            self._take(*change)
        self.added += 1
        if command_id is not None:
            self.commands.setdefault(command_id, []).append(recorded)
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

    def told(self, run_id: str, *, after: int = 0) -> Iterator[Told]:
        yield from self._committed.told(run_id, after=after)
        if run_id in self._runs:
            told = [told_of(event) for event in self.recorded if event.run_id == run_id]
            yield from [event for event in told if event[1] > after]

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
        return [event + ordinals.get(event.position, NO_COMMAND) for event in self.recorded]

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

    # Versions

    def _remembers(self, events: Sequence[NewEvent]) -> bool:
        """Whether the versions of all that `events` are written to are known without a look."""
        for event in events:
            stream, run_id = event.stream, event.run_id
            if stream not in self._streams:
                if (version := self._heads.streams.get(stream)) is None:
                    return False
                self._streams[stream] = version
            if run_id is not None and run_id not in self._runs:
                if (version := self._heads.runs.get(run_id)) is None:
                    return False
                self._runs[run_id] = version
        return True

    def _expect(self, events: Sequence[NewEvent], expect: Versions, expect_runs: Versions) -> None:
        """Look up what is not known. Raises VersionConflict when something is not at the version it should be at."""
        streams = {event.stream for event in events}
        runs = {event.run_id for event in events if event.run_id is not None}
        new = self._look(streams, runs, expect, expect_runs)
        if not (expect.keys() <= streams and expect_runs.keys() <= runs):
            self._look(expect.keys() - streams, expect_runs.keys() - runs)
        for known, expected in ((self._streams, expect), (self._runs, expect_runs)):
            for name, version in expected.items():
                if known.get(name, 0) != version:
                    raise VersionConflict(name, version, known.get(name, 0))
        for known, name in new:
            known[name] = 0
            self.trusted.append(name)

    def _look(
        self, streams: Iterable[str], runs: Iterable[str], new: Versions = NOTHING, new_runs: Versions = NOTHING
    ) -> list[tuple[dict[str, int], str]]:
        """Learn the versions that are not known. Those that shall be new are not looked for, but returned: what is
        about to be written to them is guarded by unique indexes."""
        trusted: list[tuple[dict[str, int], str]] = []
        missing = self._missing(streams, self._streams, self._heads.streams, new, trusted)
        missing_runs = self._missing(runs, self._runs, self._heads.runs, new_runs, trusted)
        if missing or missing_runs:
            looked, looked_runs = self._committed.versions(missing, missing_runs)
            self._streams.update((name, looked.get(name, 0)) for name in missing)
            self._runs.update((name, looked_runs.get(name, 0)) for name in missing_runs)
        return trusted

    def _missing(
        self,
        names: Iterable[str],
        known: dict[str, int],
        memo: Versions,
        new: Versions,
        trusted: list[tuple[dict[str, int], str]],
    ) -> list[str]:
        missing: list[str] = []
        for name in names:
            if name in known:
                continue
            if (version := memo.get(name)) is not None:
                known[name] = version
            elif new.get(name) == 0:
                trusted.append((known, name))
            else:
                missing.append(name)
        return missing

    def _record(self, events: Sequence[NewEvent]) -> list[Recorded]:
        """Take the events, as they will stand in the log."""
        recorded = [self._written(event) for event in events]
        self.recorded += recorded
        return recorded

    def _written(self, event: NewEvent) -> Recorded:
        self.head += 1
        stream, run_id, run_version = event.stream, event.run_id, None
        version = self._streams[stream] = self._streams[stream] + 1
        if run_id is not None:
            run_version = self._runs[run_id] = self._runs[run_id] + 1
        columns = (
            self.shard, self.head, stream, version, run_id, run_version, event.type, event.schema, event.subject,
            event.from_state, event.to_state, event.data, event.meta, self.now,
        )  # fmt: skip
        return Recorded(*columns, leaf_of(columns))

    # Rows of inline tables

    def _change(self, row: Put | Delete) -> Change:
        """What `row` asks for. Raises ValueError when that cannot be, VersionConflict when it is there already."""
        table = row.table
        shape = shape_of(table)
        if isinstance(row, Delete):
            key = _key(shape, row.key)
            if table in INSERT_ONLY:
                raise ValueError(f"rows of {table} are never deleted")
            return table, key, None, False
        key = _key(shape, row.row)
        if shape.insert_only and key in self.changes.get(table, ()):
            raise VersionConflict(f"{table} {key}", None, None)
        return table, key, tuple(map(row.row.get, shape.columns)), row.new

    def _take(self, table: str, key: Key, values: Values | None, new: bool) -> None:
        changes = self.changes.setdefault(table, {})
        if values is None and (table, key) in self._new_rows:
            self._new_rows.discard((table, key))
            del changes[key]
            return
        if new and key not in changes:
            self._new_rows.add((table, key))
        changes[key] = values


def _key(shape: Shape, given: Row) -> Key:
    """The key of a row. Raises ValueError for a column that its table does not have, and for a text with a NUL."""
    if not given.keys() <= shape.known:
        raise ValueError(f"{shape.name} has no column {', '.join(sorted(given.keys() - shape.known))}")
    for value in given.values():
        if value.__class__ is str and "\0" in value:  # type: ignore[operator]
            raise _no_nul(value)  # type: ignore[arg-type]
    return tuple([given[name] for name in shape.key])


def _refuse_repeats(changes: Sequence[Change]) -> None:
    """What can be inserted once cannot be inserted twice by one call either."""
    once: set[tuple[str, Key]] = set()
    for table, key, _, _ in changes:
        if SHAPES[table].insert_only:
            if (table, key) in once:
                raise VersionConflict(f"{table} {key}", None, None)
            once.add((table, key))


def _no_nul(text: str) -> ValueError:
    """PostgreSQL's text cannot hold one, so that no store takes it."""
    near = text.index("\0")
    return ValueError(f"text in the log may hold no NUL character: {text[max(near - 50, 0) : near + 50]!r}")
