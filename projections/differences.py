"""Whether the rows of one run are what its events say: they are folded again, beside the tables, and compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, Table

from domain.task import TaskAdopted
from eventstore.sql import SqlStore
from eventstore.store import Recorded, StoreBroken
from projections import checkpoints
from projections.pages import as_logged, contents_on, decoded
from projections.projection import Projection
from projections.runs import Runs
from projections.sheet import Desk, Key, Row, Sheet
from projections.tables import run_row, run_tag, step_row, task_row, task_tag, timeline
from projections.tasks import Tasks
from projections.timeline import Timeline

PAGE = 20_000
OF_RUNS: tuple[Projection, ...] = (Runs(), Tasks(), Timeline())


@dataclass(frozen=True, slots=True)
class Difference:
    """A value in a table that is not what the events say. Where a whole row is missing or extra, `column` is empty."""

    table: str
    key: str
    column: str
    expected: object
    found: object


def differences(store: SqlStore, run_id: str) -> list[Difference]:
    """What the tables say of a run and its tasks otherwise than its events up to where each projection has come.

    Raises StoreBroken when an event cannot be read.
    """
    with store.database.reading() as connection:
        upto = {(seen.name, seen.shard): seen.position for seen in checkpoints.of(connection)}
        desk = _folded(store, run_id, upto, connection)
        return [
            difference
            for table in (run_row, run_tag, step_row, task_row, task_tag, timeline)
            for difference in _compared(table, desk.sheet(table).rows, _stored(connection, table, run_id, desk).rows)
        ]


def _folded(store: SqlStore, run_id: str, upto: Mapping[tuple[str, int], int], connection: Connection) -> Desk:
    """The rows as they should be."""
    desk = Desk(contents_on(connection))
    reads = frozenset[type]().union(*(one.reads for one in OF_RUNS))
    for page in _pages(store.run(run_id)):
        events, unreadable = decoded(list(map(as_logged, [*_before_adoption(store, page), *page])), reads)
        for position, kind, why in unreadable:
            raise StoreBroken(f"event {position} ({kind}): {why}")
        for one in OF_RUNS:
            last = upto.get((one.name, page[0].shard), 0)
            one.fold(events.read_by(one.reads, before=last + 1), desk)
    return desk


def _before_adoption(store: SqlStore, page: list[Recorded]) -> list[Recorded]:
    """What had happened to the drafts that became tasks of steps: their rows began with that."""
    adopted = [row for row in page if row.type == TaskAdopted.__name__]
    return [before for row in adopted for before in store.stream(row.stream, limit=row.version - 1)]


def _pages(events: Iterator[Recorded]) -> Iterator[list[Recorded]]:
    while page := list(islice(events, PAGE)):
        yield page


def _stored(connection: Connection, table: Table, run_id: str, desk: Desk) -> Sheet:
    """The rows that say they are the run's, and those that should."""
    stored = Sheet(table)
    if table is task_tag:
        stored.load(connection, "task_id", [str(row["id"]) for row in desk.sheet(task_row).rows.values()])
        return stored
    stored.load(connection, "id" if table is run_row else "run_id", [run_id])
    own = next(iter(table.primary_key)).name
    missing = {row[own] for key, row in desk.sheet(table).rows.items() if key not in stored.rows}
    if table is not run_tag:
        stored.load(connection, own, missing)
    return stored


def _compared(table: Table, expected: Mapping[Key, Row], found: Mapping[Key, Row]) -> Iterator[Difference]:
    for key, row in expected.items():
        if key not in found:
            yield Difference(table.name, _name(key), "", row, None)
            continue
        for column, value in row.items():
            if found[key][column] != value:
                yield Difference(table.name, _name(key), column, value, found[key][column])
    for key in found.keys() - expected.keys():
        yield Difference(table.name, _name(key), "", None, found[key])


def _name(key: Key) -> str:
    return key if isinstance(key, str) else "/".join(map(str, key))
