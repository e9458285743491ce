"""The promise kept in a database: SQLite for one process, PostgreSQL for several."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from eventstore import points
from eventstore.appending import SHAPES, Batch, Heads, Shape
from eventstore.batches import Batcher
from eventstore.dialects import Clash, Dialect, Fields, Session
from eventstore.errors import CannotOpen
from eventstore.poller import Poller
from eventstore.reads import Reads, Statements
from eventstore.schema import EVENT_COLUMNS, INLINE, INSERT_ONLY, event
from eventstore.signals import Signals
from eventstore.sqlite import Sqlite
from eventstore.store import Append, StoreBroken, VersionConflict
from eventstore.versions import prepare, upgrade

T = TypeVar("T")

MOST_TO_CATCH_UP = 1000
UNIQUE_THINGS = {"event_command": "command", "decision_pkey": "decision"}


def address_of(file: Path) -> str:
    """The address of a SQLite file: what means something in an address is quoted."""
    return f"sqlite:///{quote(str(file))}"


def open_store(url: str, *, shards: int = 1, owner: str = "") -> "SqlStore":
    """The store in this database, which is made when it is new. `owner` is told to who finds the file in use.

    `sqlite:////abs/file.db` or `postgresql://...`. Raises CannotOpen with a sentence for a person, StoreUnavailable
    when PostgreSQL does not answer.
    """
    dialect, place = _open(url, shards, owner)
    try:
        with dialect.writing() as connection:
            prepare(connection, place)
    except BaseException:
        dialect.close()
        raise
    return SqlStore(dialect, shards)


def migrate(url: str) -> tuple[str | None, str]:
    """Bring a database to this program's tables. Returns the versions before (None: it was new) and after."""
    dialect, place = _open(url, 1, "")
    try:
        with dialect.writing() as connection:
            return upgrade(connection, place)
    finally:
        dialect.close()


def _open(url: str, shards: int, owner: str) -> tuple[Dialect, str]:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Without the text itself: it may hold a password.
        raise CannotOpen(f"this is no database address: {_ADDRESSES}") from None
    place = parsed.render_as_string(hide_password=True)
    match parsed:
        case URL(drivername="sqlite") if "?" in url:
            raise CannotOpen(f"{place} has a question mark, which ends the name of a file: write %3F for it")
        case URL(drivername="sqlite", database=str(path)) if Path(path).is_absolute():
            return Sqlite(Path(path).resolve(), owner), place
        case URL(drivername="postgresql" | "postgres" | "postgresql+psycopg"):
            from eventstore.postgresql import Postgresql  # brings its driver, which others need not pay for

            return Postgresql(parsed, shards), place
        case _:
            raise CannotOpen(f"{place} cannot be used: {_ADDRESSES}")


_ADDRESSES = "write sqlite:////absolute/path/file.db or postgresql://user@host/name"


class SqlStore(Reads):
    """A store.Store. `database` gives its connections to whoever keeps tables beside the log."""

    def __init__(self, dialect: Dialect, shards: int) -> None:
        self.database = dialect
        self.shards = shards
        self._statements = Statements(dialect)
        super().__init__(self._statements, dialect.fetch)
        self._writes = Writes(dialect)
        self._heads = [Heads() for _ in range(shards)]
        self._signals = Signals(shards)
        self._poller = Poller(self, self._signals) if dialect.shared else None
        self._batchers = [Batcher(partial(self._begin, shard), f"{dialect.name}-{shard}") for shard in range(shards)]

    @property
    def batchers(self) -> Sequence[Batcher]:
        return self._batchers

    def append(self, job: Callable[[Append], T], *, shard: int = 0) -> "Future[T]":
        return self._batchers[shard].submit(job)

    def subscribe(self, call: Callable[[int, int], None]) -> Callable[[], None]:
        end = self._signals.subscribe(call)
        if self._poller is not None:
            self._poller.start()
        return end

    def close(self) -> None:
        for batcher in self._batchers:
            batcher.close()
        if self._poller is not None:
            self._poller.stop()
        self.database.close()

    def announce(self, shard: int, head: int) -> None:
        self._signals.announce(shard, head)

    @contextmanager
    def _begin(self, shard: int) -> Generator["SqlAppend"]:
        heads = self._heads[shard]
        with self.database.appending(shard) as session:
            self._catch_up(heads, session, shard)
            batch = SqlAppend(self, session, Reads(self._statements, session.fetch), heads, shard, self._writes)
            try:
                yield batch
            finally:
                if not batch.durable:
                    heads.clear()

    def _catch_up(self, heads: Heads, session: Session, shard: int) -> None:
        """Make `heads` true as of the session's head: another process may have written since our last commit."""
        if heads.at == session.head:
            return
        if 0 < session.head - heads.at <= MOST_TO_CATCH_UP and heads.streams:
            news = session.fetch(self._writes.news, (shard, heads.at))
            heads.learn({row[0]: row[1] for row in news}, {row[2]: row[3] for row in news if row[2] is not None})
        else:
            heads.clear()
        heads.at = session.head


