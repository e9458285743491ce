"""Pipelines that are on the server already: found, copied, started; and made from a script without running it here."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from foldline import compat
from foldline.automation.submitting import SERVICES, SubmittedPipeline
from foldline.client import shared
from foldline.definition import defining
from foldline.errors import FoldlineError, NotFound
from foldline.inert import Nothing
from foldline.listing import Json
from foldline.parameters import flat
from foldline.task import Task

if TYPE_CHECKING:
    from foldline.automation.following import FollowedRun

# How a task of type controller stands, as a run.
AS_RUN: Mapping[str, str] = {"in_progress": "running", "published": "completed"}
FIRST_PAGE = 500


class FetchedPipeline(SubmittedPipeline):
    """PipelineController's class methods about pipelines of the server. What they give is a pipeline like any other."""

    @classmethod
    def get(
        cls,
        pipeline_id: str | None = None,
        pipeline_project: str | None = None,
        pipeline_name: str | None = None,
        pipeline_version: str | None = None,
        pipeline_tags: Sequence[str] | None = None,
        shallow_search: bool = False,
    ) -> Self:
        """The run of that id; or of that project and name the one of the highest version, the newest of those.

        The id may be a pipeline's: then its newest run. Raises ValueError when there is none.
        """
        if defining():
            return cast(Self, Nothing())
        if pipeline_id:
            return cls._of(_run_of(pipeline_id))
        if not pipeline_name:
            raise ValueError("get() needs a pipeline_id, or a pipeline_project and pipeline_name")
        listed = shared().runs.list(
            project=pipeline_project,
            tag=list(pipeline_tags or ()) or None,
            limit=FIRST_PAGE if shallow_search else None,
        )
        numbered = re.compile(rf"{re.escape(pipeline_name)}( #\d+)*")
        found = [
            run
            for run in listed
            if numbered.fullmatch(run["name"]) and pipeline_version in (None, run["pipeline_version"])
        ]
        if not found:
            version = f" version {pipeline_version}" if pipeline_version else ""
            raise ValueError(f"there is no run of pipeline {pipeline_name!r}{version} in project {pipeline_project!r}")
        # The newest comes first, and `max` takes the first of equals.
        best = max(found, key=lambda run: _comparable(run["pipeline_version"]))
        return cls._of(shared().runs.get(best["id"]))

    @classmethod
    def clone(
        cls,
        pipeline_controller: "FollowedRun | str",
        name: str | None = None,
        comment: str | None = None,
        parent: str | None = None,
        project: str | None = None,
        version: str | None = None,
    ) -> Self:
        """A draft of the same definition and parameters: `start()` it, or `enqueue` it.

        What `create()` has made is cloned as the task that it is.
        """
        if defining():
            return cast(Self, Nothing())
        identifier = _identifier(pipeline_controller)
        try:
            run = shared().runs.clone(identifier, name=name, project=project, comment=comment)
        except NotFound:
            task = Task.clone(identifier, name=name, comment=comment, parent=parent, project=project)
            if version:
                task.set_user_properties(version=version)
            return cls._of_task(task)
        compat.ignored("PipelineController.clone", parent=parent, version=version)
        return cls._of(run)

    @classmethod
    def create(
        cls,
        project_name: str,
        task_name: str,
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
        force_single_script_file: bool = False,
        version: str | None = None,
        add_run_number: bool = True,
        binary: str | None = None,
        module: str | None = None,
        detect_repository: bool = True,
    ) -> Self:
        """A pipeline from a script that is not run here: a task of type controller, as which an agent runs the script.

        The pipelines that the script starts are runs that this one has made.
        """
        if defining():
            return cast(Self, Nothing())
        compat.ignored("PipelineController.create", add_run_number=add_run_number)
        task = Task.create(
            project_name=project_name,
            task_name=task_name,
            task_type=Task.TaskTypes.controller,
            repo=repo,
            branch=branch,
            commit=commit,
            script=script,
            working_directory=working_directory,
            packages=packages,
            requirements_file=requirements_file,
            docker=docker,
            docker_args=docker_args,
            docker_bash_setup_script=docker_bash_setup_script,
            argparse_args=argparse_args,
            add_task_init_call=False,
            force_single_script_file=force_single_script_file,
            binary=binary,
            module=module,
            detect_repository=detect_repository,
        )
        if version:
            task.set_user_properties(version=version)
        return cls._of_task(task)

    @classmethod
    def enqueue(
        cls,
        pipeline_controller: "FollowedRun | str",
        queue_name: str | None = None,
        queue_id: str | None = None,
        force: bool = False,
    ) -> Any:
        """Start a draft; the run comes back. `force` clones one that was started already, and starts the clone.

        `queue_name` is where the pipeline's own process waits for an agent; a run that needs none starts at once.
        """
        if defining():
            return {}
        pipeline = (
            pipeline_controller
            if isinstance(pipeline_controller, FetchedPipeline)
            else cls.get(str(pipeline_controller))
        )
        queue = queue_name or queue_id
        if pipeline._as_task:
            return Task.enqueue(pipeline._known_run()["id"], queue_name=queue or SERVICES, force=force)
        if force and pipeline._look()["status"] != "created":
            pipeline._run = shared().runs.clone(pipeline._known_run()["id"])
        pipeline._start_draft(queue)
        return pipeline._run

    @classmethod
    def _of(cls, run: Json) -> Self:
        """The run `run` as a pipeline, with the definition that it was submitted with."""
        pipeline = cls(name=run["name"], project=run["project"])
        definition = shared().runs.definition(run["id"])
        pipeline._definition = {name: value for name, value in definition.items() if name not in NOT_SAID_HERE}
        pipeline._parameters = {parameter["name"]: dict(parameter) for parameter in definition["parameters"]}
        pipeline._default_queue = definition.get("default_queue")
        pipeline._take_definition(definition)
        pipeline._run = run
        return pipeline

    @classmethod
    def _of_task(cls, task: Task) -> Self:
        pipeline = cls(name=task.name, project=task.project)
        pipeline._as_task = True
        pipeline._run = pipeline._read(task.id)
        return pipeline

    def _read(self, identifier: str) -> Json:
        if not self._as_task:
            return super()._read(identifier)
        return _as_run(shared().tasks.get(identifier))

    def _start_draft(self, queue: str | None = None) -> bool:
        if not self._as_task:
            return super()._start_draft(queue)
        identifier = self._known_run()["id"]
        Task.enqueue(identifier, queue_name=queue or SERVICES)
        self._run = self._read(identifier)
        return True

    def _await_end(self, seconds: float | None = None, each: Any = None) -> Json:
        if not self._as_task:
            return super()._await_end(seconds, each)
        return shared().runs.wait(self._known_run()["id"], seconds, read=self._read)

    def _stop(self, reason: str, outcome: str | None) -> Json:
        if not self._as_task:
            return super()._stop(reason, outcome)
        identifier = self._known_run()["id"]
        if outcome == "failed":
            return _as_run(shared().tasks.fail(identifier, reason))
        return _as_run(shared().tasks.stop(identifier, reason))

    def _steps_now(self) -> Sequence[Mapping[str, Any]]:
        return [] if self._as_task else super()._steps_now()


