"""The list of tasks: one row each, as domain.task folds it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Table

from domain.task import (
    ArtifactAdded,
    ModelAdded,
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEdited,
    TaskEnqueued,
    TaskFailed,
    TaskPublished,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
)
from eventstore.codec import encode
from projections.projection import Entry, Page, begun_before, never_created
from projections.sheet import Desk, Row, Sheet
from projections.tables import key_of, task_row, task_tag

KINDS = (
    TaskCreated,
    TaskEdited,
    TaskEnqueued,
    TaskDequeued,
    TaskStarted,
    TaskStopRequested,
    TaskRequeued,
    TaskStopped,
    TaskFailed,
    TaskCompleted,
    TaskReset,
    TaskPublished,
    ArtifactAdded,
    ModelAdded,
)


class _Tagged(msgspec.Struct):
    """The only part of a task's content that its row shows."""

    tags: Any = None


_tagged = msgspec.json.Decoder(_Tagged)


class Tasks:
    name = "tasks"
    version = 1
    tables: Sequence[Table] = (task_row, task_tag)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        known = begun_before(page.entries, KINDS)
        rows = desk.load(task_row.c.id, known)
        retagged = {entry.id for entry in page.entries if isinstance(entry.event, TaskEdited) and _retags(entry.event)}
        tags = desk.load(task_tag.c.task_id, known & retagged)
        contents = desk.contents(
            {entry.event.content for entry in page.entries if isinstance(entry.event, TaskCreated)}
        )
        for entry in page:
            if isinstance(entry.event, TaskCreated):
                row = _created(entry, entry.event, contents)
                rows.put(row)
                _index_tags(tags, entry.id, (), msgspec.json.decode(row["tags"]))
                continue
            row = rows.change(entry.id)
            if row is None:
                raise never_created(entry, "task")
            row["version"] = entry.version
            if isinstance(entry.event, TaskEdited):
                _edit(row, entry.event, tags)
            else:
                _evolve(row, entry.event, entry.at)


@lru_cache(maxsize=256)
def _tags_in(content: str) -> list[str]:
    return _as_tags(_tagged.decode(content).tags)


def _created(entry: Entry, event: TaskCreated, contents: Mapping[str, str]) -> Row:
    tags = _tags_in(contents[event.content])
    if event.overrides is not None and "tags" in event.overrides.task:
        tags = _as_tags(event.overrides.task["tags"])
    return {
        "id": entry.id,
        "position": entry.position,
        "version": entry.version,
        "name": event.name,
        "project": event.project,
        "type": event.type,
        "status": "created",
        "reason": "",
        "parent": event.parent,
        "run_id": event.run_id,
        "step": event.step,
        "queue": None,
        "attempt": 0,
        "agent_id": None,
        "tags": encode(tags),
        "created_at": entry.at,
        "queued_at": None,
        "started_at": None,
        "ended_at": None,
    }


def _as_tags(value: Any) -> list[str]:
    """An override may hold any JSON."""
    values: list[Any] = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]  # pyright: ignore[reportUnknownArgumentType]
    return [one if isinstance(one, str) else encode(one) for one in values]


def _retags(event: TaskEdited) -> bool:
    return event.edit is not None and event.edit.tags is not None


def _edit(row: Row, event: TaskEdited, tags: Sheet) -> None:
    for name in ("name", "project", "parent"):
        value = getattr(event, name)
        if value is not None:
            row[name] = value
    if event.edit is None:
        return
    if event.edit.type is not None:
        row["type"] = event.edit.type
    if event.edit.tags is not None:
        _index_tags(tags, row["id"], msgspec.json.decode(row["tags"]), event.edit.tags)
        row["tags"] = encode(event.edit.tags)


def _index_tags(tags: Sheet, task_id: str, old: Sequence[str], new: Sequence[str]) -> None:
    for tag in old:
        tags.remove((key_of(tag), task_id))
    for tag in new:
        tags.put({"tag": key_of(tag), "task_id": task_id})


def _evolve(row: Row, event: object, at: int) -> None:
    match event:
        case TaskEnqueued():
            row.update(status="queued", reason="", queue=event.queue, queued_at=at, ended_at=None)
        case TaskDequeued():
            row.update(status=event.back_to, queue=None)
        case TaskStarted():
            row.update(
                status="in_progress",
                reason="",
                queue=row["queue"] if row["status"] == "queued" else None,
                attempt=event.attempt,
                agent_id=event.agent_id or None,
                started_at=at,
                ended_at=None,
            )
        case TaskRequeued():
            row.update(status="queued", reason=event.reason, queue=event.queue, queued_at=at)
        case TaskStopped():
            row.update(status="stopped", reason=event.reason, ended_at=at)
        case TaskFailed():
            row.update(status="failed", reason=event.reason, ended_at=at)
        case TaskCompleted():
            row.update(status="completed", reason=event.reason, ended_at=at)
        case TaskReset():
            row.update(status="created", reason="", queue=None, started_at=None, ended_at=None)
        case TaskPublished():
            row["status"] = "published"
        case _:
            pass  # counted in the version, and in no other column
