"""A task's name, tags, status and the other lines about it."""

import logging
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from foldline import compat
from foldline.client import shared
from foldline.destinations import destination_of
from foldline.errors import FoldlineError
from foldline.handle import TaskHandle
from foldline.recipe import container
from foldline.records import Record

__all__ = ["WithDetails", "container"]

DELETED: Final = "deleted"
TRASH: Final = ".trash"

log = logging.getLogger("foldline")


class WithDetails(TaskHandle):
    """Task's methods about what it is called and where it belongs."""

    archived_tag: ClassVar = "archived"

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @name.setter
    def name(self, value: str) -> None:
        self.set_name(value)

    @property
    def project(self) -> str:
        """The project's name, which is its id too."""
        return str(self.data["project"])

    @classmethod
    def get_project_id(cls, project_name: str, search_hidden: bool = True) -> str | None:
        """The project's id, which is its name; None when there is no task in it."""
        compat.ignored("Task.get_project_id", search_hidden=search_hidden)
        return None if shared().tasks.list(project=project_name).first() is None else project_name

    @classmethod
    def get_projects(cls, **kwargs: Any) -> list[Record]:
        """The projects that have tasks, each with id and name; `name` is a regular expression to choose by."""
        names = dict.fromkeys(str(row["project"]) for row in shared().tasks.list())
        wanted = re.compile(str(kwargs.get("name") or ""))
        return [Record(id=name, name=name) for name in names if wanted.search(name)]

    def get_project_name(self) -> str:
        return self.project

    @property
    def task_type(self) -> str:
        return str(self.data["type"])

    @property
    def parent(self) -> str | None:
        return self.data["parent"]

    @property
    def comment(self) -> str:
        return str(self.data["comment"])

    @comment.setter
    def comment(self, value: str) -> None:
        self.set_comment(value)

    @property
    def output_uri(self) -> str:
        """Where the task's files go: a folder's path, or its address; "" is the server's own store."""
        return str(self.data["output_destination"])

    @output_uri.setter
    def output_uri(self, value: str | bool | None) -> None:
        self._edit(output_destination=destination_of(value))

    @property
    def storage_uri(self) -> str:
        """`output_uri` under its older name."""
        return self.output_uri

    @storage_uri.setter
    def storage_uri(self, value: str | bool | None) -> None:
        self.output_uri = value

    def get_output_destination(self, extra_path: str | None = None, **kwargs: Any) -> str | None:
        """`output_uri`, with `extra_path` below it; None for the server's own store."""
        if not self.output_uri:
            return None
        return f"{self.output_uri.rstrip('/')}/{extra_path}" if extra_path else self.output_uri

    def get_output_log_web_page(self) -> str:
        """The address at which the server shows the task."""
        return self.get_task_output_log_web_page(self.id)

    @classmethod
    def get_task_output_log_web_page(
        cls, task_id: str, project_id: str | None = None, app_server_host: str | None = None
    ) -> str:
        return f"{(app_server_host or shared().url).rstrip('/')}/api/v1/tasks/{task_id}"

    @property
    def last_worker(self) -> str | None:
        """The name of the agent that ran the last attempt, else the host of the process that did; None before it."""
        attempts = self.data["attempts"]
        if not attempts:
            return None
        last = attempts[-1]
        return str(self._client.agents.get(last["agent"])["name"]) if last["agent"] else str(last["host"])

    def get_executed_queue(self, return_name: bool = False) -> str | None:
        """The queue that the task came through. A queue's name is its id."""
        self.reload()
        return self.data["queue"]

    def set_name(self, name: str) -> None:
        self._edit(name=str(name))

    def rename(self, new_name: str) -> bool:
        self._edit(name=new_name)
        return True

    def set_comment(self, comment: str) -> None:
        self._edit(comment=comment)

    def set_parent(self, parent: "str | TaskHandle | None") -> None:
        self._edit(parent=parent.id if isinstance(parent, TaskHandle) else parent)

    def set_project(self, project_id: str | None = None, project_name: str | None = None) -> bool:
        """Move the task to a project, which need not exist before."""
        return self.move_to_project(new_project_id=project_id, new_project_name=project_name)

    def move_to_project(
        self,
        new_project_id: str | None = None,
        new_project_name: str | None = None,
        system_tags: Sequence[str] | None = None,
    ) -> bool:
        name = new_project_name or new_project_id
        if not name:
            raise ValueError("give the project's name")
        fields: dict[str, Any] = {"project": name}
        if system_tags is not None:
            fields["system_tags"] = list(system_tags)
        self._edit(**fields)
        return True

    def get_tags(self) -> list[str]:
        self.reload()
        return [str(tag) for tag in self.data["tags"]]

    def set_tags(self, tags: Sequence[str]) -> None:
        self._edit(tags=list(dict.fromkeys(tags)))

    def add_tags(self, tags: str | Sequence[str]) -> None:
        new = [tags] if isinstance(tags, str) else tags
        self.set_tags([*self.get_tags(), *new])

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        gone = {tags} if isinstance(tags, str) else set(tags)
        self.set_tags([tag for tag in self.get_tags() if tag not in gone])

    def get_system_tags(self) -> list[str]:
        self.reload()
        return [str(tag) for tag in self.data["system_tags"]]

    def set_system_tags(self, tags: Sequence[str]) -> None:
        self._edit(system_tags=list(dict.fromkeys(tags)))

    def set_archived(self, archive: bool) -> None:
        """Put the task among the archived ones, or take it out: a system tag that searches can leave out."""
        tags = [tag for tag in self.get_system_tags() if tag != self.archived_tag]
        self.set_system_tags([*tags, self.archived_tag] if archive else tags)

    def get_archived(self) -> bool:
        return self.archived_tag in self.get_system_tags()

    def delete(
        self,
        delete_artifacts_and_models: bool = True,
        skip_models_used_by_other_tasks: bool = True,
        raise_on_error: bool = False,
        callback: Any = None,
    ) -> bool:
        """Take the task out of its project and out of every search; whether that was done.

        What happened stays in the log, which nothing erases, and stored files may be shared with other tasks.
        """
        compat.ignored(
            "Task.delete",
            delete_artifacts_and_models=delete_artifacts_and_models,
            skip_models_used_by_other_tasks=skip_models_used_by_other_tasks,
            callback=callback,
        )
        try:
            status = self._client.tasks.get(self.id)["status"]
            if status in ("queued", "in_progress"):
                raise FoldlineError(f"task {self.name!r} ({self.id}) is {status}: stop it, then delete it")
            tags = [*self.get_system_tags(), self.archived_tag, DELETED]
            self._edit(system_tags=list(dict.fromkeys(tags)), project=f"{TRASH}/{self.project}")
        except FoldlineError:
            if raise_on_error:
                raise
            return False
        return True

    def set_progress(self, progress: int) -> None:
        """A whole number from 0 to 100; another is named in a warning, and nothing is set."""
        if type(progress) is int and 0 <= progress <= 100:
            self._edit(runtime={"progress": progress})
        else:
            log.warning("the progress of task %s is a whole number from 0 to 100, not %r", self.id, progress)

    def get_progress(self) -> int | None:
        self.reload()
        return self.data["runtime"].get("progress")
