"""`Task`: one thing that runs, with the names and parameters that ClearML's users know."""

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, cast

from foldline import arguments, capture, compat, creating, iterations, process, recipe, scripts, types, versioning
from foldline.absent import WithoutSome
from foldline.client import shared
from foldline.connecting import Connecting
from foldline.definition import defining, end_definition
from foldline.destinations import destination_of
from foldline.details import WithDetails
from foldline.errors import FoldlineError
from foldline.inert import LaterTask, Nothing
from foldline.logger import Logger, flush_all
from foldline.moving import WithCopies
from foldline.offline import WithOffline
from foldline.outcome import WithOutcome
from foldline.outputs import WithOutputs
from foldline.own_process import HeldAttempt, OwnAttempt, save_work_on_terminate
from foldline.recipe import WithRecipe
from foldline.remote_functions import WithFunctions
from foldline.searching import WithSearch
from foldline.stores import check_at_hand
from foldline.types import type_word
from foldline.uploads import WithArtifacts

__all__ = ["Task"]

DEFAULT_PROJECT = "default"
# What can be begun again, and still be changed.
CONTINUABLE = ("created", "stopped", "failed", "completed")

arguments.listen()

# The attempt that this process is, when no agent started it.
_own: "tuple[Task, OwnAttempt] | None" = None
# Attempts of other tasks, which this process began by mark_started.
_beside: dict[str, HeldAttempt] = {}


