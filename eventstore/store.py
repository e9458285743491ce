"""The promise: what every event store keeps, whichever database is under it. Knows streams and JSON, not tasks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct

Scalar = str | int | float | bytes | None
Row = Mapping[str, Scalar]
T = TypeVar("T")


class NewEvent(Struct, frozen=True, kw_only=True, gc=False):
    """An event to be appended. `data` and `meta` are JSON text and are kept to the byte."""

    stream: str
    type: str
    data: str
    schema: int = 1
    run_id: str | None = None
    subject: str | None = None  # what the event is about within its run: folds read it without decoding `data`
    from_state: str | None = None
    to_state: str | None = None
    meta: str = "{}"


class Recorded(NamedTuple):
    """An event as the log holds it. `recorded_at` is in microseconds since 1970, UTC."""

    shard: int
    position: int  # 1, 2, 3 ... in its shard, no gaps
    stream: str
    version: int  # 1, 2, 3 ... in its stream
    run_id: str | None
    run_version: int | None  # 1, 2, 3 ... over a run and all its tasks
    type: str
    schema: int
    subject: str | None
    from_state: str | None
    to_state: str | None
    data: str
    meta: str
    recorded_at: int
    leaf: bytes


# Of an event, what folds need: stream, run version, type, schema, subject, data, recorded at (microseconds UTC).
Told = tuple[str, int, str, int, str | None, str, int]


class Put(Struct, frozen=True, gc=False):
    """One row of an inline table, written in the same transaction; replaces the row with the same key.

    In the insert-only tables (schema.INSERT_ONLY) a second row with the same key is a VersionConflict, except in
    `content`, where the key is the hash of the rest and a repeat is harmless. `new` promises that no row with this key
    is committed: one that the same batch deletes again leaves nothing to delete.
    """

    table: str
    row: Row
    new: bool = False


class Delete(Struct, frozen=True, gc=False):
    """Removes the row of an inline table that has this key; harmless when there is none."""

    table: str
    key: Row


class VersionConflict(Exception):
    """Somebody was quicker: the stream (or run) is not at the version that was expected.

    Both versions are None when it is a command, a decision ... that is there already.
    """

    def __init__(self, what: str, expected: int | None, actual: int | None) -> None:
        super().__init__(
            f"{what} is there already" if expected is None else f"{what} is at {actual}, not at {expected}"
        )
        self.what, self.expected, self.actual = what, expected, actual


class StoreBroken(Exception):
    """What the store holds cannot be what this program wrote, or not be read by it. Stops the reader; never skipped."""


class StoreDamaged(StoreBroken):
    """The database finds its own files damaged. What it still answers is true as far as it can tell."""


class StoreUnavailable(Exception):
    """The database is away, or did not answer in time. Only `Store.command` tells whether a commit came through."""


class StoreBusy(StoreUnavailable):
    """More jobs wait than the store takes. This one was not taken: nothing of it has happened."""


class Append(Protocol):
    """An open append: the shard is locked, nothing is committed. All that one batch adds has one time, `now`."""

    @property
    def now(self) -> int:
        """Microseconds UTC by the database's clock, read after the lock; never before the shard's last event."""
        ...

    @property
    def clock(self) -> int:
        """Microseconds UTC by the database's clock, read after the lock; unlike `now` it goes back when it is set."""
        ...

    @property
    def head(self) -> int:
        """The shard's last position, what this batch has added included."""
        ...

    def version(self, stream: str) -> int:
        """How many events the stream has, 0 when it is new, what this batch has added included."""
        ...

    def run_version(self, run_id: str) -> int: ...

    def add(
        self,
        events: Sequence[NewEvent],
        rows: Sequence[Put | Delete] = (),
        *,
        expect: Mapping[str, int] | None = None,
        expect_runs: Mapping[str, int] | None = None,
        command_id: str | None = None,
    ) -> Sequence[Recorded]:
        """Take the events and rows into the batch, all or none. Positions and versions are final if it commits.

        `expect` holds versions of streams, `expect_runs` of runs, as they must be before; 0 says that it is new (and
        spares the look). Raises VersionConflict. `command_id` is kept with the events, see `Store.command`; a job may
        add under it several times.
        """
        ...

    def record(self, event: NewEvent, rows: Sequence[Put | Delete] = (), *, command_id: str | None = None) -> Recorded:
        """As `add` of one event that nothing is expected of; the rows are of different keys."""
        ...

    def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """Committed events of this shard, by position."""
        ...

    def stream(self, stream: str) -> Sequence[Recorded]:
        """The stream's events, what this batch has added included; so with `run` and `command`."""
        ...

    def streams(self, prefix: str) -> Iterator[Recorded]:
        """Committed events of all streams whose name begins with `prefix`, each stream's in order."""
        ...

    def run(self, run_id: str) -> Iterator[Recorded]: ...

    def told(self, run_id: str, *, after: int = 0) -> Iterator[Told]:
        """The same events from `after` + 1 on, of each only what a fold needs: a third of the price."""
        ...

    def command(self, command_id: str) -> Sequence[Recorded]: ...

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        """Committed rows of an inline table."""
        ...

    def on_commit(self, then: Callable[[], None]) -> None:
        """Call `then` once the batch has committed, before any of its futures is answered. It must not raise.

        Also when the job that asked for it was refused and the batch went on without it.
        """
        ...


