"""The list of tasks: one row each, as domain.task folds it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Table

from domain.task import (
    ArtifactAdded,
    ArtifactsRemoved,
    ModelAdded,
    TaskAdopted,
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
from projections.projection import Entry, Page, never_created
from projections.sheet import Desk, Row, Sheet
from projections.tables import key_of, task_row, task_tag

KINDS = (
    TaskCreated,
    TaskAdopted,
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
    ArtifactsRemoved,
    ModelAdded,
)


class _Tagged(msgspec.Struct):
    """The only part of a task's content that its row shows."""

    tags: Any = None


_tagged = msgspec.json.Decoder(_Tagged)


class Tasks:
    name = "tasks"
    version = 2
    tables: Sequence[Table] = (task_row, task_tag)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        known = page.begun_before()
        rows = desk.load(task_row.c.id, known)
        retagged = {entry.id for entry in page.of(TaskEdited, TaskAdopted) if _retags(entry.event)}
        tags = desk.load(task_tag.c.task_id, known & retagged)
        contents = desk.contents({event.content for event in page.events(TaskCreated, TaskAdopted)})
        for entry in page:
            if entry.id == entry.run_id:
                continue  # what the run itself puts out
            if isinstance(entry.event, TaskCreated):
                tagged = _tags_of(entry.event, contents)
                rows.put(_created(entry, entry.event, tagged))
                _index_tags(tags, entry.id, (), tagged)
                continue
            row = rows.change(entry.id)
            if row is None:
                raise never_created(entry, "task")
            row["version"] = entry.version
            if isinstance(entry.event, TaskEdited):
                _edit(row, entry.event, tags)
            elif isinstance(entry.event, TaskAdopted):
                _adopt(row, entry.event, contents, tags)
            else:
                _evolve(row, entry.event, entry.at)


@lru_cache(maxsize=256)
def _tags_in(content: str) -> list[str]:
    return _as_tags(_tagged.decode(content).tags)


def _created(entry: Entry, event: TaskCreated, tags: Sequence[str]) -> Row:
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
        "tags": encode(tags) if tags else "[]",
        "created_at": entry.at,
        "queued_at": None,
        "started_at": None,
        "ended_at": None,
    }


def _tags_of(event: TaskCreated | TaskAdopted, contents: Mapping[str, str]) -> list[str]:
    if event.overrides is not None and "tags" in event.overrides.task:
        return _as_tags(event.overrides.task["tags"])
    return _tags_in(contents[event.content])


def _as_tags(value: Any) -> list[str]:
    """An override may hold any JSON."""
    values: list[Any] = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]  # pyright: ignore[reportUnknownArgumentType]
    return [one if isinstance(one, str) else encode(one) for one in values]


def _retags(event: object) -> bool:
    if isinstance(event, TaskEdited):
        return event.edit is not None and event.edit.tags is not None
    return isinstance(event, TaskAdopted)


def _adopt(row: Row, event: TaskAdopted, contents: Mapping[str, str], tags: Sheet) -> None:
    """A draft has become the task of a step."""
    row.update(name=event.name, project=event.project, type=event.type, status="created")
    row.update(parent=event.parent, run_id=event.run_id, step=event.step)
    _retag(row, _tags_of(event, contents), tags)


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
        _retag(row, event.edit.tags, tags)


def _retag(row: Row, new: Sequence[str], tags: Sheet) -> None:
    _index_tags(tags, row["id"], msgspec.json.decode(row["tags"]), new)
    row["tags"] = encode(new)


def _index_tags(tags: Sheet, task_id: str, old: Sequence[str], new: Sequence[str]) -> None:
    for tag in old:
        tags.remove((key_of(tag), task_id))
    for tag in new:
        tags.put({"tag": key_of(tag), "task_id": task_id})


def _evolve(row: Row, event: object, at: int) -> None:
    match event:
        case TaskEnqueued():
            row.update(status="queued", reason="", queue=event.queue, queued_at=at, ended_at=None)
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
        case TaskCompleted():
            row.update(status="completed", reason=event.reason, ended_at=at)
        case TaskDequeued():
            row.update(status=event.back_to, queue=None)
        case TaskRequeued():
            row.update(status="queued", reason=event.reason, queue=event.queue, queued_at=at)
        case TaskStopped():
            row.update(status="stopped", reason=event.reason, ended_at=at)
        case TaskFailed():
            row.update(status="failed", reason=event.reason, ended_at=at)
        case TaskReset():
            row.update(status="created", reason="", queue=None, started_at=None, ended_at=None)
        case TaskPublished():
            row["status"] = "published"
        case _:
            pass  # counted in the version, and in no other column