# What a pipeline holds apart from the rest of its definition.
NOT_SAID_HERE = frozenset({"steps", "parameters", "default_queue", "hooks", "host"})


def _run_of(identifier: str) -> Json:
    client = shared()
    try:
        return client.runs.get(identifier)
    except NotFound:
        newest = client.runs.list(pipeline_id=identifier).first()
    if newest is None:
        raise ValueError(f"there is no pipeline run {identifier}, and no run of a pipeline of that id")
    return client.runs.get(newest["id"])


def _identifier(pipeline: "FollowedRun | str") -> str:
    if isinstance(pipeline, str):
        return pipeline
    if pipeline.id is None:
        raise FoldlineError("this pipeline is not on the server yet: start it, or create_draft() it first")
    return pipeline.id


def _comparable(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _as_run(task: Mapping[str, Any]) -> Json:
    """A task of type controller as its author follows it."""
    sections = task["hyperparameters"]
    version = sections.get("properties", {}).get("version", {}).get("value")
    return {
        **{name: task[name] for name in ("id", "name", "project", "reason", "started_at", "ended_at", "tags")},
        "status": AS_RUN.get(str(task["status"]), task["status"]),
        "parameters": {
            name.removeprefix("Args/"): value for name, value in flat({"Args": sections.get("Args", {})}).items()
        },
        "pipeline_version": version or "1.0.0",
        "step_counts": {"completed": 0, "failed": 0, "stopped": 0},
    }