class Writes:
    """The statements that an append may end with."""

    def __init__(self, dialect: Dialect) -> None:
        self.event = dialect.insert(event, (*EVENT_COLUMNS, "command_id", "ordinal"), "")
        self.news = dialect.sql(
            "SELECT stream, version, run_id, run_version FROM event WHERE shard = ? AND position > ? ORDER BY position"
        )
        self.put = {
            name: dialect.insert(table, SHAPES[name].columns, _on_conflict(SHAPES[name]))
            for name, table in INLINE.items()
        }
        self.delete = {name: dialect.delete(table, SHAPES[name].key) for name, table in INLINE.items()}

    def of(self, batch: Batch) -> list[tuple[str, Sequence[Fields]]]:
        writes: list[tuple[str, Sequence[Fields]]] = []
        if batch.recorded:
            writes.append((self.event, batch.rows()))
        # In the order of their keys, so that two shards that write the same rows cannot wait for one another.
        for name, changes in batch.changes.items():
            keys = sorted(changes) if len(changes) > 1 else list(changes)
            if deleted := [key for key in keys if changes[key] is None]:
                writes.append((self.delete[name], deleted))
            if put := [values for key in keys if (values := changes[key]) is not None]:
                writes.append((self.put[name], put))
        return writes


def _on_conflict(shape: Shape) -> str:
    key = ", ".join(shape.key)
    if shape.name == "content":
        return f" ON CONFLICT ({key}) DO NOTHING"
    if shape.name in INSERT_ONLY:
        return ""
    new = ", ".join(f"{column} = excluded.{column}" for column in shape.columns if column not in shape.key)
    return f" ON CONFLICT ({key}) DO UPDATE SET {new}"


class SqlAppend(Batch):
    def __init__(
        self, store: SqlStore, session: Session, committed: Reads, heads: Heads, shard: int, writes: Writes
    ) -> None:
        super().__init__(committed, heads, shard=shard, clock=session.now, last=session.last, head=session.head)
        self._store, self._session, self._writes = store, session, writes
        self.durable = False

    def commit(self) -> None:
        writes = self._writes.of(self)
        try:
            if writes:
                self._session.commit(writes)
        except Clash as clash:
            raise self._refusal(clash) from clash
        self.durable = True
        self.confirm()
        points.reach("commit.known")
        if self.recorded:
            self._store.announce(self.shard, self.head)

    def _refusal(self, clash: Clash) -> Exception:
        """What the unique index means. The transaction is broken, so it is the store that is asked."""
        if clash.index == "event_pkey":
            return StoreBroken(f"shard {self.shard} was written to by somebody who does not hold its lock")
        if clash.index in ("event_stream", "event_run"):
            for versions in self._store.versions(self.trusted, self.trusted):
                for name, version in versions.items():
                    if version:
                        return VersionConflict(name, 0, version)
        return VersionConflict(UNIQUE_THINGS.get(clash.index, clash.index), None, None)
