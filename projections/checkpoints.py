"""How far each projection has come: its row in `projection`, and the making, filling and changing over of its tables.

Whoever moves one on looks at it once more under its lock, so that of two processes that follow the same log one moves
it and the other one notices.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, inspect, select, text, update

from eventstore import points
from eventstore.schema import event
from projections.projection import Projection
from projections.tables import copies, projection

_PLACE = ("shard_", "position_", "next_position_", "updated_at_", "error_")
NEXT = "_next"  # what the tables of a rebuild are called by until they take their place

_PUT = (
    update(projection)
    .where(projection.c.name.in_(bindparam("names")), projection.c.shard == bindparam("shard_"))
    .values(
        position=bindparam("position_"),
        next_position=bindparam("next_position_"),
        updated_at=bindparam("updated_at_"),
        error=bindparam("error_"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`next_position` is where a rebuild under way has come to; `error` is why this one stopped."""

    name: str
    shard: int
    position: int
    version: int
    generation: int
    next_position: int | None
    updated_at: int
    error: str | None


def prepare(connection: Connection, projections: Sequence[Projection], shards: int) -> None:
    """Make what is missing, and anew what other code made. A projection that stopped may try again."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('projections'))")
    projection.create(connection, checkfirst=True)
    of(connection, lock=True)
    connection.execute(update(projection).values(error=None))
    there = set(inspect(connection).get_table_names())
    for one in projections:
        rows = of(connection, one.name)
        names = {table.name for table in one.tables}
        sound = len(rows) == shards and all(row.version == one.version for row in rows) and names <= there
        if not sound:
            _make(connection, one, shards, generation=max((row.generation for row in rows), default=0) + 1)
        elif any(row.next_position is not None for row in rows) and not {name + NEXT for name in names} <= there:
            end_rebuild(connection, one)


def of(connection: Connection, name: str | None = None, *, lock: bool = False) -> list[Checkpoint]:
    """The checkpoints of this projection, or of all; `lock` keeps others from moving them until the commit."""
    query = select(projection).order_by(projection.c.name, projection.c.shard)
    if name is not None:
        query = query.where(projection.c.name == name)
    if lock:
        query = query.with_for_update()
    return [Checkpoint(**row) for row in connection.execute(query).mappings()]


def put(connection: Connection, moved: Sequence[Checkpoint]) -> None:
    """Write down how far these are now: with one statement for all that have come to the same place."""
    names: dict[tuple[int, int, int | None, int, str | None], list[str]] = defaultdict(list)
    for one in moved:
        names[one.shard, one.position, one.next_position, one.updated_at, one.error].append(one.name)
    for place, alike in names.items():
        connection.execute(_PUT, {"names": alike, **dict(zip(_PLACE, place, strict=True))})


def next_tables(one: Projection, generation: int) -> Mapping[str, Table]:
    """Where the rebuild of the `generation`th tables writes the next ones."""
    return copies(one.tables, generation + 1, NEXT)


def begin_rebuild(connection: Connection, one: Projection) -> list[Checkpoint]:
    """Empty tables beside those in use, to be filled from position 0; the checkpoints. Goes on with one under way."""
    rows = of(connection, one.name, lock=True)
    if any(row.next_position is None for row in rows):
        end_rebuild(connection, one)
        for table in next_tables(one, rows[0].generation).values():
            table.create(connection)
        connection.execute(update(projection).where(projection.c.name == one.name).values(next_position=0))
    return [row if row.next_position is not None else replace(row, next_position=0) for row in rows]


def end_rebuild(connection: Connection, one: Projection) -> None:
    """Throw away what a rebuild has made so far."""
    of(connection, one.name, lock=True)
    for table in next_tables(one, 0).values():
        table.drop(connection, checkfirst=True)
    connection.execute(update(projection).where(projection.c.name == one.name).values(next_position=None))


def change_over(connection: Connection, one: Projection) -> bool:
    """Put the rebuilt tables in the place of those in use; False when they are not as far yet."""
    rows = of(connection, one.name, lock=True)
    if any(row.next_position is None or row.next_position < row.position for row in rows):
        return False
    for table in one.tables:
        table.drop(connection)
        connection.execute(text(f"ALTER TABLE {table.name}{NEXT} RENAME TO {table.name}"))
    points.reach("rebuild.renamed")
    last_event = (
        select(event.c.recorded_at)
        .where(event.c.shard == projection.c.shard, event.c.position == projection.c.next_position)
        .scalar_subquery()
    )
    connection.execute(
        update(projection)
        .where(projection.c.name == one.name)
        .values(
            position=projection.c.next_position,
            next_position=None,
            generation=projection.c.generation + 1,
            updated_at=func.coalesce(last_event, projection.c.updated_at),
            error=None,
        )
    )
    return True


def _make(connection: Connection, one: Projection, shards: int, *, generation: int) -> None:
    end_rebuild(connection, one)
    for table in copies(one.tables, generation).values():
        table.drop(connection, checkfirst=True)
        table.create(connection)
    connection.execute(delete(projection).where(projection.c.name == one.name))
    for shard in range(shards):
        first = Checkpoint(
            name=one.name,
            shard=shard,
            position=0,
            version=one.version,
            generation=generation,
            next_position=None,
            updated_at=0,
            error=None,
        )
        connection.execute(insert(projection).values(asdict(first)))
