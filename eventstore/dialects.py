"""Where the databases differ, side by side. All else in this package is the same for both."""

import json
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import psycopg
import psycopg.errors
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool, StaticPool

from eventstore.batches import ShardClosed
from eventstore.errors import CannotOpen, NotADatabase
from eventstore.filelock import FileLock
from eventstore.pipeline import Pipeline
from eventstore.pool import Pool
from eventstore.schema import metadata
from eventstore.store import StoreUnavailable

Fields = Sequence[Any]
Rows = list[tuple[Any, ...]]
Writes = Sequence[tuple[str, Sequence[Fields]]]

LAST_EVENT = "SELECT position, recorded_at FROM event WHERE shard = ? ORDER BY position DESC LIMIT 1"


class Clash(Exception):
    """A unique index refused what was written; a primary key is called `<table>_pkey`."""

    def __init__(self, index: str) -> None:
        super().__init__(f"{index} refuses a duplicate")
        self.index = index


class Session(Protocol):
    """One locked transaction. `now` (microseconds), `head` and `last` (when its event was recorded) are of the lock."""

    now: int
    head: int
    last: int

    def fetch(self, sql: str, fields: Fields) -> Rows: ...

    def commit(self, writes: Writes) -> None:
        """Write and commit. Raises Clash, having written nothing, or StoreUnavailable, when that is not known."""
        ...


class Dialect(Protocol):
    """What the store needs of a database; `Database` is the part of it that others use."""

    name: Literal["sqlite", "postgresql"]
    shared: bool  # other processes may write
    each: str  # a table of one column `value`, made from one parameter

    @property
    def engine(self) -> Engine: ...

    def sql(self, text: str) -> str:
        """`text`, whose parameters are question marks, as `fetch` takes it."""
        ...

    def write(self, text: str) -> str:
        """`text`, whose parameters are question marks, as `Session.commit` takes it."""
        ...

    def many(self, values: Sequence[str]) -> Any:
        """The parameter of `each`."""
        ...

    def appending(self, shard: int) -> AbstractContextManager[Session]:
        """Lock the shard. What is not committed is rolled back at the end."""
        ...

    def fetch(self, sql: str, fields: Fields) -> Rows:
        """Rows of what has been committed. Raises StoreUnavailable."""
        ...

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]: ...

    def reading(self) -> AbstractContextManager[Connection]: ...

    def close(self) -> None: ...


def _unique() -> dict[str, str]:
    """Names of the unique indexes by their columns as SQLite tells them: {"event.stream, event.version": ...}."""
    names: dict[str, str] = {}
    for table in metadata.tables.values():
        indexes = [(index.name, index.columns) for index in table.indexes if index.unique]
        for name, columns in [(f"{table.name}_pkey", table.primary_key.columns), *indexes]:
            names[", ".join(f"{table.name}.{column.name}" for column in columns)] = str(name)
    return names


UNIQUE = _unique()

# SQLite: one process, one write connection. Whoever holds `_mutex` may use it.


class SqliteSession:
    def __init__(self, connection: sqlite3.Connection, shard: int) -> None:
        self._connection = connection
        row = connection.execute(LAST_EVENT, (shard,)).fetchone()
        self.head, self.last = row or (0, 0)
        self.now = time.time_ns() // 1000

    def fetch(self, sql: str, fields: Fields) -> Rows:
        with _sqlite_errors():
            return self._connection.execute(sql, fields).fetchall()

    def commit(self, writes: Writes) -> None:
        with _sqlite_errors():
            for sql, rows in writes:
                self._connection.executemany(sql, rows)
            self._connection.execute("COMMIT")


