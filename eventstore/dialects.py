"""What the store needs of a database. Where they differ stands in sqlite.py and postgresql.py, in the same order.

Two files, so that who runs on SQLite does not pay for PostgreSQL's driver; all else in this package serves both.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import DBAPIError, TimeoutError

from eventstore.store import StoreDamaged, StoreUnavailable

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

    def insert(self, table: Table, columns: Sequence[str], on_conflict: str) -> str:
        """The statement that puts a row of these columns in, as `Session.commit` takes it."""
        ...

    def delete(self, table: Table, key: Sequence[str]) -> str:
        """The statement that takes out the row with this key, as `Session.commit` takes it."""
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


def unavailable(error: BaseException) -> StoreUnavailable:
    """With the first line of what the driver said."""
    return StoreUnavailable(_line(error))


def damaged(error: BaseException) -> StoreDamaged:
    """With the first line of what the driver said."""
    return StoreDamaged(f"the database is damaged ({_line(error)}): stop the server and put a backup back")


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def absence(is_absence: Callable[[BaseException], bool], is_damage: Callable[[BaseException], bool]) -> Generator[None]:
    """Turns those of SQLAlchemy's errors that mean that the database is away, or damaged, into the store's own."""
    try:
        yield
    except TimeoutError as error:
        raise unavailable(error) from error  # every connection was in use for too long
    except DBAPIError as error:
        if error.orig is not None and is_absence(error.orig):
            raise unavailable(error.orig) from error
        if error.orig is not None and is_damage(error.orig):
            raise damaged(error.orig) from error
        raise
