"""What the bare drivers reach: the same rows, the same commits, the same disk, and nothing decided, checked or kept."""

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import psycopg
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.schema import CreateTable

from bench.recording import Commits
from bench.setting import Setting
from eventstore.dialects import Dialect
from eventstore.pipeline import Pipeline
from eventstore.postgresql import InBulk, Postgresql
from eventstore.sql import open_store

Row = Sequence[Any]

EVENT = "x" * 250  # about as long as the JSON of one of ours
MOST_AT_ONCE = 500  # that share a commit, as in the store


class Driver(Protocol):
    """One connection. `commit` sends statements with their rows as one transaction."""

    def insert(self, table: Table) -> str: ...

    def commit(self, writes: Sequence[tuple[str, Sequence[Any]]]) -> None: ...

    def close(self) -> None: ...


class BareSqlite:
    def __init__(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")

    def insert(self, table: Table) -> str:
        return f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(table.columns))})"

    def commit(self, writes: Sequence[tuple[str, Sequence[Any]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for sql, rows in writes:
            self._connection.executemany(sql, rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class BarePostgresql:
    """libpq's pipeline on a psycopg connection: a transaction is one round trip of prepared statements ($1, $2 ...).

    psycopg's own pipeline takes four times the processor time, and a statement for each of many rows ten times; a limit
    has to be the quickest way there is.
    """

    def __init__(self, url: str, in_bulk: InBulk) -> None:
        connection = psycopg.connect(url, autocommit=True)
        # A plan made while the tables were empty must not read them whole when they have grown.
        connection.execute("SET enable_seqscan = off")
        self._pipeline = Pipeline(connection)
        self._in_bulk = in_bulk

    def insert(self, table: Table) -> str:
        return self._in_bulk.insert(table, table.columns.keys(), "")

    def commit(self, writes: Sequence[tuple[str, Sequence[Any]]]) -> None:
        statements = [statement for statement, _ in self._in_bulk.statements(writes)]
        self._pipeline.run([("BEGIN", ()), *statements, ("COMMIT", ())])

    def close(self) -> None:
        self._pipeline.close()


def connect(url: str, database: Dialect | None = None) -> Driver:
    """The driver alone. What `database` writes in bulk it writes so, too."""
    if url.startswith("sqlite"):
        return BareSqlite(url)
    return BarePostgresql(url, database.in_bulk if isinstance(database, Postgresql) else InBulk())


def replayed(setting: Setting, database: str, before: Commits, measured: Commits) -> float:
    """Seconds that `measured` takes when the driver alone commits it, into fresh tables, after `before`."""
    url = setting.fresh(database)
    with closing(open_store(url)) as store:
        written_by = store.database
    with closing(connect(url, written_by)) as driver:
        for writes in before:
            driver.commit(writes)
        began = time.perf_counter()
        for writes in measured:
            driver.commit(writes)
        return time.perf_counter() - began


RAW = Table(
    "raw",
    MetaData(),
    Column("position", BigInteger, primary_key=True),
    Column("stream", Text),
    Column("version", BigInteger),
    Column("data", Text),
    UniqueConstraint("stream", "version"),
)
JOB = Table("job", MetaData(), Column("id", BigInteger, primary_key=True), Column("state", Text))
COPIED = Table(
    "copied", MetaData(), Column("position", BigInteger, primary_key=True), Column("stream", Text), Column("data", Text)
)


def made(driver: Driver, table: Table) -> str:
    """Create the table; the statement that puts a row in."""
    driver.commit([(str(CreateTable(table)), [()])])
    return driver.insert(table)


class Log:
    """A table of events with the two unique keys that every event store has, and a job table beside it."""

    def __init__(self, url: str) -> None:
        self.driver = connect(url)
        self.insert, self.enqueue = made(self.driver, RAW), made(self.driver, JOB)
        self.claim = f"UPDATE job SET state = 'running' WHERE id = {'?' if url.startswith('sqlite') else '$1'}"
        self.position = 0

    def append(self, count: int) -> None:
        """Commit this many events of as many streams."""
        first = self.position + 1
        self.position += count
        rows = [(place, f"stream-{place}", 1, EVENT) for place in range(first, self.position + 1)]
        self.driver.commit([(self.insert, rows)])

    def close(self) -> None:
        self.driver.close()


def commits_a_second(setting: Setting, database: str, n: int) -> float:
    """Durable commits of one event each."""
    with closing(Log(setting.fresh(database))) as table:
        began = time.perf_counter()
        for _ in range(n):
            table.append(1)
        return n / (time.perf_counter() - began)


def group_commit(setting: Setting, database: str, n: int, clients: int) -> float:
    """Events a second that one writing thread commits for so many, each of which waits for its own before the next."""
    waiting: queue.SimpleQueue[threading.Semaphore | None] = queue.SimpleQueue()

    def write(table: Log) -> None:
        while (first := waiting.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not waiting.empty() and (another := waiting.get()) is not None:
                batch.append(another)
            table.append(len(batch))
            for done in batch:
                done.release()

    def produce(count: int) -> None:
        done = threading.Semaphore(0)
        for _ in range(count):
            waiting.put(done)
            done.acquire()

    with closing(Log(setting.fresh(database))) as table:
        writer = threading.Thread(target=write, args=(table,))
        writer.start()
        seconds = together([lambda: produce(n // clients)] * clients)
        waiting.put(None)
        writer.join()
    return n // clients * clients / seconds


def hand_over(setting: Setting, database: str, n: int, pause: float) -> list[float]:
    """Seconds from the commit of a job by one thread to that of its claim by another, which is woken in between."""
    times: list[float] = []
    jobs: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
    url = setting.fresh(database)

    def work() -> None:
        with closing(connect(url)) as driver:
            while (job := jobs.get()) is not None:
                driver.commit([(table.claim, [(job[0],)])])
                times.append(time.perf_counter() - job[1])

    with closing(Log(url)) as table:
        worker = threading.Thread(target=work)
        worker.start()
        for number in range(n):
            began = time.perf_counter()
            table.driver.commit([(table.enqueue, [(number, "queued")])])
            jobs.put((number, began))
            time.sleep(pause)
        jobs.put(None)
        worker.join()
    return times


def pages(url: str, columns: str, most: int) -> Iterator[list[Row]]:
    """All events of the store at `url`, in pages of the position and these columns, over a connection of its own."""
    with closing(_reader(url)) as connection:
        position = 0
        sql = f"SELECT position, {columns} FROM event WHERE shard = 0 AND position > ? ORDER BY position LIMIT ?"
        if not url.startswith("sqlite"):
            sql = sql.replace("?", "%s")
        while page := connection.execute(sql, (position, most)).fetchall():
            yield page
            position = page[-1][0]


def copied(url: str, most: int) -> float:
    """Seconds that it takes to read all events page by page, and to write a row for each, a commit for each page."""
    began = time.perf_counter()
    with closing(connect(url)) as driver:
        insert = made(driver, COPIED)
        for page in pages(url, "stream, data", most):
            driver.commit([(insert, page)])
    return time.perf_counter() - began


def _reader(url: str) -> Any:
    """A driver's own connection, to read on."""
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    return psycopg.connect(url, autocommit=True)


def together(calls: Sequence[Callable[[], object]]) -> float:
    """Seconds that these calls take side by side, each in a thread of its own. Raises what one of them has raised."""
    failed: list[BaseException] = []
    ready = threading.Barrier(len(calls) + 1)

    def run(call: Callable[[], object]) -> None:
        ready.wait()
        try:
            call()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began
