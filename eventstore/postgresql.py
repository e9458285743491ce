"""PostgreSQL: several processes, told apart by an advisory lock per shard that lives as long as the transaction."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
import psycopg.errors
from sqlalchemy import URL, Connection, Table, create_engine, event

from eventstore import points
from eventstore.arrays import Bulk, deletion, insertion
from eventstore.batches import ShardClosed
from eventstore.dialects import LAST_EVENT, Clash, Fields, Rows, Session, Writes, absence, damaged, unavailable
from eventstore.pipeline import Pipeline, Statement
from eventstore.pool import Pool

LOCK_CLASS = 0x0F01D  # the first half of our advisory locks' keys
IDLE_TIMEOUT = "30s"  # how long a holder may hang
LOCK_TIMEOUT = "40s"  # longer, so that those who wait for it outlive it
DAMAGE = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted)
FEW = 8  # rows: so many are worth arrays
MOST_IN_FLIGHT = 2_000  # rows sent in one round trip: what is in flight is held in memory


class InBulk:
    """The statements that write one row, and with each the one that writes many."""

    def __init__(self) -> None:
        self._many: dict[str, Bulk] = {}

    def insert(self, table: Table, columns: Sequence[str], on_conflict: str) -> str:
        marks = ", ".join(f"${number}" for number, _ in enumerate(columns, 1))
        text = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}){on_conflict}"
        self._many[text] = insertion(table, columns, on_conflict)
        return text

    def delete(self, table: Table, key: Sequence[str]) -> str:
        same = " AND ".join(f"{name} = ${number}" for number, name in enumerate(key, 1))
        text = f"DELETE FROM {table.name} WHERE {same}"
        if len(key) == 1:
            self._many[text] = deletion(table, key[0])
        return text

    def statements(self, writes: Writes) -> Iterator[tuple[Statement, int]]:
        """Statements that write all of it, with how many rows each of them writes."""
        for text, rows in writes:
            many = self._many.get(text)
            if many is None or len(rows) < FEW:
                yield from (((text, row), 1) for row in rows)
                continue
            for start in range(0, len(rows), MOST_IN_FLIGHT):
                some = rows[start : start + MOST_IN_FLIGHT]
                yield many.of(some), len(some)


class PostgresSession:
    """The connection on which one shard is appended to. Opens it anew when it was lost."""

    # A statement of its own: one that also took the lock would see the log as it was before the wait.
    HEAD = (
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, last.position, last.recorded_at"
        f" FROM (SELECT 1) AS one LEFT JOIN ({LAST_EVENT.replace('?', '$1')}) AS last ON true"
    )

    def __init__(self, conninfo: dict[str, Any], shard: int, in_bulk: InBulk) -> None:
        self._conninfo, self._shard, self._in_bulk = conninfo, shard, in_bulk
        self._begin = [
            ("BEGIN ISOLATION LEVEL READ COMMITTED", ()),
            (f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {shard})", ()),
            (self.HEAD, (shard,)),
        ]
        self._pipeline: Pipeline | None = None
        self.now = self.head = self.last = 0

    def begin(self) -> None:
        try:
            points.reach("lock.wanted")
            with _postgres_errors():
                self._lock()
            points.reach("lock.held")
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
            points.reach("insert.wanted")
            statements: list[Statement] = []
            flying = 0
            for statement, count in self._in_bulk.statements(writes):
                if statements and flying + count > MOST_IN_FLIGHT:
                    self._pipeline.run(statements)
                    points.reach("insert.done")
                    statements, flying = [], 0
                statements.append(statement)
                flying += count
            self._pipeline.run([*statements, ("COMMIT", ())])
            points.reach("commit.done")

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
        self.in_bulk = InBulk()
        self._sessions = [PostgresSession(self._conninfo, shard, self.in_bulk) for shard in range(shards)]
        self._readers = Pool(self._open_reader)
        self._closed = False

    def sql(self, text: str) -> str:
        return text.replace("?", "%s")

    def insert(self, table: Table, columns: Sequence[str], on_conflict: str) -> str:
        return self.in_bulk.insert(table, columns, on_conflict)

    def delete(self, table: Table, key: Sequence[str]) -> str:
        return self.in_bulk.delete(table, key)

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
        except DAMAGE as error:
            raise damaged(error) from error
        except (psycopg.OperationalError, psycopg.InterfaceError):
            # A connection that lay idle while the server was restarted says so only when it is used.
            self._readers.drop_idle()
            with _postgres_errors():
                return self._fetch(sql, fields)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Generator[Connection]:
        """A connection in a transaction. Without `durable` a crash of the server may take it back."""
        self._check_open()
        with absence(_keeps_from_writing, _is_damage), self.engine.begin() as connection:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection that sees one moment of the database and cannot write."""
        self._check_open()
        with absence(_is_absence, _is_damage), self._snapshots.connect() as connection, connection.begin():
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


@contextmanager
def _postgres_errors() -> Generator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Clash(error.diag.constraint_name or "") from error
    except psycopg.Error as error:
        if _keeps_from_writing(error):
            raise unavailable(error) from error
        if _is_damage(error):
            raise damaged(error) from error
        raise


def _is_damage(error: BaseException) -> bool:
    return isinstance(error, DAMAGE)


def _keeps_from_writing(error: BaseException) -> bool:
    """As `_is_absence`, of a connection that may write: a server that only lets read has become a standby."""
    return _is_absence(error) or isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def _is_absence(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
