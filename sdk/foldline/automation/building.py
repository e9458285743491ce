"""A pipeline as its script builds it: parameters and steps, held until it is submitted."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from foldline import compat, scripts, serialization
from foldline.automation import options
from foldline.automation.callbacks import FACTORY, POST, PRE, RETRY, STATUS, Callback, Registered
from foldline.automation.functions import arguments_of, names_of
from foldline.automation.nodes import Node, steps_named_in
from foldline.automation.reporting import ReportingRun
from foldline.automation.retries import RetryOnFailure, retry_of
from foldline.client import shared
from foldline.definition import defining
from foldline.destinations import destination_of
from foldline.errors import DefinitionError, FoldlineError
from foldline.formats import plain
from foldline.listing import Json
from foldline.recipe import container, requirements
from foldline.serialization import Codec
from foldline.sources import Snapshot
from foldline.types import TaskTypes, type_word

VERSION: Final = re.compile(
    r"v?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|post|dev)[-_.]?\d*)*(\+[\w.-]+)?", re.IGNORECASE
)


class BuiltPipeline(ReportingRun):
    """PipelineController's methods that say what the pipeline is."""

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
        retry_on_failure: RetryOnFailure = None,
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
            skip_global_imports=skip_global_imports,
            enable_local_imports=enable_local_imports,
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
        if add_pipeline_tags:
            self._definition["add_pipeline_tags"] = True
        retry, self._retry_callback = retry_of(retry_on_failure)
        if retry is not None:
            self._definition["retry"] = retry
        # What the host's own process is made of, when the pipeline needs one.
        self._host_recipe: dict[str, Any] = {
            "docker": docker,
            "docker_args": docker_args,
            "docker_bash_setup_script": docker_bash_setup_script,
            "packages": packages,
            "repo": repo,
            "repo_branch": repo_branch,
            "repo_commit": repo_commit,
            "working_dir": working_dir,
        }
        self._always_create_from_code = always_create_from_code
        self._codec = Codec(artifact_serialization_function, artifact_deserialization_function)
        self._output_uri = output_uri
        self._default_queue: str | None = None
        self._parameters: dict[str, Json] = {}
        self._steps: dict[str, Json] = {}
        self._callbacks = Registered()
        self._objects: dict[str, dict[str, Any]] = {}
        self._sources: list[Snapshot] = []

    @property
    def destination(self) -> str:
        """Where the run's own files go; "" is the server."""
        return destination_of(self._output_uri)

    def say_destination(self, run_id: str) -> None:
        """Put it on the record of the run."""
        if self.destination:
            shared().tasks.edit(run_id, {"output_destination": self.destination})

    def set_default_execution_queue(self, default_execution_queue: str | None) -> None:
        """The queue of every step that names none."""
        self._default_queue = default_execution_queue

    def set_pipeline_execution_time_limit(self, max_execution_minutes: float | None) -> None:
        """Fail the run, and stop what still runs, so many minutes after it was started; None or 0: never."""
        self._definition.pop("time_limit", None)
        if max_execution_minutes:
            self._definition["time_limit"] = float(max_execution_minutes) * 60

    def add_parameter(
        self,
        name: str,
        default: Any = None,
        description: str | None = None,
        param_type: str | type | None = None,
    ) -> None:
        """A parameter of the pipeline: `${pipeline.name}` in the steps, another value for each run.

        With `param_type` (int, float, bool, str, list, dict) a run takes values of that type only.
        """
        self._parameters[str(name)] = options.parameter(str(name), default, description, param_type)

    def get_parameters(self) -> dict[str, Any]:
        """The run's parameters; before there is one, the defaults."""
        defaults = {name: parameter["default"] for name, parameter in self._parameters.items()}
        run = self._known()
        return defaults if run is None else {**defaults, **run["parameters"]}

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
        retry_on_failure: RetryOnFailure = None,
        status_change_callback: Callback | None = None,
        recursively_parse_parameters: bool = False,
        output_uri: str | bool | None = None,
        continue_behaviour: Mapping[str, bool] | None = None,
        stage: str | None = None,
    ) -> bool:
        """A step that runs a clone of a template task, found by id or by project and name; or a pipeline, found so.

        Steps that `parameter_override` refers to (`${other.artifacts.data.url}`) become parents. Raises ValueError
        for what is wrong with the step by itself; the rest the server checks as the run is submitted.
        """
        if defining():
            return True
        self._check_name(name)
        if not (base_task_id or base_task_name or base_task_factory):
            raise DefinitionError(f"step {name!r} has no template: give base_task_id, or base_task_project and _name")
        overrides = dict(parameter_override or {})
        for path in overrides:
            section, slash, rest = path.partition("/")
            if not (section and slash and rest):
                raise DefinitionError(f"step {name!r}: parameter {path!r} has no section: write 'General/{path}'")
        fields = options.flat_fields(task_overrides or {})
        destination = self._output_uri if output_uri is None else output_uri
        if destination is not None:
            fields.setdefault("output_destination", destination_of(destination))
        deep = recursively_parse_parameters
        spoken_of = [
            *(step for value in overrides.values() for step in steps_named_in(value, self._nodes, deep=deep)),
            *(step for value in fields.values() for step in steps_named_in(value, self._nodes)),
            *steps_named_in(execution_queue, self._nodes),
        ]
        node = Node(
            name=name,
            base_task_id=base_task_id,
            task_factory_func=base_task_factory,
            queue=execution_queue,
            parents=list(dict.fromkeys([*(parents or ()), *spoken_of])),
            timeout=time_limit,
            parameters=overrides,
            configurations=dict(configuration_overrides or {}),
            task_overrides=fields,
            clone_task=clone_base_task,
            cache_executed_step=cache_executed_step,
            monitor_metrics=list(monitor_metrics or ()),
            monitor_artifacts=list(monitor_artifacts or ()),
            monitor_models=list(monitor_models or ()),
            recursively_parse_parameters=deep,
            output_uri=destination,
            stage=stage,
        )
        self._add(
            node,
            _template(base_task_id, base_task_project, base_task_name),
            continuing=options.continuing(name, continue_on_fail, continue_behaviour),
            retry_on_failure=retry_on_failure,
            callbacks={
                PRE: pre_execute_callback,
                POST: post_execute_callback,
                STATUS: status_change_callback,
                FACTORY: base_task_factory,
            },
        )
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
        retry_on_failure: RetryOnFailure = None,
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
        compat.ignored(
            "PipelineController.add_function_step",
            auto_connect_frameworks=auto_connect_frameworks,
            auto_connect_arg_parser=auto_connect_arg_parser,
        )
        self._check_name(name)
        returns = names_of(function_return)
        script, sources = scripts.script_of_function(
            function,
            returns,
            helper_functions=helper_functions,
            working_dir=working_dir,
            repo=repo,
            repo_branch=repo_branch,
            repo_commit=repo_commit,
        )
        if needed := requirements(packages):
            script["requirements"] = needed
        given = arguments_of(name, function, function_kwargs, self._nodes)
        task: Json = {
            "type": type_word(task_type) or "data_processing",
            "script": script,
            "hyperparameters": given.sections(),
            "tags": [tags] if isinstance(tags, str) else list(tags or ()),
        }
        if configuration := serialization.described(self._codec):
            task["configuration"] = configuration
        if docker or docker_args or docker_bash_setup_script:
            task["container"] = container(docker, docker_args, docker_bash_setup_script)
        destination = self._output_uri if output_uri is None else output_uri
        if place := destination_of(destination):
            task["output_destination"] = place
        node = Node(
            name=name,
            queue=execution_queue,
            parents=list(dict.fromkeys([*(parents or ()), *given.parents])),
            timeout=time_limit,
            parameters={**{f"kwargs/{argument}": value for argument, value in given.fixed.items()}, **given.references},
            job_type=task["type"],
            job_code_section=name,
            cache_executed_step=cache_executed_step,
            return_artifacts=returns,
            monitor_metrics=list(monitor_metrics or ()),
            monitor_artifacts=list(monitor_artifacts or ()),
            monitor_models=list(monitor_models or ()),
            explicit_docker_image=docker,
            recursively_parse_parameters=given.nested,
            output_uri=destination,
            draft=draft,
            stage=stage,
        )
        self._add(
            node,
            {"task": task, "task_name": task_name, "project": project_name},
            continuing=options.continuing(name, continue_on_fail, continue_behaviour),
            retry_on_failure=retry_on_failure,
            callbacks={PRE: pre_execute_callback, POST: post_execute_callback, STATUS: status_change_callback},
            parameter_override=given.references,
        )
        self._objects[name] = given.objects
        if sources is not None and sources not in self._sources:
            self._sources.append(sources)
        return True

    def add_approval_step(
        self,
        name: str,
        message: str = "",
        parents: Sequence[str] | None = None,
        deadline: float | None = None,
        continue_behaviour: Mapping[str, bool] | None = None,
        status_change_callback: Callback | None = None,
        post_execute_callback: Callback | None = None,
        stage: str | None = None,
    ) -> bool:
        """A step that is a person's yes: whatever depends on it waits until somebody approves, or rejects, it.

        Rejected, or with no answer within `deadline` seconds, it fails. `foldline run approve`, the page and
        `Client.runs.approve` answer it.
        """
        if defining():
            return True
        self._check_name(name)
        approval: Json = {"message": message}
        if deadline is not None:
            approval["deadline"] = float(deadline)
        self._add(
            Node(name=name, parents=list(parents or ()), stage=stage),
            {"approval": approval},
            continuing=options.continuing(name, False, continue_behaviour),
            # Asking again is no way to deal with a no.
            retry_on_failure=0,
            callbacks={POST: post_execute_callback, STATUS: status_change_callback},
        )
        return True

    @property
    def version(self) -> str | None:
        """The pipeline's version: the one given, or the one the server gave it."""
        run = self._known()
        return self._definition["version"] if run is None else str(run["pipeline_version"])

    @property
    def tags(self) -> list[str]:
        return list(self._definition["tags"] if self._known() is None else self._look()["tags"])

    def add_tags(self, tags: str | Sequence[str]) -> None:
        new = [tags] if isinstance(tags, str) else list(tags)
        if self._known() is not None:
            self.task.add_tags(new)
        else:
            self._definition["tags"] = list(dict.fromkeys([*self._definition["tags"], *new]))

    def definition(self) -> Json:
        """The whole pipeline as the document that `POST /pipelines` and `POST /runs` take."""
        definition = {
            **self._definition,
            "default_queue": self._default_queue,
            "parameters": list(self._parameters.values()),
            "steps": list(self._steps.values()),
        }
        if hooks := self._callbacks.kinds(""):
            definition["hooks"] = hooks
        return definition

    def _add(
        self,
        node: Node,
        more: Mapping[str, Any],
        *,
        continuing: Mapping[str, bool] | None,
        retry_on_failure: RetryOnFailure,
        callbacks: Mapping[str, Callback | None],
        parameter_override: Mapping[str, Any] | None = None,
    ) -> None:
        retry, asked = retry_of(retry_on_failure)
        if retry_on_failure is None:
            asked = self._retry_callback
        step: Json = {
            "name": node.name,
            **more,
            "parents": list(node.parents),
            "parameter_override": plain(node.parameters if parameter_override is None else parameter_override),
            "configuration_overrides": plain(node.configurations),
            "task_overrides": plain(node.task_overrides),
            "queue": node.queue,
            "stage": node.stage,
            "recursively_parse_parameters": node.recursively_parse_parameters,
            "clone": None if node.clone_task else False,
            "time_limit": float(node.timeout) if node.timeout else None,
            "cache": node.cache_executed_step or None,
            "draft": node.draft or None,
            "monitor_metrics": options.metrics(node.name, node.monitor_metrics),
            "monitor_artifacts": options.names(node.name, "monitor_artifacts", node.monitor_artifacts),
            "monitor_models": options.names(node.name, "monitor_models", node.monitor_models),
        }
        step = {name: value for name, value in step.items() if name == "parents" or value not in (None, {}, [])}
        # An empty one is not the same as none.
        if continuing is not None:
            step["continue_behaviour"] = dict(continuing)
        if retry is not None:
            step["retry"] = retry
        for kind, callback in {**callbacks, RETRY: asked}.items():
            self._callbacks.add(node.name, kind, callback)
        if hooks := self._callbacks.kinds(node.name):
            step["hooks"] = hooks
        node.continues(continuing)
        self._nodes[node.name] = node
        self._steps[node.name] = step

    def _check_name(self, name: str) -> None:
        if self._run is not None:
            raise FoldlineError(f"this pipeline was submitted already, as run {self._run['id']}: make a new controller")
        if not name or not name.strip():
            raise DefinitionError("a step needs a name")
        if name == "pipeline":
            raise DefinitionError("a step cannot be called 'pipeline': ${pipeline.x} means a parameter")
        if name in self._nodes:
            raise DefinitionError(f"there is a step {name!r} already: names must differ")


def _template(identifier: str | None, project: str | None, name: str | None) -> Json:
    if identifier:
        return {"base_task_id": identifier}
    return {"base_task_project": project, "base_task_name": name} if name else {}
