"""What lists are answered from: rows as plain dicts, with times in microseconds and JSON unpacked.

Lists are newest first and are read on from a cursor: a key, not a count, so that no row is missed or told twice when
others come in between. A `limit` is at least 1.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Select, func, literal, literal_column, select, tuple_

from domain.lifecycle import RUN_ENDED, STEP_STATES
from domain.refused import Invalid
from eventstore.schema import lease
from projections import tables
from projections.tables import (
    INDEXED_LETTERS,
    JSON_COLUMNS,
    agent_row,
    beginning,
    key_of,
    pipeline_row,
    queue_row,
    run_row,
    run_tag,
    step_row,
    task_row,
    task_tag,
)

Row = dict[str, Any]
Listing = tuple[list[Row], str | None]  # the rows, and the cursor to those that follow
Conditions = list[ColumnElement[bool]]

# Literals: a partial index is only used where the query says the same words.
QUEUED = task_row.c.status == literal_column("'queued'")
IN_PROGRESS = task_row.c.status == literal_column("'in_progress'")


def position(connection: Connection, name: str, shard: int = 0) -> int:
    """How far the rows that `connection` sees are; 0 before there are any."""
    table = tables.projection
    query = select(table.c.position).where(table.c.name == name, table.c.shard == shard)
    return connection.execute(query).scalar() or 0


def tasks(
    connection: Connection,
    *,
    project: str | None = None,
    name: str | None = None,
    statuses: Collection[str] = (),
    types: Collection[str] = (),
    tags: Collection[str] = (),
    parent: str | None = None,
    run_id: str | None = None,
    step: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Tasks with all of these; of several statuses, types or tags one is enough. Raises Invalid for a bad cursor."""
    task = task_row.c
    where = [
        *_chosen(task.project, project),
        *_chosen(task.name, name),
        *_chosen(task.parent, parent),
        *_one_of(task.status, statuses),
        *_one_of(task.type, types),
        *_equal(task.run_id, run_id),
        *_equal(task.step, step),
        *_tagged(task.id, task_tag.c.task_id, task_tag.c.tag, tags),
    ]
    rows, following = _newest(connection, select(task_row).where(*where), task.position, task.id, limit, cursor)
    return [_without(row, "position") for row in rows], following


