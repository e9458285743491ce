"""A small log that is signed, and somebody who goes past its triggers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import text

from eventstore.audit.findings import Finding, Report
from eventstore.audit.keys import Keyring
from eventstore.audit.seals import Seals
from eventstore.audit.verification import verify
from eventstore.schema import APPEND_ONLY
from eventstore.sql import SqlStore
from eventstore.store import NewEvent, Put, append

RUN = "0123456789abcdef0123456789abcdef"
DATA = '{"name":"step","lr":0.1}'
CONTENT = '{"name":"template"}'
DIGEST = sha256(CONTENT.encode()).hexdigest()


def job(store: SqlStore, number: int) -> None:
    """Four events of one command: two of a task of its own, one of a run, one of all tasks' common stream."""
    meta = f'{{"actor":"ana","command":"ana:key-{number}"}}'
    mine, common = f"task-{number}", "queue-default"
    append(
        store,
        [
            NewEvent(stream=mine, type="TaskCreated", data=DATA, meta=meta, from_state="absent", to_state="created"),
            NewEvent(stream=mine, type="TaskEnqueued", data="{}", meta=meta, run_id=RUN, subject=f"step-{number}"),
            NewEvent(stream="run-1", type="RunChanged", data='{"é":"\\u0001"}', meta=meta, run_id=RUN),
            NewEvent(stream=common, type="Changed", data="{}", meta=meta),
        ],
        command_id=f"ana:key-{number}",
    ).result()


class Log:
    """12 events in checkpoints of 4, or as many as are asked for. `key` is the file of the key that signs."""

    def __init__(self, store: SqlStore, folder: Path, checkpoints: int = 3) -> None:
        self.store, self.folder, self.key = store, folder, folder / "audit.key"
        self.jobs = 0
        self.seals = self.new_seals()
        append(store, [], [Put("content", {"digest": DIGEST, "data": CONTENT})]).result()
        for _ in range(checkpoints):
            self.grow()
            self.seal()

    def new_seals(self) -> Seals:
        """As a server that starts makes them."""
        times = iter(range(1_800_000_000_000_000, 1_900_000_000_000_000, 1_000_000))
        return Seals(self.store, Keyring(self.key), now=lambda: next(times))

    def grow(self, jobs: int = 1) -> None:
        """Four events for each job."""
        for number in range(self.jobs, self.jobs + jobs):
            job(self.store, number)
        self.jobs += jobs

    def grow_to(self, events: int) -> None:
        """Many at once: `events` in all."""
        more = events - self.store.head()
        append(self.store, [NewEvent(stream="task-many", type="Changed", data=DATA)] * more).result()

    def seal(self) -> str:
        while self.seals.seal():
            pass
        note = self.seals.tree.last(0)
        assert note is not None
        return note

    def unguard(self) -> None:
        """Take the triggers away, as whoever owns the database can."""
        with self.store.database.writing() as connection:
            for table in APPEND_ONLY:
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
                else:
                    for what in ("changes", "goes"):
                        connection.execute(text(f"DROP TRIGGER {table}_never_{what}"))

    def tamper(self, sql: str, **values: Any) -> None:
        with self.store.database.writing() as connection:
            assert connection.execute(text(sql), values).rowcount > 0, "nothing was changed"

    def rows(self, sql: str, **values: Any) -> list[Any]:
        with self.store.database.reading() as connection:
            return list(connection.execute(text(sql), values))

    @contextmanager
    def tampered(self, table: str, column: str, value: Any, **key: Any) -> Iterator[None]:
        """With another value in one column of one row; afterwards it is as it was."""
        where = " AND ".join(f"{name} = :{name}" for name in key)
        [(before,)] = self.rows(f"SELECT {column} FROM {table} WHERE {where}", **key)
        assert before != value
        change = f"UPDATE {table} SET {column} = :value WHERE {where}"
        self.tamper(change, value=value, **key)
        yield
        after = {**key, **({column: value} if column in key else {})}
        self.tamper(change, value=before, **after)

    def verify(self, *kept: str, **asked: Any) -> Report:
        return verify(self.store, kept=kept, **asked)

    def found(self, *kept: str) -> list[tuple[str, int | None, str | None]]:
        """Kind, position and stream of what is wrong."""
        return told(self.verify(*kept).findings)


def told(findings: Sequence[Finding]) -> list[tuple[str, int | None, str | None]]:
    return [(one.kind, one.position, one.stream) for one in findings]
