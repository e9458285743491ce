"""SQLite: one process, one write connection, used by whoever holds the mutex; readers beside it."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote

from sqlalchemy import Connection, Table, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from eventstore import points
from eventstore.batches import ShardClosed
from eventstore.dialects import LAST_EVENT, Clash, Fields, Rows, Session, Writes, absence, damaged, unavailable
from eventstore.errors import CannotOpen, NotADatabase
from eventstore.filelock import FileLock
from eventstore.pool import Pool
from eventstore.schema import metadata
from eventstore.store import StoreUnavailable

BETWEEN_LOOKS = 1.0  # seconds, at the names of the files that are open


def _unique() -> dict[str, str]:
    """Names of the unique indexes by their columns as SQLite tells them: {"event.stream, event.version": ...}."""
    names: dict[str, str] = {}
    for table in metadata.tables.values():
        indexes = [(index.name, index.columns) for index in table.indexes if index.unique]
        for name, columns in [(f"{table.name}_pkey", table.primary_key.columns), *indexes]:
            names[", ".join(f"{table.name}.{column.name}" for column in columns)] = str(name)
    return names


UNIQUE = _unique()


class SqliteSession:
    def __init__(self, connection: sqlite3.Connection, shard: int) -> None:
        self._connection = connection
        row = connection.execute(LAST_EVENT, (shard,)).fetchone()
        self.head, self.last = row or (0, 0)
        self.now = time.time_ns() // 1000

    def fetch(self, sql: str, fields: Fields) -> Rows:
        try:
            return self._connection.execute(sql, fields).fetchall()
        except sqlite3.Error as error:
            _raise_from_sqlite(error)

    def commit(self, writes: Writes) -> None:
        try:
            points.reach("insert.wanted")
            for sql, rows in writes:
                self._connection.executemany(sql, rows)
            points.reach("insert.done")
            self._connection.execute("COMMIT")
            points.reach("commit.done")
        except sqlite3.Error as error:
            _raise_from_sqlite(error)


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
        # What is written into a file that somebody has removed or replaced is gone when this process ends.
        self._files = [(name, os.stat(name).st_ino) for name in (str(path), f"{path}-wal") if os.path.exists(name)]
        self._looked_at = time.monotonic()
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

    def insert(self, table: Table, columns: Sequence[str], on_conflict: str) -> str:
        marks = ", ".join("?" * len(columns))
        return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}){on_conflict}"

    def delete(self, table: Table, key: Sequence[str]) -> str:
        return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in key)}"

    def many(self, values: Sequence[str]) -> Any:
        return json.dumps(list(values))

    @contextmanager
    def appending(self, shard: int) -> Generator[Session]:
        with self._mutex:
            raw = self._owned()
            self._check_files()
            try:
                points.reach("lock.wanted")
                raw.execute("BEGIN IMMEDIATE")
                session = SqliteSession(raw, shard)
                points.reach("lock.held")
                yield session
            except sqlite3.Error as error:
                _raise_from_sqlite(error)
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")

    def fetch(self, sql: str, fields: Fields) -> Rows:
        try:
            with self._readers.connection() as connection:
                return connection.execute(sql, fields).fetchall()
        except sqlite3.Error as error:
            _raise_from_sqlite(error)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Generator[Connection]:
        """The write connection in a transaction. Without `durable` a power cut may take it back (a crash does not)."""
        with self._mutex, absence(_keeps_from_writing, _is_damage):
            raw = self._owned()
            self._check_files()
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
        with absence(_is_absence, _is_damage), self.engine.connect() as connection, connection.begin():
            yield connection

    def checkpoint(self) -> tuple[int, int]:
        """Move what no reader needs from the write-ahead log into the file: of how many pages, and how many are there.

        Waits for no reader.
        """
        with self._mutex:
            _, pages, moved = self._owned().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            return pages, moved

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

    def _check_files(self) -> None:
        """Raises StoreUnavailable while one of the files that are written to is not where it was opened.

        Looks once a second: two looks cost as much as a fiftieth of a commit.
        """
        if time.monotonic() - self._looked_at < BETWEEN_LOOKS:
            return
        for name, number in self._files:
            try:
                found = os.stat(name).st_ino
            except OSError:
                found = 0
            if found != number:
                raise StoreUnavailable(
                    f"{name} was removed or replaced while this process has it open: put it back, or save what is "
                    "there with `foldline-server backup` and start from that"
                )
        self._looked_at = time.monotonic()

    def _open_writer(self) -> sqlite3.Connection:
        raw = self._connect("rwc")
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE goes past those against DELETE
            raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not os.access(self._path, os.W_OK):
                # SQLite opens it all the same, and would say so to the first who writes.
                raise sqlite3.OperationalError("it may only be read")
        except sqlite3.DatabaseError as error:
            raw.close()
            if isinstance(error, sqlite3.OperationalError):
                raise CannotOpen(
                    f"{self._path} cannot be written ({error}): make room on its disk, or mend its rights"
                ) from error
            raise NotADatabase(
                f"{self._path} cannot be used as a database ({error}): choose another file, or put a backup back"
            ) from error
        return raw

    def _open_reader(self) -> sqlite3.Connection:
        self._check_files()  # or it would read something else than what is written
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


def _raise_from_sqlite(error: sqlite3.Error) -> NoReturn:
    if isinstance(error, sqlite3.IntegrityError):
        what, _, columns = str(error).partition(" constraint failed: ")
        if what == "UNIQUE" and columns in UNIQUE:
            raise Clash(UNIQUE[columns]) from error
    if _keeps_from_writing(error):
        raise unavailable(error) from error
    if _is_damage(error):
        raise damaged(error) from error
    raise error


def _is_damage(error: BaseException) -> bool:
    # The low byte: what stands above it tells which part of the file it is.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _keeps_from_writing(error: BaseException) -> bool:
    """As `_is_absence`, of a connection that may write: its complaint that it must not is one about the file."""
    return _is_absence(error) or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY


def _is_absence(error: BaseException) -> bool:
    """Whether SQLite complains about file or disk, not about the statement (no such table, a reader that writes)."""
    mistakes = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # none: a text that is no text
    return isinstance(error, sqlite3.OperationalError) and code not in mistakes
