"""The work of following the log, one step at a time: pages are read, folded, and written with their checkpoints.

A page is read and decoded once for all projections at the same place. It is folded on a reading connection, and only
then are the rows and checkpoints of all projections written, in one short transaction: on SQLite the commands wait for
it. It does not wait for the disk, in either database. A power cut may take it back, but rows and checkpoint together,
and never what was committed before it, the events among that: what is gone is then folded again.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError

from eventstore import points
from eventstore.sql import SqlStore
from eventstore.store import StoreUnavailable
from projections import checkpoints
from projections.checkpoints import Checkpoint
from projections.pages import Folded, Logged, decoded, fold, read
from projections.projection import Projection

log = logging.getLogger(__name__)

PAGE = 2_500
REBUILD_PAGE = 5_000


class Following:
    """Not for two threads at once; other processes may follow the same log."""

    def __init__(self, store: SqlStore, projections: Sequence[Projection]) -> None:
        self.failed: dict[str, str] = {}  # why the last rebuild of a projection ended without success
        self._store = store
        self._projections = {one.name: one for one in projections}
        self._seen: Mapping[tuple[str, int], Checkpoint] = {}
        self._next: dict[str, tuple[int, Mapping[str, Table]]] = {}

    @property
    def ready(self) -> bool:
        """Whether the tables and checkpoints are there, as far as is known here."""
        return bool(self._seen)

    def position(self, name: str, shard: int) -> int:
        """How far the rows of this projection are, as far as is known here."""
        seen = self._seen.get((name, shard))
        return seen.position if seen else 0

    def stopped(self, name: str) -> str | None:
        """Why this projection goes no further, as far as is known here; None while it follows or is made anew."""
        found = (seen.error for seen in self._of(name) if seen.error is not None)
        return None if self.rebuilding(name) else next(found, None)

    def rebuilding(self, name: str) -> bool:
        return any(seen.next_position is not None for seen in self._of(name))

    def prepare(self) -> None:
        """Make the tables and checkpoints that are missing, and anew those that other code made."""
        with self._store.database.writing() as connection:
            checkpoints.prepare(connection, list(self._projections.values()), self._store.shards)
            seen = checkpoints.of(connection)
        self._learn(seen)

    def step(self) -> bool:
        """Take the next page of each projection and of each rebuild. Returns whether there is more to do at once."""
        if not self.ready:
            self.prepare()
        try:
            return self._step()
        except BaseException:
            self._seen = {}  # a commit may have gone either way, a table may be gone
            raise

    def begin_rebuild(self, name: str) -> None:
        """Begin to make the rows anew, from position 0, or go on with it. Raises KeyError for an unknown name."""
        one = self._projections[name]
        if not self.ready:
            self.prepare()
        self.failed.pop(name, None)
        with self._store.database.writing() as connection:
            checkpoints.begin_rebuild(connection, one)
            seen = checkpoints.of(connection)
        self._learn(seen)

    def _step(self) -> bool:
        before = self._seen
        more = [self._follow(shard) for shard in range(self._store.shards)]
        more += [self._go_on_rebuilding(one) for one in self._projections.values() if self.rebuilding(one.name)]
        if before is self._seen and self._store.database.shared:
            self._look()  # another process may have gone on, or have begun a rebuild
        return any(more)

    # The log, as it grows

    def _follow(self, shard: int) -> bool:
        more = False
        for position, group in self._at_work(shard).items():
            page = read(self._store.database, shard, position, PAGE)
            if page:
                self._take(group, shard, page)
            more = more or len(page) == PAGE
        return more

    def _at_work(self, shard: int) -> Mapping[int, Sequence[Projection]]:
        """Those that follow, by the position they are at: mostly all at the same."""
        groups: dict[int, list[Projection]] = {}
        for one in self._projections.values():
            seen = self._seen.get((one.name, shard))
            # Another version of this program may have taken it over.
            if seen is not None and seen.error is None and seen.version == one.version:
                groups.setdefault(seen.position, []).append(one)
        return groups

    def _take(self, group: Sequence[Projection], shard: int, page: Sequence[Logged]) -> None:
        events = decoded(page, frozenset[type]().union(*(one.reads for one in group)))
        with self._store.database.reading() as connection:
            folded = [(self._seen[one.name, shard], fold(one, page, events, connection)) for one in group]
        points.reach("page.folded")
        with self._store.database.writing(durable=False) as connection:
            known = checkpoints.of(connection, lock=True)
            moved = _written(connection, [(seen, result) for seen, result in folded if seen in known])
            points.reach("page.written")
            checkpoints.put(connection, moved)
        points.reach("page.kept")
        self._learn([*known, *moved])

    # Rebuilds

    def _go_on_rebuilding(self, one: Projection) -> bool:
        reached = True
        for seen in self._of(one.name):
            page = read(self._store.database, seen.shard, seen.next_position or 0, REBUILD_PAGE)
            if page and not self._take_anew(one, seen, page):
                return False
            reached = reached and len(page) < REBUILD_PAGE
        if reached:
            with self._store.database.writing() as connection:
                changed = checkpoints.change_over(connection, one)
                seen = checkpoints.of(connection)
            self._learn(seen)
            return not changed
        return True

    def _take_anew(self, one: Projection, seen: Checkpoint, page: Sequence[Logged]) -> bool:
        """False when the rebuild has come to its end here."""
        with self._store.database.reading() as connection:
            result = fold(one, page, decoded(page, one.reads), connection, self._next_tables(one, seen.generation))
        if result.error is not None:
            return self._give_up(one, result.error)
        try:
            with self._store.database.writing(durable=False) as connection:
                known = checkpoints.of(connection, lock=True)
                moved = [replace(seen, next_position=result.upto)] if seen in known else []
                if moved:
                    result.desk.write(connection)
                checkpoints.put(connection, moved)
        except Exception as error:
            if _passes(error):
                raise
            return self._give_up(one, f"stopped before event {result.upto}: {_line(error)}")
        self._learn([*known, *moved])
        return True

    def _give_up(self, one: Projection, why: str) -> bool:
        log.error("the rebuild of projection %s %s", one.name, why)
        self.failed[one.name] = why
        with self._store.database.writing() as connection:
            checkpoints.end_rebuild(connection, one)
        self._look()
        return False

    def _next_tables(self, one: Projection, generation: int) -> Mapping[str, Table]:
        known = self._next.get(one.name)
        if known is None or known[0] != generation:
            known = self._next[one.name] = (generation, checkpoints.next_tables(one, generation))
        return known[1]

    # What is known of the checkpoints

    def _of(self, name: str) -> list[Checkpoint]:
        return [seen for (known, _), seen in self._seen.items() if known == name]

    def _look(self) -> None:
        with self._store.database.reading() as connection:
            seen = checkpoints.of(connection)
        self._learn(seen)

    def _learn(self, seen: Sequence[Checkpoint]) -> None:
        learnt = {(one.name, one.shard): one for one in seen}
        wanted = {(name, shard) for name in self._projections for shard in range(self._store.shards)}
        # Nothing counts as known unless all is: whatever is missing is made by `prepare` in the next step.
        self._seen = learnt if wanted <= learnt.keys() else {}


def _written(connection: Connection, folded: Sequence[tuple[Checkpoint, Folded]]) -> list[Checkpoint]:
    """The checkpoints after the rows are written: all together, or one by one when the database refuses some."""
    if any(result.desk.changed for _, result in folded):
        try:
            with connection.begin_nested():
                for _, result in folded:
                    result.desk.write(connection)
        except Exception as error:
            if _passes(error):
                raise
            return [_written_alone(connection, seen, result) for seen, result in folded]
    return [_moved(seen, result) for seen, result in folded]


def _written_alone(connection: Connection, seen: Checkpoint, result: Folded) -> Checkpoint:
    """The checkpoint after the rows are written; where it was, with the reason, when the database refuses them."""
    try:
        with connection.begin_nested():
            result.desk.write(connection)
    except Exception as error:
        if _passes(error):
            raise
        log.exception("projection %s cannot write events %d to %d", seen.name, seen.position + 1, result.upto)
        why = f"stopped before event {seen.position + 1}: the rows up to {result.upto} were refused: {_line(error)}"
        return replace(seen, error=why)
    return _moved(seen, result)


def _moved(seen: Checkpoint, result: Folded) -> Checkpoint:
    at = seen.updated_at if result.at is None else result.at
    return replace(seen, position=result.upto, updated_at=at, error=result.error)


def _passes(error: Exception) -> bool:
    """Whether it is the database and no event: the same may go well later, or once a missing table is made again."""
    if isinstance(error, StoreUnavailable | OperationalError | InterfaceError):
        return True
    missing_table = isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", "") == "42P01"
    return missing_table or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
