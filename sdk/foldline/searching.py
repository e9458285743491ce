"""Task's class methods that find tasks."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Self

from foldline import finding
from foldline.client import shared
from foldline.details import DELETED
from foldline.errors import NotFound
from foldline.handle import TaskHandle
from foldline.records import Record


class WithSearch(TaskHandle):
    """Task's methods that answer with other tasks."""

    @classmethod
    def get_task(
        cls,
        task_id: str | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> Self | None:
        """The task of that id (NotFound when there is none), or the last of that project and name, or None."""
        if task_id:
            record = shared().tasks.get(task_id)
            if DELETED in record["system_tags"]:
                raise NotFound({"status": 404, "code": "not-found", "detail": f"Task {task_id} was deleted."})
            return cls(str(record["id"]), record=record)
        if not (project_name or task_name or tags or task_filter):
            raise ValueError("get_task() needs a task_id, or a project_name and task_name")
        asked = _with_archived(task_filter, allow_archived)
        rows = finding.candidates(shared(), project_name, None, tags, asked, exact_name=task_name)
        found = next(rows, None) if asked.get("order_by") else finding.newest(rows)
        return None if found is None else cls(str(found.row["id"]))

    @classmethod
    def get_by_name(cls, task_name: str) -> Self | None:
        """The last task of that name, in whatever project."""
        return cls.get_task(task_name=task_name)

    @classmethod
    def get_tasks(
        cls,
        task_ids: Sequence[str] | None = None,
        project_name: str | Sequence[str] | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[Self]:
        """Those of the ids, or all of the project whose name the regular expression `task_name` finds."""
        if task_ids:
            return [cls(identifier) for identifier in ([task_ids] if isinstance(task_ids, str) else task_ids)]
        asked = _with_archived(task_filter, allow_archived)
        found = finding.candidates(shared(), project_name, task_name, tags, asked)
        return [cls(str(one.row["id"])) for one in found]

    @classmethod
    def query_tasks(
        cls,
        project_name: str | Sequence[str] | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        additional_return_fields: Sequence[str] | None = None,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[str] | list[dict[str, Any]]:
        """Ids; with `additional_return_fields`, dicts of the id and those fields (dotted names reach inside)."""
        found = finding.candidates(shared(), project_name, task_name, tags, task_filter)
        if not additional_return_fields:
            return [str(one.row["id"]) for one in found]
        return [{"id": one.row["id"], **{name: one.value(name) for name in additional_return_fields}} for one in found]

    @classmethod
    def get_all(cls, session: Any = None, log: Any = None, **kwargs: Any) -> Any:
        """`.response.tasks`: the records of those that the filters of query_tasks, given by keyword, choose."""
        found = finding.candidates(shared(), None, None, None, kwargs)
        return SimpleNamespace(response=SimpleNamespace(tasks=[Record(one.record) for one in found]))


def _with_archived(task_filter: Mapping[str, Any] | None, allowed: bool) -> dict[str, Any]:
    asked = dict(task_filter or {})
    return asked if allowed else {**asked, "system_tags": [*(asked.get("system_tags") or ()), "-archived"]}
