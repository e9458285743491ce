"""What the store sends to the database, commit by commit, so that the bare driver can be given the very same."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from eventstore.dialects import Dialect, Fields, Rows, Session, Writes
from eventstore.sql import SqlStore

Commits = list[Sequence[tuple[str, Sequence[Fields]]]]


class _Recorded:
    """A dialects.Session that remembers what was committed."""

    def __init__(self, session: Session, commits: Commits) -> None:
        self._session, self._commits = session, commits
        self.now, self.head, self.last = session.now, session.head, session.last

    def fetch(self, sql: str, fields: Fields) -> Rows:
        return self._session.fetch(sql, fields)

    def commit(self, writes: Writes) -> None:
        self._session.commit(writes)
        self._commits.append(writes)


class _Recording:
    """A dialects.Dialect whose appends are remembered."""

    def __init__(self, dialect: Dialect, commits: Commits) -> None:
        self._dialect, self._commits = dialect, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dialect, name)

    def appending(self, shard: int) -> AbstractContextManager[Session]:
        return self._appending(shard)

    @contextmanager
    def _appending(self, shard: int) -> Generator[Session]:
        with self._dialect.appending(shard) as session:
            yield _Recorded(session, self._commits)


def record(store: SqlStore) -> Commits:
    """A list to which each commit of `store` is added from now on."""
    commits: Commits = []
    store.database = _Recording(store.database, commits)  # type: ignore[assignment]
    return commits