class Task(
    Connecting,
    WithArtifacts,
    WithOutputs,
    WithOutcome,
    WithRecipe,
    WithDetails,
    WithSearch,
    WithCopies,
    WithFunctions,
    WithOffline,
    WithoutSome,
):
    """A handle of one task. `Task.init` makes this process one; the other class methods speak of any."""

    TaskTypes: ClassVar = types.TaskTypes
    TaskStatusEnum: ClassVar = types.TaskStatusEnum

    _random_seed: ClassVar[int | None] = None

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
        auto_connect_arg_parser: bool | Mapping[str, bool] = True,
        auto_connect_frameworks: bool | Mapping[str, Any] = True,
        auto_resource_monitoring: bool | Mapping[str, Any] = True,
        auto_connect_streams: bool | Mapping[str, bool] = True,
        deferred_init: bool = False,
    ) -> Self:
        """Make this process a task, or, when an agent started it, take the task it was started for.

        The task ends with the process: completed, failed with the exception that escaped, stopped when asked to.
        Each start is a task of its own, unless `reuse_last_task_id` names one to begin anew, or
        `continue_last_task` asks for a further attempt of one that keeps what it has: True for the last of this
        project and name, an id, or a number at which its iterations go on.
        """
        if defining():
            return cast(Self, LaterTask(cls.current_task))
        compat.ignored(
            "Task.init",
            auto_resource_monitoring=auto_resource_monitoring,
            deferred_init=deferred_init,
        )
        task = cls.current_task()
        if task is not None and process.inherited() and not task._is_called(project_name, task_name):
            task = None  # another script, which the task's process has started
        if task is None:
            task = cls._previous(project_name, task_name, reuse_last_task_id, continue_last_task)
            fields = _recipe(task_type, tags, output_uri)
            if task is None:
                path = scripts.main_file()
                name = task_name or (path.stem if path else "session")
                record = shared().tasks.create(name=name, project=project_name or DEFAULT_PROJECT, **fields)
                task = cls(str(record["id"]))
                task._start_here(auto_connect_streams)
                task._note_version()
            else:
                kept = _continues(continue_last_task)
                task._begin_again(fields, kept, auto_connect_streams, _offset(continue_last_task))
        elif process.given_by_agent():
            save_work_on_terminate()
            task._simulate(auto_connect_streams)
            if (said := destination_of(output_uri)) and not task.output_uri:
                task.output_uri = said  # its script's word, where nobody has said otherwise
        else:
            task._check_name(project_name, task_name)
        arguments.watch(task, auto_connect_arg_parser)
        capture.watch(task._client, task.id, auto_connect_frameworks)
        if cls._random_seed is not None:
            _seed(cls._random_seed)
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
        """A task that waits to be enqueued: of the local file `script`, of a repository, or like `base_task_id`.

        With `repo`, the `script` is a path inside it, checked out where the task runs; `module` is run as
        `python -m module`. `argparse_args` are the section Args; a local script that calls Task.init gets them by
        that, another one on its command line.
        """
        if defining():
            return cast(Self, Nothing())
        compat.ignored(
            "Task.create",
            add_task_init_call=add_task_init_call,
            force_single_script_file=force_single_script_file,
            detect_repository=detect_repository,
        )
        said = creating.script_of(
            shared(),
            repo=repo,
            branch=branch,
            commit=commit,
            script=script,
            working_directory=working_directory,
            module=module,
            binary=binary,
        )
        if needed := recipe.requirements(packages, requirements_file):
            said["requirements"] = needed
        if words := creating.command_line(script, argparse_args):
            said["arguments"] = words
        fields: dict[str, Any] = {}
        if said:
            fields["script"] = said
        if argparse_args:
            fields["hyperparameters"] = creating.arguments(argparse_args)
        if docker or docker_args or docker_bash_setup_script:
            fields["container"] = recipe.container(docker, docker_args, docker_bash_setup_script)
        if kind := type_word(task_type):
            fields["type"] = kind
        if base_task_id:
            task = cls.clone(base_task_id, name=task_name, project=project_name)
            if fields:
                task._edit(**fields)
            return task
        name = task_name or (Path(script).stem if script else module or "task")
        record = shared().tasks.create(name=name, project=project_name or DEFAULT_PROJECT, **fields)
        return cls(str(record["id"]), record=record)

    @classmethod
    def current_task(cls) -> Self | None:
        """The task that this process is; None when it is none."""
        if defining():
            return cast(Self, LaterTask(cls.current_task))
        if _own is not None:
            return cast(Self, _own[0])
        identifier = process.task_id()
        return None if identifier is None else cls(identifier)

    @property
    def logger(self) -> Logger:
        return self.get_logger()

    @staticmethod
    def running_locally() -> bool:
        """Whether no agent started this process."""
        return not process.given_by_agent()

    def is_main_task(self) -> bool:
        """Whether this process is that task."""
        return self.id == process.task_id()

    def is_current_task(self) -> bool:
        return self.is_main_task()

    @classmethod
    def set_random_seed(cls, random_seed: int | bool | None) -> None:
        """Before Task.init: seed random, and numpy and torch where they are loaded, as the task begins.

        True is 1337, as in ClearML; None and False leave them alone, which is also what happens without this call.
        """
        cls._random_seed = (1337 if random_seed else None) if isinstance(random_seed, bool | None) else int(random_seed)

    def get_random_seed(self) -> int | None:
        return self._random_seed

    def set_initial_iteration(self, offset: int = 0) -> int:
        """From now on, what this process reports is counted from `offset` on."""
        iterations.set_offset(self.id, int(offset))
        return int(offset)

    def get_initial_iteration(self) -> int:
        return iterations.offset_of(self.id)

    @classmethod
    def debug_simulate_remote_task(cls, task_id: str, reset_task: bool = False) -> None:
        """Before Task.init: let this process run that task as an agent's process would, with the server's values."""
        if process.task_id():
            raise FoldlineError("this process is a task already: call debug_simulate_remote_task() before Task.init")
        if reset_task and shared().tasks.get(task_id)["status"] != "created":
            shared().tasks.reset(task_id)
        process.simulate(task_id)

    def execute_remotely(
        self, queue_name: str | None = None, clone: bool = False, exit_process: bool = True
    ) -> "Task | None":
        """End here and leave the rest to an agent: the task (or a clone) goes into the queue, this process exits 0.

        Without a queue the task stays a template. Nothing happens when an agent runs this already. Another task than
        this process's is only enqueued.
        """
        end_definition()
        if process.given_by_agent() and self.is_main_task():
            return None
        if _own is None or _own[0].id != self.id:
            if not queue_name:
                raise FoldlineError("execute_remotely() needs a queue_name for a task that is not this process's")
            Task.enqueue(Task.clone(self) if clone else self, queue_name)
            return None
        if not clone and not exit_process:
            raise ValueError("a task that an agent is to run cannot go on here: give clone=True or exit_process=True")
        target = Task.clone(self) if clone else self
        if not clone:
            self._release()
            self._record = self._client.tasks.stop(self.id, "to be run elsewhere", now=True)
            if not queue_name:
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
            capture.unwatch()
            attempt.finish()
            process.simulate(None)
        elif beside := _beside.pop(self.id, None):
            beside.release()
            self._record = self._client.tasks.complete(self.id)

    @classmethod
    def _previous(
        cls, project: str | None, name: str | None, reuse: bool | str, go_on: bool | str | int
    ) -> Self | None:
        """The task that this process is to go on with, or to begin anew; None for a new one."""
        named = go_on if isinstance(go_on, str) else reuse if isinstance(reuse, str) else None
        if named:
            return cls(str(shared().tasks.get(named)["id"]))
        if not _continues(go_on):
            return None
        path = scripts.main_file()
        return cls.get_task(
            project_name=project or DEFAULT_PROJECT,
            task_name=name or (path.stem if path else "session"),
            task_filter={"status": list(CONTINUABLE)},
        )

    def _begin_again(
        self, fields: dict[str, Any], keep: bool, streams: bool | Mapping[str, bool], offset: int | None
    ) -> None:
        """A further attempt of this task, by the script as it is now; without `keep` of the task emptied first."""
        if not keep and self.get_status() != "created":
            self._client.tasks.reset(self.id)
        reported = keep and offset is None and bool(self.get_last_scalar_metrics())
        self._start_here(streams)
        self._edit(script=fields["script"])
        self._note_version()
        if fields["tags"]:
            self.add_tags(fields["tags"])
        if not keep:
            self._edit(hyperparameters={}, replace_hyperparameters=True)
        elif offset is None:
            offset = self.get_last_iteration() + 1 if reported else 0
        self.set_initial_iteration(offset or 0)

    def _note_version(self) -> None:
        path = scripts.main_file()
        if path is not None and (version := versioning.of(path)):
            self._edit(runtime={versioning.KEY: version})

    def _is_called(self, project: str | None, name: str | None) -> bool:
        return project in (None, "", self.project) and name in (None, "", self.name)

    def _check_name(self, project: str | None, name: str | None) -> None:
        if not self._is_called(project, name):
            raise FoldlineError(
                f"this process is task {self.name!r} of project {self.project!r} already, not {name or self.name!r} of "
                f"{project or self.project!r}: close() it before Task.init, or make another task with Task.create"
            )

    def _simulate(self, streams: bool | Mapping[str, bool]) -> None:
        global _own
        if process.simulated() and _own is None:
            _own = (self, OwnAttempt(self._client, self.id, keep_console=streams))
            self._record = None

    def _start_here(self, streams: bool | Mapping[str, bool] = True) -> None:
        global _own
        if process.given_by_agent() and self.is_main_task():
            return
        if _own is None and not process.given_by_agent():
            _own = (self, OwnAttempt(self._client, self.id, keep_console=streams))
        elif _own is None or _own[0].id != self.id:
            _beside[self.id] = HeldAttempt(self._client, self.id)
            _beside[self.id].keep()
        self._record = None

    def _release(self) -> None:
        """Its outcome is about to be said by hand: this process's end says nothing more about it."""
        global _own
        flush_all()
        if beside := _beside.pop(self.id, None):
            beside.release()
        if _own is not None and _own[0].id == self.id:
            _, attempt = _own
            _own = None
            arguments.unwatch()
            capture.unwatch()
            attempt.release()

    def _is_mine(self) -> bool:
        return self.is_main_task()


def _recipe(kind: types.TaskTypes | str, tags: Sequence[str] | None, output_uri: str | bool | None) -> dict[str, Any]:
    """What this process's script makes a task of; its sources are stored."""
    script, sources = scripts.script_of_main()
    scripts.upload(shared(), sources)
    if asked := recipe.asked_requirements():
        script["requirements"] = asked
    fields: dict[str, Any] = {
        "script": script,
        "type": type_word(kind) or "training",
        "tags": [tags] if isinstance(tags, str) else list(tags or ()),
    }
    if output_uri is not None:
        fields["output_destination"] = destination_of(output_uri)
        check_at_hand(fields["output_destination"])
    return fields


def _continues(go_on: bool | str | int) -> bool:
    """Whether an attempt of an earlier task is meant: 0 is a number at which its iterations begin, False is none."""
    return go_on is not False and go_on != ""


def _offset(go_on: bool | str | int) -> int | None:
    return go_on if isinstance(go_on, int) and not isinstance(go_on, bool) else None


def _seed(seed: int) -> None:
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _leave(task: Task) -> NoReturn:
    task.close()
    sys.exit(0)
