"""Task's methods about whole tasks: copied, queued, taken out and in."""

from collections.abc import Mapping
from typing import Any, Final, Self, cast

from foldline.client import shared
from foldline.definition import defining
from foldline.handle import TaskHandle, identifier_of
from foldline.inert import Nothing
from foldline.records import ALIASES, inside

# What an imported task may bring along; the rest is what became of another one.
IMPORTED: Final = (
    "name", "type", "comment", "tags", "system_tags", "hyperparameters", "configuration", "script", "container",
    "output_destination", "parent",
)  # fmt: skip
# Names of the source's description that belong to the section, in ClearML's words or ours.
SCRIPT: Final = (
    "repository", "branch", "commit", "tag", "entry_point", "working_dir", "diff", "binary", "requirements", "source",
    "module", "function", "returns", "arguments",
)  # fmt: skip
CONTAINER: Final = ("image", "arguments", "setup_script")


class WithCopies(TaskHandle):
    """Task's methods that make tasks of tasks, and put them into queues."""

    @classmethod
    def clone(
        cls,
        source_task: "str | TaskHandle | None" = None,
        name: str | None = None,
        comment: str | None = None,
        parent: "str | TaskHandle | None" = None,
        project: str | None = None,
    ) -> Self:
        """A task like `source_task` (this process's by default) that waits to be enqueued."""
        if defining():
            return cast(Self, Nothing())
        source = source_task if source_task is not None else cls.current_task()
        if source is None:
            raise ValueError("clone() needs a source_task: this process runs no task")
        record = shared().tasks.clone(
            identifier_of(source),
            name=name,
            project=project,
            parent=None if parent is None else identifier_of(parent),
            comment=comment,
        )
        return cls(str(record["id"]), record=record)

    @classmethod
    def enqueue(
        cls, task: "str | TaskHandle", queue_name: str | None = None, queue_id: str | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Put the task into a queue. `force` spells out what else it takes: reset, then enqueue; the record comes back.

        Raises Refused, with the reason, when its state does not allow that.
        """
        if defining():
            return {}
        queue = queue_name or queue_id
        if not queue:
            raise ValueError("enqueue() needs a queue_name")
        identifier = identifier_of(task)
        if force and shared().tasks.get(identifier)["status"] not in ("created", "queued"):
            shared().tasks.reset(identifier)
        return _noted(task, shared().tasks.enqueue(identifier, queue))

    @classmethod
    def dequeue(cls, task: "str | TaskHandle") -> dict[str, Any]:
        """Take the task out of its queue; the record comes back."""
        return _noted(task, shared().tasks.dequeue(identifier_of(task)))

    @classmethod
    def get_num_enqueued_tasks(cls, queue_name: str | None = None, queue_id: str | None = None) -> int:
        queue = queue_name or queue_id
        if not queue:
            raise ValueError("get_num_enqueued_tasks() needs a queue_name")
        return int(shared().queues.get(queue)["length"])

    def export_task(self) -> dict[str, Any]:
        """The whole record of the task, with `project_name`: what import_task takes."""
        self.reload()
        return {**self.data, "project_name": self.data["project"]}

    def update_task(self, task_data: Mapping[str, Any]) -> bool:
        """Change what `task_data` names, in the words of export_task or of ClearML, and nothing else."""
        return self.import_task(task_data, target_task=self, update=True) is not None

    @classmethod
    def import_task(
        cls, task_data: Mapping[str, Any], target_task: "str | TaskHandle | None" = None, update: bool = False
    ) -> Self | None:
        """A new draft of what export_task gave, or `target_task` made like it; `update` keeps what is not named."""
        if defining():
            return cast(Self, Nothing())
        fields = _imported(task_data)
        if target_task is None:
            project = task_data.get("project_name") or task_data.get("project") or "default"
            name = str(fields.pop("name", None) or "task")
            made = {key: value for key, value in fields.items() if value is not None}
            record = shared().tasks.create(name=name, project=str(project), **made)
        else:
            whole = not update and "hyperparameters" in fields
            edit = {**fields, **({"replace_hyperparameters": True} if whole else {})}
            record = shared().tasks.edit(identifier_of(target_task), edit)
            _noted(target_task, record)
        return cls(str(record["id"]), record=record)

    @classmethod
    def current_task(cls) -> Self | None:
        raise NotImplementedError


def _imported(task_data: Mapping[str, Any]) -> dict[str, Any]:
    fields = _renamed(task_data)
    if "output" in fields and "output_destination" not in fields:
        fields["output_destination"] = inside(fields, "output.destination") or ""
    chosen = {name: fields[name] for name in IMPORTED if fields.get(name) is not None}
    for name, known in (("script", SCRIPT), ("container", CONTAINER)):
        if name in chosen:
            part = _renamed(chosen[name])
            chosen[name] = {key: part[key] for key in known if part.get(key) is not None}
    if "hyperparameters" in chosen:
        chosen["hyperparameters"] = {
            section: {key: _described(one) for key, one in entries.items()}
            for section, entries in chosen["hyperparameters"].items()
        }
    if "configuration" in chosen:
        chosen["configuration"] = {key: _described(one) for key, one in chosen["configuration"].items()}
    return chosen


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {(ALIASES.get(name, name) if ALIASES.get(name) not in fields else name): fields[name] for name in fields}


def _described(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one.get(key) for key in ("value", "type", "description") if key in one}


def _noted(task: "str | TaskHandle", record: dict[str, Any]) -> dict[str, Any]:
    if isinstance(task, TaskHandle):
        task._record = record  # pyright: ignore[reportPrivateUsage]
    return record
