"""Several prepared statements in one round trip to PostgreSQL, on a psycopg connection's own libpq.

psycopg's pipeline waits and adapts statement by statement, which costs four times the processor time of this; on the
append's path that, not the disk, was the limit. Used by one thread at a time.
"""

import select
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from eventstore import points

Statement = tuple[str, Sequence[Any]]

TEXT, BINARY = 0, 1


class Pipeline:
    """Runs statements whose parameters are $1, $2 ... of types that the server infers: str, int, float, bytes, None."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection, self._pgconn = connection, connection.pgconn
        self._prepared: dict[str, bytes] = {}
        self._names = count()
        self._readable, self._sendable = select.poll(), select.poll()
        self._readable.register(self._pgconn.socket, select.POLLIN)
        self._sendable.register(self._pgconn.socket, select.POLLIN | select.POLLOUT)

    @property
    def lost(self) -> bool:
        return self._connection.closed

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self._pgconn.transaction_status == TransactionStatus.IDLE

    def run(self, statements: Iterable[Statement]) -> list[PGresult]:
        """Their results in order. Raises the psycopg.Error of the first that failed; none after it was carried out."""
        try:
            self._pgconn.enter_pipeline_mode()
            prepared = self._send(statements)
            points.reach("pipeline.sent")
            results = self._receive()
            self._pgconn.exit_pipeline_mode()
        except BaseException:
            # Answers may still be under way, and would be taken for those to the next question.
            self.close()
            raise
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                self._forget(prepared, results)
                raise error_from_result(result)
        return [result for index, result in enumerate(results) if index not in prepared]

    def fetch(self, sql: str, fields: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode(), fields, binary=True).fetchall()

    def close(self) -> None:
        self._connection.close()

    def _send(self, statements: Iterable[Statement]) -> dict[int, str]:
        """Send all. Returns the statements prepared on the way by the place of their results."""
        prepared: dict[int, str] = {}
        for sent, (sql, fields) in enumerate(statements):
            name = self._prepared.get(sql)
            if name is None:
                prepared[sent + len(prepared)] = sql
                name = self._prepared[sql] = b"append_%d" % next(self._names)
                self._pgconn.send_prepare(name, sql.encode())
            # Text goes as binary too: in the text format it would silently end at a NUL, here the server refuses one.
            formats = [BINARY if isinstance(field, str | bytes) else TEXT for field in fields]
            self._pgconn.send_query_prepared(name, [_bytes(field) for field in fields], formats)
        self._pgconn.pipeline_sync()
        return prepared

    def _receive(self) -> list[PGresult]:
        # The server answers while it is still being told: both ways at once, or both would wait for ever.
        while self._pgconn.flush():
            self._sendable.poll()
            self._pgconn.consume_input()
        results: list[PGresult] = []
        while True:
            while self._pgconn.is_busy():
                self._readable.poll()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None:
                continue  # between the answers to two statements
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)

    def _forget(self, prepared: dict[int, str], results: list[PGresult]) -> None:
        """Those that the server did not prepare, because something before them had failed."""
        for index, sql in prepared.items():
            if results[index].status != ExecStatus.COMMAND_OK:
                del self._prepared[sql]


def _bytes(field: Any) -> bytes | None:
    return field if field is None or isinstance(field, bytes) else str(field).encode()
