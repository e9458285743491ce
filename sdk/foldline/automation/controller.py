"""`PipelineController`: steps from template tasks and functions, chained, submitted as one definition."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, cast

from foldline import compat, process, scripts
from foldline.automation.following import FollowedRun
from foldline.automation.functions import arguments_of, names_of, upload_objects
from foldline.automation.local_agent import LocalAgent
from foldline.automation.nodes import Node, steps_named_in
from foldline.client import shared
from foldline.definition import defining, end_definition
from foldline.details import container
from foldline.errors import DefinitionError, FoldlineError
from foldline.formats import plain, type_name
from foldline.listing import Json
from foldline.sources import Snapshot
from foldline.types import TaskTypes, type_word

__all__ = ["Node", "PipelineController"]

NO_HOST: Final = "runs no Python of yours between the steps"
VERSION: Final = re.compile(
    r"v?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|post|dev)[-_.]?\d*)*(\+[\w.-]+)?", re.IGNORECASE
)

Callback = Callable[..., Any]


class PipelineController(FollowedRun):
    """A pipeline: say its steps, then `start()` it, or `start_locally()` and wait.

    It holds a definition until then; the run itself is the server's affair and needs no process of yours.
    """

    Node = Node

    def __init__(
        self,
        name: str,
        project: str,
        version: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | bool | None = True,
        auto_version_bump: bool | None = None,
        abort_on_failure: bool = False,
        add_run_number: bool = True,
        retry_on_failure: int | Callback | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        always_create_from_code: bool = True,
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> None:
        super().__init__()
        compat.ignored(
            "PipelineController",
            pool_frequency=pool_frequency,
            auto_version_bump=auto_version_bump,
            docker=docker,
            docker_args=docker_args,
            docker_bash_setup_script=docker_bash_setup_script,
            packages=packages,
            repo=repo,
            repo_branch=repo_branch,
            repo_commit=repo_commit,
            skip_global_imports=skip_global_imports,
            working_dir=working_dir,
            enable_local_imports=enable_local_imports,
        )
        compat.refuse("PipelineController", "does not retry failed steps", retry_on_failure=retry_on_failure)
        compat.refuse("PipelineController", "does not tag steps with their run", add_pipeline_tags=add_pipeline_tags)
        compat.refuse(
            "PipelineController",
            "passes values as JSON, .npy or pickles",
            artifact_serialization_function=artifact_serialization_function,
            artifact_deserialization_function=artifact_deserialization_function,
        )
        compat.refuse(
            "PipelineController",
            "takes the definition from the code",
            **{"always_create_from_code=False": not always_create_from_code},
        )
        version = str(version).strip() if version else None
        if version and not VERSION.fullmatch(version):
            raise ValueError(f"{version!r} is no version: write it like 1.0.2")
        self._definition: Json = {
            "name": name,
            "project": project,
            "version": version,
            "abort_on_failure": abort_on_failure,
            "add_run_number": add_run_number,
            "target_project": target_project or False,
            "tags": [],
        }
        self._output_uri = output_uri if isinstance(output_uri, str) else None
        self._default_queue: str | None = None
        self._parameters: dict[str, Json] = {}
        self._steps: dict[str, Json] = {}
        self._objects: dict[str, dict[str, Any]] = {}
        self._sources: list[Snapshot] = []

    def set_default_execution_queue(self, default_execution_queue: str | None) -> None:
        """The queue of every step that names none."""
        self._default_queue = default_execution_queue

    def add_parameter(
        self,
        name: str,
        default: Any = None,
        description: str | None = None,
        param_type: str | type | None = None,
    ) -> None:
        """A parameter of the pipeline: `${pipeline.name}` in the steps, another value for each run."""
        try:
            json.dumps(default, allow_nan=False)
        except (TypeError, ValueError) as why:
            raise DefinitionError(f"parameter {name!r}: its default must be JSON: {why}") from why
        kind = param_type.__name__ if isinstance(param_type, type) else param_type
        self._parameters[name] = {
            "name": name,
            "default": plain(default),
            "type": kind or (None if default is None else type_name(default)),
            "description": description,
        }

    def get_parameters(self) -> dict[str, Any]:
        """The run's parameters; before there is one, the defaults."""
        if self._run is not None:
            return dict(self._run["parameters"])
        return {name: parameter["default"] for name, parameter in self._parameters.items()}

    def add_step(
        self,
        name: str,
        base_task_id: str | None = None,
        parents: Sequence[str] | None = None,
        parameter_override: Mapping[str, Any] | None = None,
        configuration_overrides: Mapping[str, str | Mapping[str, Any]] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        execution_queue: str | None = None,
        monitor_metrics: Sequence[Any] | None = None,
        monitor_artifacts: Sequence[Any] | None = None,
        monitor_models: Sequence[Any] | None = None,
        time_limit: float | None = None,
        base_task_project: str | None = None,
        base_task_name: str | None = None,
        clone_base_task: bool = True,
        continue_on_fail: bool = False,
        pre_execute_callback: Callback | None = None,
        post_execute_callback: Callback | None = None,
        cache_executed_step: bool = False,
        base_task_factory: Callback | None = None,
        retry_on_failure: int | Callback | None = None,
        status_change_callback: Callback | None = None,
        recursively_parse_parameters: bool = False,
        output_uri: str | bool | None = None,
        continue_behaviour: Mapping[str, bool] | None = None,
        stage: str | None = None,
    ) -> bool:
        """A step that runs a clone of a template task, found by id or by project and name.

        Steps that `parameter_override` refers to (`${other.artifacts.data.url}`) become parents. Raises ValueError
        for what is wrong with the step by itself; the rest the server checks as the run is submitted.
        """
        _refuse_hooks("add_step", locals())
        compat.refuse("add_step", "takes the template as it is", base_task_factory=base_task_factory)
        compat.refuse("add_step", "clones each template", **{"clone_base_task=False": not clone_base_task})
        self._check_name(name)
        if not base_task_id and not base_task_name:
            raise DefinitionError(f"step {name!r} has no template: give base_task_id, or base_task_project and _name")
        overrides = dict(parameter_override or {})
        for path in overrides:
            section, slash, rest = path.partition("/")
            if not (section and slash and rest):
                raise DefinitionError(f"step {name!r}: parameter {path!r} has no section: write 'General/{path}'")
        fields = _flat_fields(task_overrides or {})
        if destination := (output_uri if isinstance(output_uri, str) else self._output_uri):
            fields.setdefault("output_destination", destination)
        deep = recursively_parse_parameters
        spoken_of = [
            *(step for value in overrides.values() for step in steps_named_in(value, self._nodes, deep=deep)),
            *(step for value in fields.values() for step in steps_named_in(value, self._nodes)),
            *steps_named_in(execution_queue, self._nodes),
        ]
        node = Node(
            name=name,
            base_task_id=base_task_id,
            queue=execution_queue,
            parents=list(dict.fromkeys([*(parents or ()), *spoken_of])),
            parameters=overrides,
            configurations=dict(configuration_overrides or {}),
            task_overrides=fields,
            stage=stage,
        )
        template = {"base_task_id": base_task_id}
        if not base_task_id:
            template = {"base_task_project": base_task_project, "base_task_name": base_task_name}
        self._add(node, template, continue_on_fail, continue_behaviour, recursively_parse_parameters=deep)
        return True

    def add_function_step(
        self,
        name: str,
        function: Callable[..., Any],
        function_kwargs: Mapping[str, Any] | None = None,
        function_return: Sequence[str] | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: TaskTypes | str | None = None,
        auto_connect_frameworks: bool | Mapping[str, Any] | None = None,
        auto_connect_arg_parser: bool | Mapping[str, Any] | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        helper_functions: Sequence[Callable[..., Any]] | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        parents: Sequence[str] | None = None,
        execution_queue: str | None = None,
        monitor_metrics: Sequence[Any] | None = None,
        monitor_artifacts: Sequence[Any] | None = None,
        monitor_models: Sequence[Any] | None = None,
        time_limit: float | None = None,
        continue_on_fail: bool = False,
        pre_execute_callback: Callback | None = None,
        post_execute_callback: Callback | None = None,
        cache_executed_step: bool = False,
        retry_on_failure: int | Callback | None = None,
        status_change_callback: Callback | None = None,
        tags: str | Sequence[str] | None = None,
        output_uri: str | bool | None = None,
        draft: bool = False,
        working_dir: str | None = None,
        continue_behaviour: Mapping[str, bool] | None = None,
        stage: str | None = None,
    ) -> bool:
        """A step that calls `function` with `function_kwargs` and keeps what it returns under `function_return`.

        `${other.name}` as an argument is what another step returned under that name, and makes it a parent. The
        project's files travel along, so the function may use its module's helpers, imports and globals.
        """
        if defining():
            return True
        _refuse_hooks("add_function_step", locals())
        compat.refuse("add_function_step", "enqueues each step itself", draft=draft)
        compat.refuse(
            "add_function_step",
            "takes the local files along",
            repo=repo,
            repo_branch=repo_branch,
            repo_commit=repo_commit,
        )
        compat.ignored(
            "PipelineController.add_function_step",
            auto_connect_frameworks=auto_connect_frameworks,
            auto_connect_arg_parser=auto_connect_arg_parser,
            helper_functions=helper_functions,
            working_dir=working_dir,
        )
        self._check_name(name)
        returns = names_of(function_return)
        script, sources = scripts.script_of_function(function, returns)
        if needed := scripts.requirements(packages):
            script["requirements"] = needed
        given = arguments_of(name, function, function_kwargs, self._nodes)
        task: Json = {
            "type": type_word(task_type) or "data_processing",
            "script": script,
            "hyperparameters": given.sections(),
            "tags": [tags] if isinstance(tags, str) else list(tags or ()),
        }
        if docker or docker_args or docker_bash_setup_script:
            task["container"] = container(docker, docker_args, docker_bash_setup_script)
        if destination := (output_uri if isinstance(output_uri, str) else self._output_uri):
            task["output_destination"] = destination
        node = Node(
            name=name,
            queue=execution_queue,
            parents=list(dict.fromkeys([*(parents or ()), *given.parents])),
            parameters={**{f"kwargs/{argument}": value for argument, value in given.fixed.items()}, **given.references},
            return_artifacts=returns,
            stage=stage,
        )
        more = {"task": task, "task_name": task_name, "project": project_name}
        self._add(
            node,
            more,
            continue_on_fail,
            continue_behaviour,
            parameter_override=given.references,
            recursively_parse_parameters=given.nested,
        )
        self._objects[name] = given.objects
        if sources is not None and sources not in self._sources:
            self._sources.append(sources)
        return True

    def start(
        self,
        queue: str | None = "services",
        step_task_created_callback: Callback | None = None,
        step_task_completed_callback: Callback | None = None,
        wait: bool = True,
    ) -> bool:
        """Submit the run, print its id and address, and end this process with 0; `queue=None` leaves a draft.

        In a task that an agent runs there is no such end: with `wait` the run is waited for, and FoldlineError
        raised unless it completes.
        """
        end_definition()
        _refuse_callbacks("start", step_task_created_callback, step_task_completed_callback)
        if queue is None:
            return self.create_draft()
        compat.ignored("PipelineController.start", queue=queue)
        self._submit()
        if not process.given_by_agent():
            _leave()
        if wait:
            self._wait()
            if not self.is_successful():
                run = self._known_run()
                raise FoldlineError(f"run {run['name']!r} ({run['id']}) is {run['status']}: {run['reason']}")
        return True

    def start_locally(self, run_pipeline_steps_locally: bool = False) -> None:
        """Submit the run and return when it has ended; ask `is_successful()` how.

        With `run_pipeline_steps_locally` an agent of this machine, started for the run, takes all its steps.
        Ctrl-C then stops the run; otherwise the run goes on without this process.
        """
        end_definition()
        if not run_pipeline_steps_locally:
            self._submit()
            self._wait()
            return
        queue = f"local-{self._definition['name']}-{datetime.now(UTC):%Y%m%d%H%M%S%f}"
        queue = re.sub(r"[^\w.-]+", "-", queue)
        client = shared()
        client.queues.create(queue)
        self._check_queues(queue)
        with LocalAgent(queue, client.url) as agent:
            self._submit(queue=queue)
            try:
                self._wait(each=agent.check)
            except BaseException:
                # Nobody else listens to that queue: without this agent the run would wait for ever.
                self.stop(timeout=0.25)
                raise

    def create_draft(self) -> bool:
        """Submit the run without starting it: `foldline run start ID` does."""
        end_definition()
        self._submit(draft=True)
        return True

    @property
    def version(self) -> str | None:
        """The pipeline's version: the one given, or the one the server gave it."""
        return self._definition["version"] if self._run is None else str(self._run["pipeline_version"])

    @property
    def tags(self) -> list[str]:
        return list(self._definition["tags"] if self._run is None else self._look()["tags"])

    def add_tags(self, tags: str | Sequence[str]) -> None:
        if self.task is not None:
            self.task.add_tags(tags)
        else:
            new = [tags] if isinstance(tags, str) else list(tags)
            self._definition["tags"] = list(dict.fromkeys([*self._definition["tags"], *new]))

    def definition(self) -> Json:
        """The whole pipeline as the document that `POST /pipelines` and `POST /runs` take."""
        return {
            **self._definition,
            "default_queue": self._default_queue,
            "parameters": list(self._parameters.values()),
            "steps": list(self._steps.values()),
        }

    def _add(
        self,
        node: Node,
        more: Mapping[str, Any],
        continue_on_fail: bool,
        continue_behaviour: Mapping[str, bool] | None,
        *,
        parameter_override: Mapping[str, Any] | None = None,
        recursively_parse_parameters: bool,
    ) -> None:
        if continue_behaviour is None and continue_on_fail:
            continue_behaviour = {"continue_on_fail": True, "continue_on_abort": False}
        step: Json = {
            "name": node.name,
            **more,
            "parents": list(node.parents),
            "parameter_override": plain(node.parameters if parameter_override is None else parameter_override),
            "configuration_overrides": plain(node.configurations),
            "task_overrides": plain(node.task_overrides),
            "queue": node.queue,
            "stage": node.stage,
            "recursively_parse_parameters": recursively_parse_parameters,
        }
        self._nodes[node.name] = node
        self._steps[node.name] = {name: value for name, value in step.items() if value not in (None, {})}
        # An empty one is not the same as none.
        if continue_behaviour is not None:
            self._steps[node.name]["continue_behaviour"] = dict(continue_behaviour)

    def _check_name(self, name: str) -> None:
        if not name or not name.strip():
            raise DefinitionError("a step needs a name")
        if name == "pipeline":
            raise DefinitionError("a step cannot be called 'pipeline': ${pipeline.x} means a parameter")
        if name in self._nodes:
            raise DefinitionError(f"there is a step {name!r} already: names must differ")

    def _check_queues(self, queue: str | None) -> None:
        without = [name for name, node in self._nodes.items() if not node.queue]
        if without and not (self._default_queue or queue):
            raise DefinitionError(
                f"no queue for {', '.join(map(repr, without))}: give execution_queue, or set_default_execution_queue()"
            )

    def _submit(self, *, draft: bool = False, queue: str | None = None) -> None:
        if self._run is not None:
            raise FoldlineError(f"this pipeline was submitted already, as run {self._run['id']}: make a new controller")
        if not self._steps:
            raise DefinitionError(f"pipeline {self._definition['name']!r} has no steps: add one first")
        self._check_queues(queue)
        client = shared()
        for sources in self._sources:
            scripts.upload(client, sources)
        name, project = str(self._definition["name"]), str(self._definition["project"])
        for step, overrides in upload_objects(client, name, project, self._objects).items():
            self._steps[step].setdefault("parameter_override", {}).update(overrides)
        definition = self.definition()
        definition["default_queue"] = self._default_queue or queue
        self._run = client.runs.submit(definition, draft=draft, queue=queue)
        for warning in self._run["warnings"]:
            # The agent of a private queue is still starting.
            if queue is None or repr(queue) not in warning:
                print(f"Note: {warning}", file=sys.stderr)
        print(f"Run {self._run['name']!r} ({self._run['id']}) {'is a draft' if draft else 'was submitted'}.")
        print(f"{client.url}/api/v1/runs/{self._run['id']}", flush=True)


def _refuse_hooks(where: str, given: Mapping[str, Any]) -> None:
    """What needs Python or a watcher of its own while the run goes on, from the arguments of add_..._step."""
    _refuse_callbacks(
        where, given["pre_execute_callback"], given["post_execute_callback"], given["status_change_callback"]
    )
    compat.refuse(where, "does not retry failed steps", retry_on_failure=given["retry_on_failure"])
    compat.refuse(where, "does not reuse earlier results", cache_executed_step=given["cache_executed_step"])
    compat.refuse(where, "does not end steps by the clock", time_limit=given["time_limit"])
    monitors = {name: given[name] for name in ("monitor_metrics", "monitor_artifacts", "monitor_models")}
    compat.refuse(where, "does not copy a step's results to its run", **monitors)


def _refuse_callbacks(where: str, *callbacks: Callback | None) -> None:
    if any(callbacks):
        compat.refuse(where, NO_HOST, callbacks=True)


def _flat_fields(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"script.branch": "main"} of {"script": {"branch": "main"}}."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat_fields(cast(Mapping[str, Any], value), f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _leave() -> NoReturn:
    sys.exit(0)
