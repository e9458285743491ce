"""`PipelineDecorator`: a pipeline written as a Python function that calls components, which are its steps."""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar

from foldline import compat, process, scripts, serialization
from foldline.automation import options
from foldline.automation.callbacks import POST, PRE, STATUS, Callback
from foldline.automation.called import CalledServing
from foldline.automation.component import DECORATED, Arguments, Component, known_as, original_of
from foldline.automation.controller import PipelineController
from foldline.automation.dynamic import DynamicRun
from foldline.automation.functions import names_of
from foldline.automation.hosting import Hosting
from foldline.automation.instances import Instances
from foldline.automation.nodes import Node
from foldline.automation.performing import PipelineFunction, check_hosted_at_exit
from foldline.automation.retries import RetryOnFailure
from foldline.client import shared
from foldline.destinations import destination_of
from foldline.errors import FoldlineError
from foldline.listing import Json
from foldline.placing import main_file, place_of
from foldline.recipe import container, requirements
from foldline.serialization import Codec
from foldline.task import Task
from foldline.types import TaskTypes, type_word

__all__ = ["PipelineDecorator"]

F = TypeVar("F", bound=Callable[..., Any])


class PipelineDecorator(PipelineController):
    """One run of a decorated pipeline function; its class methods decorate, and say where runs take place."""

    mode: ClassVar[Literal["", "processes", "calls"]] = ""
    default_queue: ClassVar[str | None] = None
    # Those whose functions are running in this process, an inner one last.
    running: ClassVar[list[Self]] = []

    def __init__(
        self,
        name: str,
        project: str,
        version: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | bool | None = None,
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
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> None:
        super().__init__(
            name=name,
            project=project,
            version=version,
            pool_frequency=pool_frequency,
            add_pipeline_tags=add_pipeline_tags,
            # The steps of a function have no template whose project they could be in.
            target_project=True if target_project is None else target_project,
            abort_on_failure=abort_on_failure,
            add_run_number=add_run_number,
            retry_on_failure=retry_on_failure,
            docker=docker,
            docker_args=docker_args,
            docker_bash_setup_script=docker_bash_setup_script,
            packages=packages,
            repo=repo,
            repo_branch=repo_branch,
            repo_commit=repo_commit,
            artifact_serialization_function=artifact_serialization_function,
            artifact_deserialization_function=artifact_deserialization_function,
            output_uri=output_uri,
            skip_global_imports=skip_global_imports,
            working_dir=working_dir,
            enable_local_imports=enable_local_imports,
        )
        self._default_queue = type(self).default_queue
        self._dynamic: DynamicRun | None = None
        self._hosting: Hosting | None = None
        self._queue_of_all: str | None = None
        self.check: Callable[[], None] | None = None
        self._scripts: dict[str, Json] = {}  # by component
        self._serving: CalledServing | None = None
        self._lock = threading.Lock()

    @classmethod
    def component(
        cls,
        _func: Any = None,
        *,
        return_values: str | Sequence[str] = ("return_object",),
        name: str | None = None,
        cache: bool = False,
        packages: bool | str | Sequence[str] | None = None,
        parents: Sequence[str] | None = None,
        execution_queue: str | None = None,
        continue_on_fail: bool = False,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        task_type: TaskTypes | str | None = None,
        auto_connect_frameworks: bool | Mapping[str, Any] | None = None,
        auto_connect_arg_parser: bool | Mapping[str, Any] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        helper_functions: Sequence[Callable[..., Any]] | None = None,
        monitor_metrics: Sequence[Any] | None = None,
        monitor_artifacts: Sequence[Any] | None = None,
        monitor_models: Sequence[Any] | None = None,
        retry_on_failure: RetryOnFailure = None,
        pre_execute_callback: Callback | None = None,
        post_execute_callback: Callback | None = None,
        status_change_callback: Callback | None = None,
        tags: str | Sequence[str] | None = None,
        output_uri: str | bool | None = None,
        draft: bool | None = False,
        working_dir: str | None = None,
        continue_behaviour: Mapping[str, bool] | None = None,
        stage: str | None = None,
    ) -> Callable[..., Any]:
        """Decorate a function: each call inside a pipeline function is a step, at once and without waiting.

        It answers a stand-in for the value (a tuple of them for several `return_values`), which becomes the value
        when it is looked at. Everywhere else, inside a step too, the function is what it was.
        """
        given = dict(locals())
        compat.ignored(
            "PipelineDecorator.component",
            auto_connect_frameworks=auto_connect_frameworks,
            auto_connect_arg_parser=auto_connect_arg_parser,
        )

        def decorate(function: F) -> F:
            known = name or original_of(function).__name__

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                if not cls.running:
                    return function(*args, **kwargs)
                return cls.running[-1].call(component, args, kwargs)

            component = Component(
                name=known,
                # It is found again in its module as what it is now.
                function=call,
                plain=function,
                returns=tuple(names_of(return_values)),
                parents=tuple(parents or ()),
                continuing=options.continuing(known, continue_on_fail, continue_behaviour),
                options={option: value for option, value in given.items() if option not in ("cls", "_func", "name")},
            )
            DECORATED.add(known)
            return call  # pyright: ignore[reportReturnType]

        return decorate if _func is None else decorate(_func)

    @classmethod
    def pipeline(
        cls,
        _func: Any = None,
        *,
        name: str,
        project: str,
        version: str | None = None,
        return_value: str | None = None,
        default_queue: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | bool | None = None,
        abort_on_failure: bool = False,
        pipeline_execution_queue: str | None = "services",
        multi_instance_support: bool | str = False,
        add_run_number: bool = True,
        args_map: Mapping[str, Sequence[str]] | None = None,
        start_controller_locally: bool = False,
        retry_on_failure: RetryOnFailure = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> Callable[..., Any]:
        """Decorate a pipeline function: a call is a run, whose parameters are the arguments.

        The function runs in an agent of `pipeline_execution_queue`, and the calling process ends with 0; or here, and
        the call returns what it returns: with `start_controller_locally`, a queue of None, after `run_locally()` or
        `debug_pipeline()`. When its process is lost there, another one goes on where it stood.
        """
        own = ("_func", "return_value", "default_queue", "pipeline_execution_queue", "multi_instance_support")
        own = (*own, "args_map", "start_controller_locally", "cls")
        given = {option: value for option, value in dict(locals()).items() if option not in (*own, "own")}

        def decorate(function: F) -> F:
            check_hosted_at_exit()
            performed = PipelineFunction(
                function=function,
                make=lambda: cls(**given),
                return_value=return_value,
                default_queue=default_queue,
                host_queue=pipeline_execution_queue,
                locally=start_controller_locally,
                sections={argument: section for section, named in (args_map or {}).items() for argument in named},
                several=bool(multi_instance_support),
                in_parallel=multi_instance_support == "parallel",
            )

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                return performed(cls, args, kwargs)

            return call  # pyright: ignore[reportReturnType]

        return decorate if _func is None else decorate(_func)

    @classmethod
    def set_default_execution_queue(cls, default_execution_queue: str | None) -> None:  # pyright: ignore
        """The queue of the steps that name none, in pipelines that are called from now on."""
        cls.default_queue = str(default_execution_queue) if default_execution_queue else None

    @classmethod
    def run_locally(cls) -> None:
        """From now on pipelines run here, and an agent of this machine, started for each, takes all their steps."""
        cls.mode = "processes"

    @classmethod
    def debug_pipeline(cls) -> None:
        """From now on pipelines run here, and their components are plain calls. The run itself is recorded."""
        cls.mode = "calls"

    @classmethod
    def get_current_pipeline(cls) -> "PipelineDecorator | None":
        """The pipeline whose function is running in this process."""
        return cls.running[-1] if cls.running else None

    @classmethod
    def wait_for_multi_pipelines(cls) -> list[Any]:
        """What the pipelines called so far with `multi_instance_support="parallel"` have returned, in that order.

        Waits for them all. Raises FoldlineError when one has failed.
        """
        return Instances.results()

    def stop(self, timeout: float | None = None, mark_failed: bool = False, mark_aborted: bool = False) -> None:
        """Stop the run. From inside its function it returns at once: the run ends after the function."""
        if self not in type(self).running:
            super().stop(timeout, mark_failed, mark_aborted)
        elif self.is_running():
            self._stop("stopped by its author", "failed" if mark_failed and not mark_aborted else None)

    def call(self, component: Component, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A component was called in this pipeline's function."""
        if self._dynamic is None:
            return component.plain(*args, **kwargs)
        return self._dynamic.call(component, args, kwargs, functools.partial(self._step_of, component))

    @property
    def codec(self) -> Codec:
        """How values become bytes between its steps."""
        return self._codec

    def take_queue(self, queue: str | None) -> None:
        """The queue of the steps that name none."""
        self._default_queue = queue or self._default_queue

    def take_agent(self, queue: str, check: Callable[[], None]) -> None:
        """An agent for all of its steps, whatever queue they name; `check` raises when that agent has ended."""
        self._default_queue = self._queue_of_all = queue
        self.check = check

    def share_agent(self) -> bool:
        """Inside another pipeline's function: take over its own agent. Whether it has one."""
        outer = type(self).running[-1] if type(self).running else None
        if outer is None or outer._queue_of_all is None or outer.check is None:
            return False
        self.take_agent(outer._queue_of_all, outer.check)
        return True

    def as_document(self, host_queue: str, *, hosted_here: bool) -> Json:
        """The definition: without steps, which its function adds, and with this script as its host."""
        if hosted_here and (main_file() is None or process.given_by_agent()):
            # This process is the host, and no other can be: a session is no script, nor is a step's process.
            host: Json = {"queue": host_queue, "task": {"type": "controller"}}
        else:
            host = self._host_definition(host_queue)
        return {**self.definition(), "dynamic": True, "host": host}

    def announce(self, run: Json) -> None:
        """This pipeline is that run from now on: say so, and tell it what was said to the pipeline's task."""
        self._run = run
        self._say_submitted(False, self._queue_of_all)
        self._to_be.tell(Task(str(run["id"])))

    @contextlib.contextmanager
    def as_current(self, run: Json, hosting: Hosting, dynamic: DynamicRun | None) -> Generator[None, None, None]:
        """While its function runs: components called in this process are steps of this pipeline."""
        self._run, self._hosting, self._dynamic = run, hosting, dynamic
        type(self).running.append(self)
        try:
            yield
        finally:
            type(self).running.remove(self)

    def check_completed(self) -> None:
        """Raises FoldlineError when the run has ended otherwise."""
        run = self._known_run()
        if run["status"] != "completed":
            raise FoldlineError(f"run {run['name']!r} ({run['id']}) is {run['status']}: {run['reason']}")

    def _step_of(self, component: Component, name: str, arguments: Arguments, parents: Sequence[str]) -> Json:
        """The step as it is sent; from now on its callbacks are answered."""
        given = component.options
        task = self._task_of(component)
        task["hyperparameters"] = arguments.sections()
        fixed = {f"kwargs/{argument}": value for argument, value in arguments.fixed.items()}
        node = Node(
            name=name,
            queue=self._queue_of_all or given["execution_queue"],
            parents=list(parents),
            parameters={**fixed, **arguments.overrides},
            job_type=task["type"],
            job_code_section=component.name,
            cache_executed_step=bool(given["cache"]),
            return_artifacts=list(component.returns),
            monitor_metrics=list(given["monitor_metrics"] or ()),
            monitor_artifacts=list(given["monitor_artifacts"] or ()),
            monitor_models=list(given["monitor_models"] or ()),
            explicit_docker_image=given["docker"],
            recursively_parse_parameters=arguments.nested,
            output_uri=task.get("output_destination"),
            draft=bool(given["draft"]),
            stage=given["stage"],
        )
        callbacks = {
            PRE: given["pre_execute_callback"],
            POST: given["post_execute_callback"],
            STATUS: given["status_change_callback"],
        }
        with self._lock:
            self._add(
                node,
                {"task": task},
                continuing=component.continuing,
                retry_on_failure=given["retry_on_failure"],
                callbacks=callbacks,
                parameter_override=arguments.overrides,
            )
            step = self._steps.pop(name)
            if "hooks" in step and self._serving is None and self._hosting is not None:
                self._serving = CalledServing(self, self._hosting, self._callbacks)
                self._server = threading.Thread(target=self._serving.serve, name="foldline-callbacks", daemon=True)
                self._server.start()
        if self._serving is not None:
            self._serving.called(name)
        return step

    def _task_of(self, component: Component) -> Json:
        given = component.options
        tags = given["tags"]
        task: Json = {
            "type": type_word(given["task_type"]) or "data_processing",
            "script": self._script_of(component),
            "tags": [tags] if isinstance(tags, str) else list(tags or ()),
        }
        if configuration := serialization.described(self._codec):
            task["configuration"] = configuration
        if given["docker"] or given["docker_args"] or given["docker_bash_setup_script"]:
            task["container"] = container(given["docker"], given["docker_args"], given["docker_bash_setup_script"])
        if place := destination_of(self._output_uri if given["output_uri"] is None else given["output_uri"]):
            task["output_destination"] = place
        return task

    def _script_of(self, component: Component) -> Json:
        """What calls the component's function elsewhere; its sources are stored."""
        with self._lock:
            if component.name not in self._scripts:
                given = component.options
                found = known_as(component.function)
                script, sources = scripts.script_of_function(
                    # One that no file defines travels as a pickle, for which the component is a burden.
                    found if place_of(found) is not None else component.plain,
                    component.returns,
                    helper_functions=given["helper_functions"],
                    working_dir=given["working_dir"],
                    repo=given["repo"],
                    repo_branch=given["repo_branch"],
                    repo_commit=given["repo_commit"],
                )
                if needed := requirements(given["packages"]):
                    script["requirements"] = needed
                scripts.upload(shared(), sources)
                self._scripts[component.name] = script
            return dict(self._scripts[component.name])
