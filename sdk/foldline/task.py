"""`Task`: one thing that runs, with the names and parameters that ClearML's users know."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, cast

from foldline import arguments, compat, finding, process, scripts, types
from foldline.client import shared
from foldline.connecting import ARGUMENTS, Connecting
from foldline.definition import defining, end_definition
from foldline.details import WithDetails, container
from foldline.errors import FoldlineError
from foldline.inert import LaterTask, Nothing
from foldline.logger import flush_all
from foldline.outcome import WithOutcome
from foldline.outputs import WithOutputs
from foldline.own_process import OwnAttempt, save_work_on_terminate
from foldline.parameters import Sections, entry
from foldline.types import type_word

__all__ = ["Task"]

DEFAULT_PROJECT = "default"


# The attempt that this process is, when no agent started it.
_own: "tuple[Task, OwnAttempt] | None" = None


class Task(Connecting, WithOutputs, WithOutcome, WithDetails):
    """A handle of one task. `Task.init` makes this process one; the other class methods speak of any."""

    TaskTypes: ClassVar = types.TaskTypes

    @classmethod
    def init(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: types.TaskTypes | str = types.TaskTypes.training,
        tags: Sequence[str] | None = None,
        reuse_last_task_id: bool | str = True,
        continue_last_task: bool | str | int = False,
        output_uri: str | bool | None = None,
        auto_connect_arg_parser: bool = True,
        auto_connect_frameworks: bool | Mapping[str, Any] = True,
        auto_resource_monitoring: bool | Mapping[str, Any] = True,
        auto_connect_streams: bool | Mapping[str, bool] = True,
        deferred_init: bool = False,
    ) -> Self:
        """Make this process a task, or, when an agent started it, take the task it was started for.

        The task ends with the process: completed, failed with the exception that escaped, stopped when asked to.
        """
        if defining():
            return cast(Self, LaterTask(cls.current_task))
        compat.ignored(
            "Task.init",
            reuse_last_task_id=reuse_last_task_id,
            auto_connect_frameworks=auto_connect_frameworks,
            auto_resource_monitoring=auto_resource_monitoring,
            deferred_init=deferred_init,
        )
        compat.refuse("Task.init", "starts each attempt anew", continue_last_task=continue_last_task)
        task = cls.current_task()
        if task is None:
            task = cls._begin(project_name, task_name, task_type, tags, output_uri, bool(auto_connect_streams))
        elif process.given_by_agent():
            save_work_on_terminate()
        if auto_connect_arg_parser:
            arguments.watch(task)
        return task

    @classmethod
    def create(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: types.TaskTypes | str | None = None,
        repo: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        script: str | None = None,
        working_directory: str | None = None,
        packages: bool | Sequence[str] | None = None,
        requirements_file: str | Path | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        argparse_args: Sequence[tuple[str, Any]] | None = None,
        base_task_id: str | None = None,
        add_task_init_call: bool = True,
        force_single_script_file: bool = False,
        binary: str | None = None,
        module: str | None = None,
        detect_repository: bool = True,
    ) -> Self:
        """A task that waits to be enqueued: of the local file `script`, or a copy of `base_task_id`.

        `argparse_args` are the section Args; a script that does not call Task.init gets them on its command line.
        """
        if defining():
            return cast(Self, Nothing())
        compat.ignored(
            "Task.create",
            add_task_init_call=add_task_init_call,
            force_single_script_file=force_single_script_file,
            detect_repository=detect_repository,
        )
        compat.refuse(
            "Task.create",
            "runs the local files that travel with the task",
            repo=repo,
            branch=branch,
            commit=commit,
            module=module,
        )
        if base_task_id:
            return cls.clone(base_task_id, name=task_name, project=project_name)
        said: dict[str, Any] = {"entry_point": ""}
        if script:
            said, sources = scripts.script_of_file(Path(script))
            scripts.upload(shared(), sources)
        if working_directory:
            said["working_dir"] = working_directory
        if needed := scripts.requirements(packages, None if requirements_file is None else str(requirements_file)):
            said["requirements"] = needed
        if binary:
            said["binary"] = binary
        if argparse_args and script and "Task.init" not in Path(script).read_text("utf-8", "replace"):
            said["arguments"] = [word for name, value in argparse_args for word in (f"--{name}", str(value))]
        fields: dict[str, Any] = {"script": said, "type": type_word(task_type) or "training"}
        if argparse_args:
            section: Sections = {ARGUMENTS: {name: entry(value) for name, value in argparse_args}}
            fields["hyperparameters"] = section
        if docker or docker_args or docker_bash_setup_script:
            fields["container"] = container(docker, docker_args, docker_bash_setup_script)
        name = task_name or (Path(script).stem if script else "task")
        record = shared().tasks.create(name=name, project=project_name or DEFAULT_PROJECT, **fields)
        return cls(str(record["id"]), record=record)

    @classmethod
    def clone(
        cls,
        source_task: "str | Task | None" = None,
        name: str | None = None,
        comment: str | None = None,
        parent: "str | Task | None" = None,
        project: str | None = None,
    ) -> Self:
        """A task like `source_task` (this process's by default) that waits to be enqueued."""
        if defining():
            return cast(Self, Nothing())
        source = source_task if source_task is not None else cls.current_task()
        if source is None:
            raise ValueError("clone() needs a source_task: this process runs no task")
        record = shared().tasks.clone(
            _identifier(source),
            name=name,
            project=project,
            parent=None if parent is None else _identifier(parent),
            comment=comment,
        )
        return cls(str(record["id"]), record=record)

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
        """The task of that id (NotFound when there is none), or the newest of that project and name, or None."""
        compat.ignored("Task.get_task", allow_archived=allow_archived)
        if task_id:
            record = shared().tasks.get(task_id)
            return cls(str(record["id"]), record=record)
        if not (project_name or task_name or tags or task_filter):
            raise ValueError("get_task() needs a task_id, or a project_name and task_name")
        found = next(finding.rows(shared(), project_name, tags, task_filter, task_name), None)
        return None if found is None else cls(str(found["id"]))

    @classmethod
    def get_tasks(
        cls,
        task_ids: Sequence[str] | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[Self]:
        """Those of the ids, or all of the project whose name the regular expression `task_name` finds."""
        compat.ignored("Task.get_tasks", allow_archived=allow_archived)
        if task_ids is not None:
            return [cls(identifier) for identifier in task_ids]
        found = finding.rows(shared(), project_name, tags, task_filter)
        return [cls(str(row["id"])) for row in finding.named(found, task_name)]

    @classmethod
    def query_tasks(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        additional_return_fields: Sequence[str] | None = None,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[str] | list[dict[str, Any]]:
        """Ids; with `additional_return_fields`, dicts of the id and those fields (dotted names reach inside)."""
        found = finding.named(finding.rows(shared(), project_name, tags, task_filter), task_name)
        if not additional_return_fields:
            return [str(row["id"]) for row in found]
        return [{"id": row["id"], **_fields(row, additional_return_fields)} for row in found]

    @classmethod
    def enqueue(
        cls, task: "str | Task", queue_name: str | None = None, queue_id: str | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Put the task into a queue. `force` spells out what else it takes: reset, then enqueue; the record comes back.

        Raises Refused, with the reason, when its state does not allow that.
        """
        if defining():
            return {}
        queue = queue_name or queue_id
        if not queue:
            raise ValueError("enqueue() needs a queue_name")
        identifier = _identifier(task)
        if force and shared().tasks.get(identifier)["status"] not in ("created", "queued"):
            shared().tasks.reset(identifier)
        return _noted(task, shared().tasks.enqueue(identifier, queue))

    @classmethod
    def dequeue(cls, task: "str | Task") -> dict[str, Any]:
        """Take the task out of its queue; the record comes back."""
        return _noted(task, shared().tasks.dequeue(_identifier(task)))

    @classmethod
    def get_num_enqueued_tasks(cls, queue_name: str | None = None, queue_id: str | None = None) -> int:
        queue = queue_name or queue_id
        if not queue:
            raise ValueError("get_num_enqueued_tasks() needs a queue_name")
        return int(shared().queues.get(queue)["length"])

    @classmethod
    def current_task(cls) -> Self | None:
        """The task that this process is; None when it is none."""
        if defining():
            return cast(Self, LaterTask(cls.current_task))
        if _own is not None:
            return cast(Self, _own[0])
        identifier = process.task_id()
        return None if identifier is None else cls(identifier)

    @staticmethod
    def running_locally() -> bool:
        """Whether no agent started this process."""
        return not process.given_by_agent()

    def is_main_task(self) -> bool:
        """Whether this process is that task."""
        return self.id == process.task_id()

    def execute_remotely(
        self, queue_name: str | None = None, clone: bool = False, exit_process: bool = True
    ) -> "Task | None":
        """End here and leave the rest to an agent: the task (or a clone) goes into the queue, this process exits 0.

        Without a queue the task stays a template. Nothing happens when an agent runs this already.
        """
        end_definition()
        if process.given_by_agent():
            return None
        if not clone and not exit_process:
            raise ValueError("a task that an agent is to run cannot go on here: give clone=True or exit_process=True")
        if _own is None or _own[0].id != self.id:
            raise FoldlineError("execute_remotely() is for the task of this process: call Task.init first, or enqueue")
        target = Task.clone(self) if clone else self
        if not clone:
            self._release()
            self._client.tasks.stop(self.id, "to be run elsewhere", now=True)
            self._record = self._client.tasks.reset(self.id)
        if queue_name:
            Task.enqueue(target, queue_name)
            print(f"Task {target.name!r} ({target.id}) waits in queue {queue_name!r}.")
        else:
            print(f"Task {target.name!r} ({target.id}) is a template now.")
        if exit_process:
            _leave(self)
        return target

    def close(self) -> None:
        """End the task as completed, if it is this process's, and let the process go on without one."""
        global _own
        flush_all()
        if _own is not None and _own[0].id == self.id:
            _, attempt = _own
            _own = None
            arguments.unwatch()
            attempt.finish()

    @classmethod
    def _begin(
        cls,
        project: str | None,
        name: str | None,
        kind: types.TaskTypes | str,
        tags: Sequence[str] | None,
        output_uri: str | bool | None,
        keep_console: bool,
    ) -> Self:
        script, sources = scripts.script_of_main()
        client = shared()
        scripts.upload(client, sources)
        path = scripts.main_file()
        fields: dict[str, Any] = {"script": script, "type": type_word(kind) or "training", "tags": list(tags or ())}
        if isinstance(output_uri, str):
            fields["output_destination"] = output_uri
        name = name or (path.stem if path else "session")
        record = client.tasks.create(name=name, project=project or DEFAULT_PROJECT, **fields)
        task = cls(str(record["id"]))
        task._start_here(keep_console)
        return task

    def _start_here(self, keep_console: bool = True) -> None:
        global _own
        if process.given_by_agent() and self.is_main_task():
            return
        if _own is not None and _own[0].id != self.id:
            raise FoldlineError(f"this process is task {_own[0].id} already: close() it first")
        if _own is None:
            _own = (self, OwnAttempt(self._client, self.id, keep_console=keep_console))
            self._record = None

    def _release(self) -> None:
        """Its outcome is about to be said by hand: this process's end says nothing more about it."""
        global _own
        flush_all()
        if _own is not None and _own[0].id == self.id:
            _, attempt = _own
            _own = None
            arguments.unwatch()
            attempt.release()


def _leave(task: Task) -> NoReturn:
    task.close()
    sys.exit(0)


def _identifier(task: "str | Task") -> str:
    return task.id if isinstance(task, Task) else str(task)


def _noted(task: "str | Task", record: dict[str, Any]) -> dict[str, Any]:
    if isinstance(task, Task):
        task._record = record  # pyright: ignore[reportPrivateUsage]
    return record


def _fields(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    record: Mapping[str, Any] = row
    if any(name.split(".")[0] not in row for name in names):
        record = shared().tasks.get(str(row["id"]))
    return {name: _inside(record, name) for name in names}


def _inside(record: Any, name: str) -> Any:
    for part in name.split("."):
        record = cast(Mapping[str, Any], record).get(part) if isinstance(record, Mapping) else None
    return record
