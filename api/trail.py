"""The log as somebody asked for it: from a position on, of one run, one stream or some types."""

from bisect import bisect_left
from collections.abc import Collection, Sequence

from eventstore.store import Recorded, Store

PAGE = 500
MOST_PAGES = 40  # in one read, however little is found in them
LAST_VERSION = 2**31 - 1


class Trail:
    """Reads on from where it has come to. What is asked of one run or stream costs nothing of what others did."""

    def __init__(
        self,
        store: Store,
        after: int,
        *,
        stream: str | None = None,
        run_id: str | None = None,
        types: Collection[str] = (),
    ) -> None:
        self.position = after
        """All events up to here have been looked at."""
        self._store, self._stream, self._run_id, self._types = store, stream, run_id, types
        self._after = self._as_of(after)  # in versions of the stream or run, in positions where all are asked for

    def read(self, limit: int) -> tuple[list[Recorded], bool]:
        """The next events, `limit` at most, and whether there may be more behind them already."""
        found: list[Recorded] = []
        for _ in range(MOST_PAGES):
            head = self._store.head()
            count = PAGE if self._picks else limit - len(found)
            page = self._next(self._after, count)
            for row in page:
                self._after, self.position = self._key(row), row.position
                if self._is_asked_for(row):
                    found.append(row)
                if len(found) == limit:
                    return found, True
            if len(page) < count:
                self.position = max(self.position, head)
                return found, False
        return found, True

    @property
    def _picks(self) -> bool:
        """Whether pages hold what is not asked for."""
        return bool(self._types) or (self._stream is not None and self._run_id is not None)

    def _is_asked_for(self, row: Recorded) -> bool:
        return (not self._types or row.type in self._types) and self._run_id in (None, row.run_id)

    def _next(self, after: int, count: int) -> Sequence[Recorded]:
        if self._stream is not None:
            return self._store.stream(self._stream, after=after, limit=count)
        if self._run_id is not None:
            return list(self._store.run(self._run_id, after=after, upto=after + count))
        return self._store.read(after=after, limit=count)

    def _key(self, row: Recorded) -> int:
        if self._stream is not None:
            return row.version
        return (row.run_version or 0) if self._run_id is not None else row.position

    def _as_of(self, position: int) -> int:
        """What `_next` must go on from, so that all up to `position` is behind it."""
        if not position or (self._stream is None and self._run_id is None):
            return position

        def comes_later(version: int) -> bool:
            return all(row.position > position for row in self._next(version - 1, 1))

        return bisect_left(range(1, LAST_VERSION), True, key=comes_later)
