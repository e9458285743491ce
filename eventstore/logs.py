"""What attempts print, by offset: in files where one process owns the data, in a table where several share it."""

import os
import threading
from pathlib import Path
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from eventstore.dialects import Dialect
from eventstore.ids import checked_id
from eventstore.schema import log_chunk


class LogGap(Exception):
    """What stands before the given bytes is missing: send from `offset` on."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The log has {offset} bytes so far: send what follows from offset {offset} on.")
        self.offset = offset


class Logs(Protocol):
    def append(self, task_id: str, attempt: int, offset: int, data: bytes) -> int:
        """Keep `data`, which begins at `offset`. Returns the next offset. What is there already is not written again.

        Raises LogGap when `offset` lies beyond the end.
        """
        ...

    def read(self, task_id: str, attempt: int, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset` on; none at the end, or when nothing was ever kept."""
        ...

    def size(self, task_id: str, attempt: int) -> int: ...


class FileLogs:
    """A file for each attempt. For a process that has the folder to itself. A power cut may take the last bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutexes = [threading.Lock() for _ in range(64)]

    def append(self, task_id: str, attempt: int, offset: int, data: bytes) -> int:
        path = self._path(task_id, attempt)
        with self._mutexes[hash(task_id) % len(self._mutexes)]:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                if offset > size:
                    raise LogGap(size)
                rest = memoryview(data)[size - offset :]
                while rest:
                    rest = rest[file.write(rest) :]
                return max(size, offset + len(data))

    def read(self, task_id: str, attempt: int, offset: int, limit: int) -> bytes:
        try:
            with self._path(task_id, attempt).open("rb") as file:
                file.seek(min(offset, os.fstat(file.fileno()).st_size))  # file systems have a last offset
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def size(self, task_id: str, attempt: int) -> int:
        try:
            return self._path(task_id, attempt).stat().st_size
        except FileNotFoundError:
            return 0

    def _path(self, task_id: str, attempt: int) -> Path:
        return self._folder / checked_id(task_id)[:2] / task_id / f"{attempt:d}.log"


class TableLogs:
    """A row for each piece. Several processes may append to one log: a piece has its place only once."""

    def __init__(self, database: Dialect) -> None:
        self._database = database
        self._insert = postgresql_insert if database.name == "postgresql" else sqlite_insert

    def append(self, task_id: str, attempt: int, offset: int, data: bytes) -> int:
        end = offset + len(data)
        while True:
            size = self.size(task_id, attempt)
            if offset > size:
                raise LogGap(size)
            if end <= size:
                return size
            piece = {"task_id": task_id, "attempt": attempt, "start": size, "bytes": data[size - offset :]}
            insert = self._insert(log_chunk).values(piece).on_conflict_do_nothing().returning(log_chunk.c.start)
            with self._database.writing(durable=False) as connection:
                if connection.execute(insert).first() is not None:
                    return end
            # Another piece with this start has been quicker: what of ours is left goes behind it.

    def read(self, task_id: str, attempt: int, offset: int, limit: int) -> bytes:
        mine = (log_chunk.c.task_id == task_id) & (log_chunk.c.attempt == attempt)
        first = select(func.max(log_chunk.c.start)).where(mine, log_chunk.c.start <= offset).scalar_subquery()
        pieces = (
            select(log_chunk.c.start, log_chunk.c.bytes)
            .where(mine, log_chunk.c.start >= first, log_chunk.c.start < offset + limit)
            .order_by(log_chunk.c.start)
        )
        with self._database.reading() as connection:
            return b"".join(
                piece[max(0, offset - start) : offset + limit - start] for start, piece in connection.execute(pieces)
            )

    def size(self, task_id: str, attempt: int) -> int:
        last = (
            select(log_chunk.c.start + func.length(log_chunk.c.bytes))
            .where(log_chunk.c.task_id == task_id, log_chunk.c.attempt == attempt)
            .order_by(log_chunk.c.start.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(last).scalar() or 0