def runs(
    connection: Connection,
    *,
    project: str | None = None,
    name: str | None = None,
    statuses: Collection[str] = (),
    tags: Collection[str] = (),
    pipeline_id: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Runs with all of these; of several statuses or tags one is enough. Raises Invalid for a bad cursor."""
    run = run_row.c
    where = [
        *_chosen(run.project, project),
        *_chosen(run.name, name),
        *_one_of(run.status, statuses),
        *_equal(run.pipeline_id, pipeline_id),
        *_tagged(run.id, run_tag.c.run_id, run_tag.c.tag, tags),
    ]
    rows, following = _newest(connection, select(run_row).where(*where), run.position, run.id, limit, cursor)
    heard = heard_queues(connection)
    return [_run(row, heard) for row in rows], following


def steps(connection: Connection, run_id: str, *, limit: int = 50, cursor: str | None = None) -> Listing:
    """The steps of a run in the order of definition. Raises Invalid for a bad cursor."""
    step = step_row.c
    query = select(step_row).where(step.run_id == _text(run_id)).order_by(step.number).limit(limit + 1)
    if cursor is not None:
        [after] = _opened(cursor, int)
        query = query.where(step.number > after)
    rows, more = _some(connection, query, limit)
    following = _cursor(rows[-1]["number"]) if more else None
    return [_without(row, "id", "number", "run_id") for row in rows], following


def timeline(connection: Connection, run_id: str, *, limit: int = 1000, cursor: str | None = None) -> Listing:
    """Every stay in a queue and every attempt of a run's tasks, in the order they began; `agent` is a name."""
    stay = tables.timeline.c
    key = (stay.started_at, stay.task_id, stay.version)
    query = (
        select(tables.timeline, agent_row.c.name.label("agent"))
        .outerjoin(agent_row, agent_row.c.id == stay.agent_id)
        .where(stay.run_id == _text(run_id))
        .order_by(*key)
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(tuple_(*key) > _literals(_opened(cursor, int, str, int)))
    rows, more = _some(connection, query, limit)
    following = _cursor(*(rows[-1][column.name] for column in key)) if more else None
    return [_without(row, "version") for row in rows], following


def queues(connection: Connection, name: str | None = None) -> list[Row]:
    """All queues, or the one of this name, by name: how many tasks wait, since when the oldest, and who listens."""
    task = task_row.c
    waiting = select(task.queue, func.count(), func.min(task.queued_at)).where(QUEUED).group_by(task.queue)
    query = select(queue_row).order_by(queue_row.c.name)
    if name is not None:
        waiting, query = waiting.where(task.queue == _text(name)), query.where(queue_row.c.name == _text(name))
    lengths = {queue: (length, oldest) for queue, length, oldest in connection.execute(waiting)}
    listeners = _listeners(connection)
    found: list[Row] = []
    for row in _rows(connection, query):
        length, oldest = lengths.get(row["name"], (0, None))
        agents = listeners.get(row["name"], [])
        found.append({**_without(row, "position"), "length": length, "agents": agents, "oldest_enqueued_at": oldest})
    return found


def agents(connection: Connection, agent_id: str | None = None) -> list[Row]:
    """All agents, or the one with this id, newest first: what they run, and when each was last heard of."""
    task, agent = task_row.c, agent_row.c
    held = select(task.agent_id, func.count()).where(IN_PROGRESS).group_by(task.agent_id)
    query = (
        select(agent_row, lease.c.expires_at, lease.c.seconds)
        .outerjoin(lease, lease.c.stream == literal("agent-").concat(agent.id))
        .order_by(agent.position.desc(), agent.id.desc())
    )
    if agent_id is not None:
        held, query = held.where(task.agent_id == _text(agent_id)), query.where(agent.id == _text(agent_id))
    running = {row[0]: row[1] for row in connection.execute(held)}
    found: list[Row] = []
    for row in _rows(connection, query):
        # The lease was last renewed when the agent was last heard of.
        heard = 0 if row["expires_at"] is None else row["expires_at"] - int(row["seconds"] * 1_000_000)
        row.update(running=running.get(row["id"], 0), last_seen_at=max(row["changed_at"], heard))
        found.append(_without(row, "position", "changed_at", "expires_at", "seconds"))
    return found


def pipelines(
    connection: Connection,
    *,
    project: str | None = None,
    name: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Pipelines; `definition` is the SHA-256 of the newest. Raises Invalid for a bad cursor."""
    pipeline = pipeline_row.c
    query = select(pipeline_row).where(*_chosen(pipeline.project, project), *_chosen(pipeline.name, name))
    rows, following = _newest(connection, query, pipeline.position, pipeline.id, limit, cursor)
    for row in rows:
        row["version"] = row.pop("pipeline_version")
    return [_without(row, "position") for row in rows], following


def heard_queues(connection: Connection) -> Collection[str]:
    """The queues that an agent listens to."""
    return _listeners(connection).keys()


def warnings(queues: Sequence[str], heard: Collection[str]) -> list[str]:
    """What a run that goes on must say about the queues its steps wait in."""
    return [f"no agent listens to queue {queue!r}" for queue in queues if queue not in heard]


def _listeners(connection: Connection) -> Mapping[str, list[str]]:
    """{queue: the names of the agents online that listen to it}."""
    found: dict[str, list[str]] = {}
    online = select(agent_row.c.name, agent_row.c.queues).where(agent_row.c.status == "online")
    for name, listens_to in connection.execute(online.order_by(agent_row.c.name)):
        for queue in msgspec.json.decode(listens_to, type=list[str]):
            found.setdefault(queue, []).append(name)
    return found


def _run(row: Row, heard: Collection[str]) -> Row:
    queues, counts = row["queues"], row["step_counts"]
    return {
        **_without(row, "position", "queues"),
        "step_counts": {status: counts[status] for status in STEP_STATES},
        "warnings": [] if row["status"] in RUN_ENDED else warnings(queues, heard),
    }


# Conditions


def _chosen(column: Column[Any], value: str | None) -> Conditions:
    """The column is this text that people choose, of which the indexes hold the beginning."""
    if value is None:
        return []
    value = _text(value)
    where = [column.is_not(None), beginning(column) == value[:INDEXED_LETTERS]]
    # Said only where it says more: with both, SQLite puts the one into the other and then sees no index.
    return where if len(value) < INDEXED_LETTERS else [*where, column == value]


def _equal(column: Column[Any], value: str | None) -> Conditions:
    return [] if value is None else [column == _text(value)]


def _one_of(column: Column[Any], values: Collection[str]) -> Conditions:
    return [column.in_([_text(value) for value in values])] if values else []


def _tagged(key: Column[Any], tagged: Column[Any], tag: Column[Any], tags: Collection[str]) -> Conditions:
    return [key.in_(select(tagged).where(tag.in_([key_of(_text(one)) for one in tags])))] if tags else []


def _text(value: str) -> str:
    """As it stands in the rows, which have no NUL."""
    return value.replace("\x00", "\ufffd")


# Pages


def _newest(
    connection: Connection,
    query: Select[Any],
    position: Column[Any],
    key: Column[Any],
    limit: int,
    cursor: str | None,
) -> Listing:
    if cursor is not None:
        query = query.where(tuple_(position, key) < _literals(_opened(cursor, int, str)))
    rows, more = _some(connection, query.order_by(position.desc(), key.desc()).limit(limit + 1), limit)
    return rows, _cursor(rows[-1][position.name], rows[-1][key.name]) if more else None


def _some(connection: Connection, query: Select[Any], limit: int) -> tuple[list[Row], bool]:
    """`limit` rows of a query that asks for one more, and whether there was one."""
    rows = _rows(connection, query)
    return rows[:limit], len(rows) > limit


def _literals(values: Sequence[int | str]) -> ColumnElement[Any]:
    return tuple_(*(literal(value) for value in values))


def _cursor(*key: int | str) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _opened(cursor: str, *kinds: type) -> Sequence[int | str]:
    """The key in a cursor. Raises Invalid unless it is one of ours."""
    try:
        key: Any = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[int | str])
        sound = len(key) == len(kinds) and all(map(isinstance, key, kinds))
    except ValueError:
        key, sound = (), False
    if not sound or any(isinstance(part, int) and abs(part) >= 2**63 for part in key):
        raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor")
    return [_text(part) if isinstance(part, str) else part for part in key]


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    found = connection.execute(query)
    names = list(found.keys())
    packed = [index for index, name in enumerate(names) if name in JSON_COLUMNS]
    rows: list[Row] = []
    for values in found:
        row = dict(zip(names, values, strict=True))
        for index in packed:
            row[names[index]] = msgspec.json.decode(values[index])
        rows.append(row)
    return rows


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