class Store(Protocol):
    """Remembers. Every method may be called from any thread."""

    @property
    def shards(self) -> int: ...

    def append(self, job: Callable[[Append], T], *, shard: int = 0) -> Future[T]:
        """Run `job` on an open append and commit what it added; the future holds its answer, after the commit.

        Jobs wait at their shard; whoever finds it idle runs all that wait, in order, in one transaction (at most 500).
        A job that raises adds nothing and its future raises; its neighbours are not touched. A job may be run more
        than once (a neighbour broke the batch), so it keeps no state that a commit has not confirmed. A future that is
        cancelled before its job runs drops the job. Raises StoreUnavailable; StoreBusy at once, when too many wait.
        """
        ...

    def head(self, *, shard: int = 0) -> int: ...

    def read(self, *, after: int = 0, limit: int = 1000, shard: int = 0) -> Sequence[Recorded]:
        """Events by position. A reader that asks on from the last position it saw never misses one."""
        ...

    def stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> Sequence[Recorded]: ...

    def streams(self, prefix: str) -> Iterator[Recorded]:
        """The events of all streams whose name begins with `prefix`, each stream's in order."""
        ...

    def run(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """The events of a run and of its tasks by run version, from `after` + 1 to `upto`, in bounded memory."""
        ...

    def told(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[Told]:
        """The same events, of each only what a fold needs: a third of the price."""
        ...

    def command(self, command_id: str, *, shard: int = 0) -> Sequence[Recorded]:
        """The events that a command left, in order; none when it left none."""
        ...

    def select(self, table: str, **equals: Scalar) -> Sequence[Row]:
        """Rows of an inline table with these values, ordered by key."""
        ...

    def content(self, digest: str) -> str | None:
        """The JSON text kept under its SHA-256."""
        ...

    def subscribe(self, call: Callable[[int, int], None]) -> Callable[[], None]:
        """Call `call(shard, head)` soon after each commit, also of other processes. Returns what ends it.

        A wake-up, not a delivery: calls may be merged; the log is the truth. `call` must be quick and must not raise.
        """
        ...

    def close(self) -> None: ...


def append(
    store: Store,
    events: Sequence[NewEvent],
    rows: Sequence[Put | Delete] = (),
    *,
    expect: Mapping[str, int] | None = None,
    expect_runs: Mapping[str, int] | None = None,
    command_id: str | None = None,
    shard: int = 0,
) -> Future[Sequence[Recorded]]:
    """The plain append: these events and rows, all or none. The future raises VersionConflict."""
    return store.append(
        lambda batch: batch.add(events, rows, expect=expect, expect_runs=expect_runs, command_id=command_id),
        shard=shard,
    )
