"""Runs of kind custom: tasks whose processes made others, listed among the runs with what they made as their steps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from domain.lifecycle import STEP_STATES
from projections.listing import (
    Conditions,
    Listing,
    Row,
    as_in_rows,
    chosen,
    cursor_of,
    equal,
    literals_of,
    one_of,
    opened,
    some_of,
    tagged_with,
    unpacked,
)
from projections.tables import made_row, origin_row, run_row, task_row, task_tag

KIND = "custom"
MOST_AT_ONCE = 500  # ids in a statement
# Of a task, as a run's, and of what was made, as a step's. What is not named is called the same.
AS_RUN: Mapping[str, str] = {"in_progress": "running", "published": "completed"}
AS_STEP: Mapping[str, str] = {**AS_RUN, "created": "pending", "paused": "waiting"}


def custom_runs(
    connection: Connection,
    *,
    project: str | None,
    name: str | None,
    statuses: Collection[str],
    tags: Collection[str],
    parent: str | None,
    origin: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Row], bool]:
    """The newest of them with all of these, and whether there are more; `position` is that of the list of runs."""
    task = task_row.c
    where: Conditions = [
        *chosen(task.project, project),
        *chosen(task.name, name),
        *one_of(task.status, _as_of_tasks(statuses)),
        *equal(task.run_id, parent),
        *tagged_with(task.id, task_tag.c.task_id, task_tag.c.tag, tags),
    ]
    if parent is None and origin is None:
        where.append(task.run_id.is_(None))  # what a step has made is seen in its run's tree
    if origin is not None:
        where.append(task.id.in_(select(made_row.c.id).where(made_row.c.origin == as_in_rows(origin))))
    key = (origin_row.c.position, origin_row.c.id)
    if cursor is not None:
        where.append(tuple_(*key) < literals_of(opened(cursor, int, str)))
    query = _query(where).order_by(*(column.desc() for column in key)).limit(limit + 1)
    rows, more = some_of(connection, query, limit)
    return _as_runs(connection, rows), more


def custom_run(connection: Connection, task_id: str) -> Row | None:
    """The task as a run; None when its process has made nothing."""
    rows = _as_runs(connection, unpacked(connection, _query([origin_row.c.id == as_in_rows(task_id)])))
    return rows[0] if rows else None


def made(connection: Connection, origin: str, *, limit: int = 50, cursor: str | None = None) -> Listing:
    """What was made from inside the process of `origin`, oldest first: `status` is a step's, `kind` task or run.

    Raises Invalid for a bad cursor.
    """
    key = (made_row.c.position, made_row.c.id)
    query = select(made_row).where(made_row.c.origin == as_in_rows(origin)).order_by(*key).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(*key) > literals_of(opened(cursor, int, str)))
    rows, more = some_of(connection, query, limit)
    following = cursor_of(rows[-1]["position"], rows[-1]["id"]) if more else None
    tasks, runs = (_by_id(connection, table, rows) for table in (task_row, run_row))
    found: list[Row] = []
    for row in rows:
        known = (runs if row["kind"] == "run" else tasks).get(row["id"])
        if known is not None:
            status = AS_STEP.get(known["status"], known["status"])
            found.append({**known, "kind": row["kind"], "status": status})
    return found, following


def _query(where: Conditions) -> Select[Any]:
    return (
        select(task_row, origin_row.c.position.label("place"))
        .join(origin_row, origin_row.c.id == task_row.c.id)
        .where(*where)
    )


def _as_of_tasks(statuses: Collection[str]) -> list[str]:
    """The statuses of tasks that are shown as these of runs."""
    backwards = [task for task, run in AS_RUN.items() if run in statuses]
    return [*backwards, *statuses] if statuses else []


def _by_id(connection: Connection, table: Any, rows: Sequence[Row]) -> Mapping[str, Row]:
    found = unpacked(connection, select(table).where(table.c.id.in_([row["id"] for row in rows])))
    return {row["id"]: row for row in found}


def _as_runs(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    ids = [row["id"] for row in rows]
    counts, origins = _counts(connection, ids), _origins(connection, ids)
    return [
        {
            "id": row["id"],
            "position": row["place"],
            "version": row["version"],
            "name": row["name"],
            "project": row["project"],
            "kind": KIND,
            "pipeline_id": None,
            "pipeline_version": "",
            "number": 0,
            "origin": origins.get(row["id"]),
            "parent_run": row["run_id"],
            "parent_step": row["step"],
            "cache": "use",
            "status": AS_RUN.get(row["status"], row["status"]),
            "reason": row["reason"],
            "parameters": {},
            "tags": row["tags"],
            "default_queue": row["queue"],
            "step_counts": {**dict.fromkeys(STEP_STATES, 0), **counts.get(row["id"], {})},
            "host": None,
            "open_hooks": 0,
            "artifacts": [],
            "created_at": row["created_at"],
            "started_at": row["started_at"],
            "ended_at": row["ended_at"],
            "warnings": [],
        }
        for row in rows
    ]


def _counts(connection: Connection, ids: Collection[str]) -> Mapping[str, Mapping[str, int]]:
    """{origin: {status of a step: how many of what it made have it}}"""
    found: dict[str, dict[str, int]] = {}
    for table in (task_row, run_row):
        status: ColumnElement[str] = table.c.status
        query = (
            select(made_row.c.origin, status, func.count())
            .join(table, table.c.id == made_row.c.id)
            .where(made_row.c.origin.in_(ids))
            .group_by(made_row.c.origin, status)
        )
        for origin, known, count in connection.execute(query):
            of = found.setdefault(origin, {})
            of[AS_STEP.get(known, known)] = of.get(AS_STEP.get(known, known), 0) + count
    return found


def _origins(connection: Connection, ids: Collection[str]) -> Mapping[str, str]:
    """{id: who made it}"""
    query = select(made_row.c.id, made_row.c.origin).where(made_row.c.id.in_(ids)).order_by(made_row.c.position.desc())
    return {row.id: row.origin for row in connection.execute(query)}


def customs_among(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids whose processes have made something."""
    known = list(ids)
    found: set[str] = set()
    for start in range(0, len(known), MOST_AT_ONCE):
        some = known[start : start + MOST_AT_ONCE]
        found.update(connection.execute(select(origin_row.c.id).where(origin_row.c.id.in_(some))).scalars())
    return found
