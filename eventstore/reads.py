"""The questions put to the tables, the same on a reading connection and inside an open append."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from eventstore.appending import Versions, shape_of
from eventstore.dialects import Dialect, Fields, Rows
from eventstore.schema import EVENT_COLUMNS
from eventstore.store import Recorded, Row, Scalar, Told

PAGE = 2_000
LAST_VERSION = 2**31 - 1
TOLD = ("stream", "run_version", "type", "schema", "subject", "data", "recorded_at")  # store.Told
LAST_CHARACTER = "\U0010ffff"

EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM event"


class Statements:
    """The texts, in the words of one database."""

    def __init__(self, dialect: Dialect) -> None:
        sql = dialect.sql
        self.many = dialect.many
        self.head = sql("SELECT max(position) FROM event WHERE shard = ?")
        self.heads = sql(
            f"SELECT value, (SELECT max(position) FROM event WHERE shard = CAST(value AS INTEGER)) FROM {dialect.each}"
        )
        self.read = sql(f"{EVENTS} WHERE shard = ? AND position > ? ORDER BY position LIMIT ?")
        self.stream = sql(f"{EVENTS} WHERE stream = ? AND version > ? ORDER BY version LIMIT ?")
        self.streams = sql(
            f"{EVENTS} WHERE stream >= ? AND stream < ? AND (stream > ? OR version > ?)"
            " ORDER BY stream, version LIMIT ?"
        )
        self.run = sql(
            f"{EVENTS} WHERE run_id = ? AND run_version > ? AND run_version <= ? ORDER BY run_version LIMIT ?"
        )
        self.told = sql(
            f"SELECT {', '.join(TOLD)} FROM event"
            " WHERE run_id = ? AND run_version > ? AND run_version <= ? ORDER BY run_version LIMIT ?"
        )
        self.command = sql(f"{EVENTS} WHERE shard = ? AND command_id = ? ORDER BY ordinal")
        self.content = sql("SELECT data FROM content WHERE digest = ?")
        self.versions = sql(
            f"SELECT 0, value, (SELECT max(version) FROM event WHERE stream = value) FROM {dialect.each} UNION ALL"
            f" SELECT 1, value, (SELECT max(run_version) FROM event WHERE run_id = value) FROM {dialect.each}"
        )
        self._sql = sql
        self._selects: dict[tuple[str, tuple[tuple[str, bool], ...]], str] = {}

    def select(self, table: str, equals: Row) -> str:
        """The rows of an inline table with these values. Raises ValueError for unknown names."""
        asked = table, tuple((name, value is None) for name, value in equals.items())
        statement = self._selects.get(asked)
        if statement is None:
            statement = self._selects[asked] = self._select(table, equals)
        return statement

    def _select(self, table: str, equals: Row) -> str:
        shape = shape_of(table)
        for name in equals:
            if name not in shape.known:
                raise ValueError(f"{table} has no column {name}")
        where = [f"{name} IS NULL" if value is None else f"{name} = ?" for name, value in equals.items()]
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return self._sql(f"SELECT {', '.join(shape.columns)} FROM {table}{condition} ORDER BY {', '.join(shape.key)}")


class Reads:
    """What `fetch` sees, as store.Store answers it."""

    def __init__(self, statements: Statements, fetch: Callable[[str, Fields], Rows]) -> None:
        self._statements, self._fetch = statements, fetch

    def head(self, *, shard: int = 0) -> int:
        return self._fetch(self._statements.head, (shard,))[0][0] or 0

    def heads(self, shards: int) -> dict[int, int]:
        """The heads of this many shards, with one question."""
        asked = self._statements.many([str(shard) for shard in range(shards)])
        return {int(shard): head or 0 for shard, head in self._fetch(self._statements.heads, (asked,))}

    def read(self, *, after: int = 0, limit: int = 1000, shard: int = 0) -> Sequence[Recorded]:
        return self._events(self._statements.read, (shard, after, limit))

    def stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        return self._events(self._statements.stream, (stream, after, LAST_VERSION if limit is None else limit))

    def streams(self, prefix: str) -> Iterator[Recorded]:
        after, version, last = prefix, 0, prefix + LAST_CHARACTER
        while True:
            page = self._events(self._statements.streams, (after, last, after, version, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after, version = page[-1].stream, page[-1].version

    def run(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        last = LAST_VERSION if upto is None else upto
        while True:
            page = self._events(self._statements.run, (run_id, after, last, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].run_version or last

    def told(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Told]:
        # Not a generator of its own: that would be woken for each event.
        return chain.from_iterable(self._told(run_id, after, LAST_VERSION if upto is None else upto))

    def _told(self, run_id: str, after: int, last: int) -> Iterator[list[Any]]:
        while True:
            page = self._fetch(self._statements.told, (run_id, after, last, PAGE))
            yield page
            if len(page) < PAGE:
                return
            after = page[-1][1]

    def command(self, command_id: str, *, shard: int = 0) -> Sequence[Recorded]:
        return self._events(self._statements.command, (shard, command_id))

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        statement = self._statements.select(table, equals)
        columns = shape_of(table).columns
        rows = self._fetch(statement, [value for value in equals.values() if value is not None])
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def content(self, digest: str) -> str | None:
        rows = self._fetch(self._statements.content, (digest,))
        return rows[0][0] if rows else None

    def versions(self, streams: Sequence[str], runs: Sequence[str]) -> tuple[Versions, Versions]:
        found: tuple[dict[str, int], dict[str, int]] = {}, {}
        many = self._statements.many
        for part, name, version in self._fetch(self._statements.versions, (many(streams), many(runs))):
            found[part][name] = version or 0
        return found

    def _events(self, statement: str, fields: Fields) -> list[Recorded]:
        return list(map(Recorded._make, self._fetch(statement, fields)))
