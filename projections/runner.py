"""Keeps the tables of the read side up with the log, in a thread of its own, and says how far they are."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from eventstore.sql import SqlStore
from eventstore.store import StoreUnavailable
from projections import checkpoints
from projections.all import PROJECTIONS
from projections.following import Following
from projections.projection import Projection

log = logging.getLogger(__name__)

# All in seconds. What is committed while it lingers shares a commit of ours, unless somebody waits for it. It lingers
# the longer, the longer a round takes: the commands share an interpreter, and on SQLite a lock, with us.
LINGER = 0.05
LONGEST_LINGER = 0.3
SHARE = 0.1  # of the time, for us, as far as the longest allows
FALLBACK = 10.0  # it looks this often although nobody called: a rebuild that another process has begun
TROUBLE = 1.0  # to the next attempt when something is wrong


def linger(took: float) -> float:
    """How long to wait after a round that took so long. At least half of the time is the commands'."""
    return max(LINGER, min(took / SHARE, LONGEST_LINGER), took)


class RebuildFailed(Exception):
    """The rebuild met an event that it cannot take. The rows are what they were before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a projection is behind the log; `lag_seconds` is the age of the first event that it has not taken."""

    name: str
    shard: int
    position: int
    head: int
    lag_events: int
    lag_seconds: float
    error: str | None


class Runner:
    """Follows the log with each projection. Every method may be called from any thread.

    A projection that cannot take an event stops before it, with the reason in its row; the others go on. It tries again
    when the program starts anew, or when it is rebuilt.
    """

    def __init__(self, store: SqlStore, projections: Sequence[Projection] = PROJECTIONS) -> None:
        self._store = store
        self._names = [one.name for one in projections]
        self._following = Following(store, projections)
        self._working = threading.Lock()
        self._moved = threading.Condition()
        self._news, self._urgent, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._waiting = 0
        self._trouble: str | None = None
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Make the tables that are missing and follow the log from now on. Raises StoreUnavailable."""
        with self._working:
            self._following.prepare()
        self._unsubscribe = self._store.subscribe(lambda _shard, _head: self._news.set())
        self._thread = threading.Thread(target=self._run, name="projections", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the page at hand is written."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._stopping.set()
        self._news.set()
        self._urgent.set()
        with self._moved:
            self._moved.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def step(self) -> bool:
        """Take the next page; whether there is more to do at once. For whoever wants no thread."""
        with self._working:
            more = self._following.step()
        with self._moved:
            self._moved.notify_all()
        return more

    def catch_up(self) -> None:
        """Take all that is in the log."""
        while self.step():
            pass

    def wait_for(self, position: int, timeout: float, *, names: Collection[str] = (), shard: int = 0) -> bool:
        """Wait until these projections (all when none is named) have reached `position`.

        False after `timeout` seconds, at the end, and at once when one of them has stopped short of it.
        """
        names = names or self._names

        def reached() -> bool:
            return all(self._following.position(one, shard) >= position for one in names)

        def over() -> bool:
            return reached() or self._stopping.is_set() or self.stopped(names) is not None

        if over():
            return reached()
        with self._moved:
            self._waiting += 1
            self._urgent.set()
            self._news.set()
            try:
                self._moved.wait_for(over, timeout)
                return reached()
            finally:
                self._waiting -= 1
                if not self._waiting and not self._stopping.is_set():
                    self._urgent.clear()

    def stopped(self, names: Collection[str]) -> str | None:
        """The first of these projections that goes no further, and why: "runs stopped before event 7 ...".

        None while all of them follow the log or are being made anew.
        """
        found = ((name, self._following.stopped(name)) for name in names)
        return next((f"{name} {why}" for name, why in found if why is not None), None)

    def lag(self) -> list[Lag]:
        """One for each projection and shard."""
        if not self._following.ready:
            with self._working:
                self._following.prepare()
        with self._store.database.reading() as connection:
            rows = [row for row in checkpoints.of(connection) if row.name in self._names]
        heads = [self._store.head(shard=shard) for shard in range(self._store.shards)]
        return [
            Lag(
                name=row.name,
                shard=row.shard,
                position=row.position,
                head=max(heads[row.shard], row.position),
                lag_events=max(heads[row.shard] - row.position, 0),
                lag_seconds=self._age_of_next(row.position, row.shard),
                error=row.error or self._trouble,
            )
            for row in sorted(rows, key=lambda row: (self._names.index(row.name), row.shard))
        ]

    def start_rebuild(self, name: str) -> None:
        """Begin to make the rows anew; who asks sees the old ones until the new ones are there. Raises KeyError."""
        with self._working:
            self._following.begin_rebuild(name)
        self._news.set()

    def rebuild(self, name: str, timeout: float | None = None) -> None:
        """Make the rows anew from the first event on, and return when they are.

        Raises KeyError for an unknown name, RebuildFailed, and TimeoutError after `timeout` seconds: then it goes on.
        """
        self.start_rebuild(name)
        if self._thread is None:
            while not self._rebuilt(name):
                self.step()
        else:
            with self._moved:
                self._moved.wait_for(lambda: self._rebuilt(name) or self._stopping.is_set(), timeout)
        if name in self._following.failed:
            raise RebuildFailed(f"{name} keeps its old rows: the rebuild {self._following.failed[name]}")
        if not self._rebuilt(name):
            raise TimeoutError(f"the rebuild of {name} is not done yet; it goes on, also after a restart")

    def _rebuilt(self, name: str) -> bool:
        return self._following.ready and not self._following.rebuilding(name)

    def _age_of_next(self, position: int, shard: int) -> float:
        after = self._store.read(after=position, limit=1, shard=shard)
        return max(time.time() - after[0].recorded_at / 1e6, 0.0) if after else 0.0

    def _run(self) -> None:
        more, took = True, 0.0
        while not self._stopping.is_set():
            if not more:
                self._news.wait(FALLBACK)
                self._urgent.wait(linger(took))
                self._news.clear()
            began = time.monotonic()
            more = self._round()
            took = time.monotonic() - began

    def _round(self) -> bool:
        """One step, whatever comes of it; whether to go on at once."""
        try:
            more = self.step()
        except Exception as error:
            self._trouble = f"waits to try again: {error}"
            if isinstance(error, StoreUnavailable):
                log.warning("the projections wait for the database: %s", error)
            else:
                log.exception("the projections cannot go on, and try again")
            self._stopping.wait(TROUBLE)
            return True
        self._trouble = None
        return more
