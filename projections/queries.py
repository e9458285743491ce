"""What lists are answered from: rows as plain dicts, with times in microseconds and JSON unpacked.

Lists are newest first and are read on from a cursor: a key, not a count, so that no row is missed or told twice when
others come in between. A `limit` is at least 1.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, func, literal, literal_column, select, tuple_

from domain.lifecycle import RUN_ENDED, STEP_STATES
from eventstore.schema import lease
from projections import tables
from projections.custom import KIND, custom_runs
from projections.listing import (
    Listing,
    Row,
    as_in_rows,
    chosen,
    cursor_of,
    equal,
    literals_of,
    newest,
    one_of,
    opened,
    some_of,
    tagged_with,
    unpacked,
    without,
)
from projections.tables import (
    agent_row,
    model_row,
    model_tag,
    pipeline_row,
    queue_row,
    run_row,
    run_tag,
    step_row,
    task_row,
    task_tag,
)

# Literals: a partial index is only used where the query says the same words.
QUEUED = task_row.c.status == literal_column("'queued'")
HOST_QUEUED = run_row.c.host_queued_at.is_not(None)
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
        *chosen(task.project, project),
        *chosen(task.name, name),
        *chosen(task.parent, parent),
        *one_of(task.status, statuses),
        *one_of(task.type, types),
        *equal(task.run_id, run_id),
        *equal(task.step, step),
        *tagged_with(task.id, task_tag.c.task_id, task_tag.c.tag, tags),
    ]
    rows, following = newest(connection, select(task_row).where(*where), task.position, task.id, limit, cursor)
    return [without(row, "position") for row in rows], following


def runs(
    connection: Connection,
    *,
    project: str | None = None,
    name: str | None = None,
    statuses: Collection[str] = (),
    tags: Collection[str] = (),
    pipeline_id: str | None = None,
    kind: str | None = None,
    parent: str | None = None,
    origin: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Runs with all of these; of several statuses or tags one is enough. Raises Invalid for a bad cursor."""
    run = run_row.c
    where = [
        *chosen(run.project, project),
        *chosen(run.name, name),
        *one_of(run.status, statuses),
        *equal(run.pipeline_id, pipeline_id),
        *equal(run.kind, kind),
        *equal(run.parent_run, parent),
        *equal(run.origin, origin),
        *tagged_with(run.id, run_tag.c.run_id, run_tag.c.tag, tags),
    ]
    rows, following = newest(connection, select(run_row).where(*where), run.position, run.id, limit, cursor)
    heard = heard_queues(connection)
    found, more = [_run(row, heard) for row in rows], following is not None
    if kind in (None, KIND) and pipeline_id is None:
        custom, more_of_them = custom_runs(
            connection,
            project=project,
            name=name,
            statuses=statuses,
            tags=tags,
            parent=parent,
            origin=origin,
            limit=limit,
            cursor=cursor,
        )
        # Each of the two is the newest of its kind: so are the first of both together.
        found = sorted([*found, *custom], key=lambda row: (row["position"], row["id"]), reverse=True)
        more, found = more or more_of_them or len(found) > limit, found[:limit]
    following = cursor_of(found[-1]["position"], found[-1]["id"]) if more else None
    return [without(row, "position") for row in found], following


def steps(connection: Connection, run_id: str, *, limit: int = 50, cursor: str | None = None) -> Listing:
    """The steps of a run in the order of definition. Raises Invalid for a bad cursor."""
    step = step_row.c
    query = select(step_row).where(step.run_id == as_in_rows(run_id)).order_by(step.number).limit(limit + 1)
    if cursor is not None:
        [after] = opened(cursor, int)
        query = query.where(step.number > after)
    rows, more = some_of(connection, query, limit)
    following = cursor_of(rows[-1]["number"]) if more else None
    hidden = ("id", "number", "child_run", "time_limit", "timed_out", "draft", "done", "asks_created", "was_asked")
    return [{**without(row, *hidden), "run_id": row["child_run"]} for row in rows], following