class Sqlite:
    name: Literal["sqlite", "postgresql"] = "sqlite"
    shared = False
    each = "json_each(?)"

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path, owner)
        except OSError as error:
            raise CannotOpen(
                f"cannot open {path}: {error.strerror}; choose a file in a folder that can be written"
            ) from error
        self._mutex = threading.RLock()
        self._closed = False
        try:
            self._raw = self._open_writer()
        except BaseException:
            self._lock.release()
            raise
        self._writer = create_engine("sqlite://", creator=lambda: self._raw, poolclass=StaticPool)
        event.listen(self._writer, "begin", _begin_immediate)
        self._connection = self._writer.connect()
        self._readers = Pool(self._open_reader)
        self.engine = create_engine(
            "sqlite://", creator=self._open_reader, poolclass=QueuePool, pool_size=4, max_overflow=12
        )
        event.listen(self.engine, "begin", _begin)

    def sql(self, text: str) -> str:
        return text

    def write(self, text: str) -> str:
        return text

    def many(self, values: Sequence[str]) -> Any:
        return json.dumps(list(values))

    @contextmanager
    def appending(self, shard: int) -> Generator[Session]:
        with self._mutex:
            raw = self._owned()
            with _sqlite_errors():
                raw.execute("BEGIN IMMEDIATE")
            try:
                with _sqlite_errors():
                    session = SqliteSession(raw, shard)
                yield session
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")

    def fetch(self, sql: str, fields: Fields) -> Rows:
        with _sqlite_errors(), self._readers.connection() as connection:
            return connection.execute(sql, fields).fetchall()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Generator[Connection]:
        """The write connection in a transaction. Without `durable` a power cut may take it back (a crash does not)."""
        with self._mutex, _database_errors():
            raw = self._owned()
            if not durable:
                raw.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._connection.begin():
                    yield self._connection
            finally:
                if not durable:
                    raw.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection that sees one moment of the database and cannot write."""
        if self._closed:
            raise ShardClosed("the store is closed")
        with _database_errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._readers.close()
            self.engine.dispose()
            self._connection.close()
            self._writer.dispose()
            self._raw.close()
            self._lock.release()

    def _owned(self) -> sqlite3.Connection:
        if self._closed:
            raise ShardClosed("the store is closed")
        return self._raw

    def _open_writer(self) -> sqlite3.Connection:
        raw = self._connect("rwc")
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE goes past those against DELETE
            raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raw.close()
            raise NotADatabase(f"{self._path} cannot be used as a database ({error}): choose another file") from error
        return raw

    def _open_reader(self) -> sqlite3.Connection:
        raw = self._connect("rw")
        # The writer alone moves the WAL into the file: older SQLites could damage it when two connections did.
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        raw.execute("PRAGMA query_only = ON")
        return raw

    def _connect(self, mode: str) -> sqlite3.Connection:
        try:
            return sqlite3.connect(
                f"file:{quote(str(self._path))}?mode={mode}",
                uri=True,
                timeout=10,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.OperationalError as error:
            raise CannotOpen(
                f"cannot open {self._path}: {error}; choose a file that can be read and written"
            ) from error


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def _sqlite_errors() -> Generator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        what, _, columns = str(error).partition(" constraint failed: ")
        if what != "UNIQUE" or columns not in UNIQUE:
            raise
        raise Clash(UNIQUE[columns]) from error
    except sqlite3.OperationalError as error:
        if _is_mistake(error):
            raise
        raise StoreUnavailable(str(error)) from error


def _is_mistake(error: BaseException) -> bool:
    """Whether SQLite complains about the statement (no such table, a reader that writes), not about file or disk."""
    mistakes = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY)
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode in mistakes


# PostgreSQL: several processes, told apart by an advisory lock per shard that lives as long as the transaction.

LOCK_CLASS = 0x0F01D  # the first half of our advisory locks' keys
IDLE_TIMEOUT = "30s"  # how long a holder may hang
LOCK_TIMEOUT = "40s"  # longer, so that those who wait for it outlive it
MOST_IN_FLIGHT = 2_000  # rows sent in one round trip: what is in flight is held in memory


class PostgresSession:
    """The connection on which one shard is appended to. Opens it anew when it was lost."""

    # A statement of its own: one that also took the lock would see the log as it was before the wait.
    HEAD = (
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, last.position, last.recorded_at"
        f" FROM (SELECT 1) AS one LEFT JOIN ({LAST_EVENT.replace('?', '$1')}) AS last ON true"
    )

    def __init__(self, conninfo: dict[str, Any], shard: int) -> None:
        self._conninfo, self._shard = conninfo, shard
        self._begin = [
            ("BEGIN ISOLATION LEVEL READ COMMITTED", ()),
            (f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {shard})", ()),
            (self.HEAD, (shard,)),
        ]
        self._pipeline: Pipeline | None = None
        self.now = self.head = self.last = 0

    def begin(self) -> None:
        try:
            with _postgres_errors():
                self._lock()
        except BaseException:
            self.rollback()
            raise

    def fetch(self, sql: str, fields: Fields) -> Rows:
        assert self._pipeline is not None
        with _postgres_errors():
            return self._pipeline.fetch(sql, fields)

    def commit(self, writes: Writes) -> None:
        assert self._pipeline is not None
        with _postgres_errors():
            statements = [(sql, row) for sql, rows in writes for row in rows]
            while len(statements) > MOST_IN_FLIGHT:
                self._pipeline.run(statements[:MOST_IN_FLIGHT])
                del statements[:MOST_IN_FLIGHT]
            self._pipeline.run([*statements, ("COMMIT", ())])

    def rollback(self) -> None:
        if self._pipeline is None or self._pipeline.idle:
            return
        try:
            self._pipeline.run([("ROLLBACK", ())])
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def _connect(self) -> Pipeline:
        connection = psycopg.connect(**self._conninfo, autocommit=True)
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false),"
            " set_config('idle_in_transaction_session_timeout', %s, false),"
            # A plan made while the tables were empty must not read them whole when they have grown.
            " set_config('enable_seqscan', 'off', false)",
            (LOCK_TIMEOUT, IDLE_TIMEOUT),
        )
        return Pipeline(connection)

    def _lock(self) -> None:
        if self._pipeline is not None:
            try:
                return self._ask(self._pipeline)
            except psycopg.OperationalError:
                if not self._pipeline.lost:
                    raise
                # The server was away and may be back; in this transaction nothing has been said yet.
        self._pipeline = self._connect()
        self._ask(self._pipeline)

    def _ask(self, pipeline: Pipeline) -> None:
        result = pipeline.run(self._begin)[-1]
        self.now, self.head, self.last = (int(result.get_value(0, column) or 0) for column in range(3))


class Postgresql:
    name: Literal["sqlite", "postgresql"] = "postgresql"
    shared = True
    each = "unnest(?::text[]) AS each(value)"

    def __init__(self, url: URL, shards: int) -> None:
        defaults = {"connect_timeout": "10", "application_name": "foldline", "tcp_user_timeout": "15000"}
        url = url.set(drivername="postgresql+psycopg").update_query_dict({**defaults, **url.query})
        self.engine = create_engine(url, pool_size=4, max_overflow=12, pool_pre_ping=True)
        event.listen(self.engine, "connect", _patient)
        self._snapshots = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._conninfo = dict(self.engine.dialect.create_connect_args(url)[1])
        self._sessions = [PostgresSession(self._conninfo, shard) for shard in range(shards)]
        self._readers = Pool(self._open_reader)
        self._closed = False

    def sql(self, text: str) -> str:
        return text.replace("?", "%s")

    def write(self, text: str) -> str:
        first, *rest = text.split("?")
        return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))

    def many(self, values: Sequence[str]) -> Any:
        return list(values)

    @contextmanager
    def appending(self, shard: int) -> Generator[Session]:
        session = self._sessions[shard]
        session.begin()
        try:
            yield session
        finally:
            session.rollback()

    def fetch(self, sql: str, fields: Fields) -> Rows:
        try:
            return self._fetch(sql, fields)
        except psycopg.OperationalError:
            # A connection that lay idle while the server was restarted says so only when it is used.
            self._readers.drop_idle()
            with _postgres_errors():
                return self._fetch(sql, fields)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Generator[Connection]:
        """A connection in a transaction. Without `durable` a crash of the server may take it back."""
        self._check_open()
        with _database_errors(), self.engine.begin() as connection:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection that sees one moment of the database and cannot write."""
        self._check_open()
        with _database_errors(), self._snapshots.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self._closed = True
        self._readers.close()
        for session in self._sessions:
            session.close()
        self.engine.dispose()

    def _fetch(self, sql: str, fields: Fields) -> Rows:
        with self._readers.connection() as connection:
            return connection.execute(sql.encode(), fields, binary=True).fetchall()

    def _open_reader(self) -> psycopg.Connection:
        return psycopg.connect(**self._conninfo, autocommit=True)

    def _check_open(self) -> None:
        if self._closed:
            raise ShardClosed("the store is closed")


def _patient(connection: Any, _record: Any) -> None:
    """A transaction that nobody ends must not keep the database from tidying up for ever."""
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
    connection.commit()


def _unavailable(error: BaseException) -> StoreUnavailable:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return StoreUnavailable(reason)


@contextmanager
def _postgres_errors() -> Generator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Clash(error.diag.constraint_name or "") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _unavailable(error) from error


@contextmanager
def _database_errors() -> Generator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if error.orig is not None and _is_mistake(error.orig):
            raise
        raise _unavailable(error.orig or error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _unavailable(error.orig or error) from error
        raise