def timeline(connection: Connection, run_id: str, *, limit: int = 1000, cursor: str | None = None) -> Listing:
    """Every stay in a queue and every attempt of a run's tasks, in the order they began; `agent` is a name."""
    stay = tables.timeline.c
    key = (stay.started_at, stay.task_id, stay.version)
    query = (
        select(tables.timeline, agent_row.c.name.label("agent"))
        .outerjoin(agent_row, agent_row.c.id == stay.agent_id)
        .where(stay.run_id == as_in_rows(run_id))
        .order_by(*key)
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(tuple_(*key) > literals_of(opened(cursor, int, str, int)))
    rows, more = some_of(connection, query, limit)
    following = cursor_of(*(rows[-1][column.name] for column in key)) if more else None
    return [without(row, "version") for row in rows], following


def queues(connection: Connection, name: str | None = None) -> list[Row]:
    """All queues, or the one of this name, by name: how many wait, since when the oldest, who listens; and `paused`."""
    query = select(queue_row).order_by(queue_row.c.name)
    if name is not None:
        query = query.where(queue_row.c.name == as_in_rows(name))
    lengths = _lengths(connection, name)
    listeners = _listeners(connection)
    found: list[Row] = []
    for row in unpacked(connection, query):
        length, oldest = lengths.get(row["name"], (0, None))
        agents = listeners.get(row["name"], [])
        paused = None
        if row["paused_at"] is not None:
            paused = {"actor": row["paused_by"], "reason": row["pause_reason"], "since": row["paused_at"]}
        shown = {"name": row["name"], "created_at": row["created_at"], "length": length, "agents": agents}
        found.append({**shown, "oldest_enqueued_at": oldest, "paused": paused})
    return found


def _lengths(connection: Connection, name: str | None) -> Mapping[str, tuple[int, int | None]]:
    """{queue: how many tasks and hosts of runs wait in it, and since when the oldest}."""
    task, run = task_row.c, run_row.c
    found: dict[str, tuple[int, int | None]] = {}
    for queue, since, where in (
        (task.queue, task.queued_at, QUEUED),
        (run.host_queue, run.host_queued_at, HOST_QUEUED),
    ):
        waiting = select(queue, func.count(), func.min(since)).where(where).group_by(queue)
        if name is not None:
            waiting = waiting.where(queue == as_in_rows(name))
        for one, length, oldest in connection.execute(waiting):
            more, older = found.get(one, (0, None))
            found[one] = (length + more, oldest if older is None else min(oldest, older))
    return found


def agents(connection: Connection, agent_id: str | None = None) -> list[Row]:
    """All agents, or the one with this id, newest first: what they run, and when each was last heard of."""
    task, run, agent = task_row.c, run_row.c, agent_row.c
    held = select(task.agent_id, func.count()).where(IN_PROGRESS).group_by(task.agent_id)
    hosts = select(run.host_agent, func.count()).where(run.host_agent.is_not(None)).group_by(run.host_agent)
    query = (
        select(agent_row, lease.c.expires_at, lease.c.seconds)
        .outerjoin(lease, lease.c.stream == literal("agent-").concat(agent.id))
        .order_by(agent.position.desc(), agent.id.desc())
    )
    if agent_id is not None:
        held, query = held.where(task.agent_id == as_in_rows(agent_id)), query.where(agent.id == as_in_rows(agent_id))
        hosts = hosts.where(run.host_agent == as_in_rows(agent_id))
    running = {row[0]: row[1] for row in connection.execute(held)}
    for holder, count in connection.execute(hosts):
        running[holder] = running.get(holder, 0) + count
    found: list[Row] = []
    for row in unpacked(connection, query):
        # The lease was last renewed when the agent was last heard of.
        heard = 0 if row["expires_at"] is None else row["expires_at"] - int(row["seconds"] * 1_000_000)
        row.update(running=running.get(row["id"], 0), last_seen_at=max(row["changed_at"], heard))
        found.append(without(row, "position", "changed_at", "expires_at", "seconds"))
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
    query = select(pipeline_row).where(*chosen(pipeline.project, project), *chosen(pipeline.name, name))
    rows, following = newest(connection, query, pipeline.position, pipeline.id, limit, cursor)
    for row in rows:
        row["version"] = row.pop("pipeline_version")
    return [without(row, "position") for row in rows], following


def models(
    connection: Connection,
    *,
    model_id: str | None = None,
    project: str | None = None,
    name: str | None = None,
    tags: Collection[str] = (),
    framework: str | None = None,
    task_id: str | None = None,
    url: str | None = None,
    published: bool | None = None,
    archived: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Models with all of these; of several tags one is enough. Raises Invalid for a bad cursor."""
    model = model_row.c
    where = [
        *equal(model.id, model_id),
        *chosen(model.project, project),
        *chosen(model.name, name),
        *equal(model.framework, framework),
        *equal(model.task_id, task_id),
        *chosen(model.url, url),
        *([] if published is None else [model.published == published]),
        *([] if archived is None else [model.archived == archived]),
        *tagged_with(model.id, model_tag.c.model_id, model_tag.c.tag, tags),
    ]
    rows, following = newest(connection, select(model_row).where(*where), model.position, model.id, limit, cursor)
    for row in rows:
        row["task"] = row.pop("task_id")
    return [without(row, "position") for row in rows], following


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


def with_host(queues: Iterable[str], host_queue: str, host_status: str) -> list[str]:
    """The queues of a run's steps, and the one in which its host waits or will wait, in order."""
    needed = host_queue and host_status in ("", "queued", "lost")
    return sorted({*queues, host_queue} if needed else queues)


HIDDEN = ("queues", "host_queue", "host_queued_at", "host_agent", "host_state", "asks_created", "hooks")


def _run(row: Row, heard: Collection[str]) -> Row:
    counts, host = row["step_counts"], row["host_state"]
    queues = with_host(row["queues"], row["host_queue"], host["status"] if host else "")
    return {
        **without(row, *HIDDEN),
        "host": host,
        "open_hooks": len(row["hooks"]),
        "step_counts": {status: counts[status] for status in STEP_STATES},
        "warnings": [] if row["status"] in RUN_ENDED else warnings(queues, heard),
    }
