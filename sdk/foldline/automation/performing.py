"""A call of a decorated pipeline function: where it runs, and how its run begins and ends."""

import atexit
import functools
import inspect
import logging
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from foldline import process
from foldline.artifacts import upload
from foldline.automation.dynamic import DynamicRun
from foldline.automation.following import run_to_host, take_hosted
from foldline.automation.hosting import Hosting, hosted_run_id
from foldline.automation.instances import Instances
from foldline.automation.lazy import settled
from foldline.automation.local_agent import LocalAgent
from foldline.automation.submitting import SERVICES
from foldline.client import shared
from foldline.connecting import like
from foldline.definition import end_definition
from foldline.destinations import folder_of
from foldline.errors import DefinitionError, FoldlineError
from foldline.formats import is_exact_json, plain
from foldline.listing import Json
from foldline.parameters import entry, typed

if TYPE_CHECKING:
    from foldline.automation.decorator import PipelineDecorator

# The run's runtime property that says which call of its pipeline in the script it is.
COUNTER: Final = "multi_pipeline_counter"
KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}

log = logging.getLogger("foldline")


@dataclass(frozen=True, slots=True)
class PipelineFunction:
    """What was said of a pipeline function when it was decorated."""

    function: Callable[..., Any]
    make: "Callable[[], PipelineDecorator]"
    return_value: str | None
    default_queue: str | None
    host_queue: str | None
    locally: bool
    sections: Mapping[str, str]  # of the arguments that are not in Args
    several: bool
    in_parallel: bool

    def __call__(self, owner: "type[PipelineDecorator]", args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the function returns when it runs here; None when elsewhere, unless that ends this process."""
        end_definition()
        values = self._bound(args, kwargs)
        pipeline = self._made(values)
        here = functools.partial(self._here, pipeline, values)
        if owner.running:
            return here()
        number = Instances.count(str(pipeline.definition()["name"]))
        if hosted_run_id() is not None:
            return self._as_host(pipeline, number)
        # A task that an agent runs has a process that lasts: it is the host.
        if not (owner.mode or self.locally or self.host_queue is None or process.given_by_agent()):
            return self._submit(pipeline, values, number)
        if self.in_parallel and owner.mode != "calls":
            return Instances.fork(here)
        return here()

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = inspect.signature(self.function).bind(*args, **kwargs)
        given.apply_defaults()
        values: dict[str, Any] = {}
        for name, parameter in given.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                values |= given.arguments[name]
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise DefinitionError(f"a pipeline function is called with named arguments, which {name!r} cannot be")
            else:
                values[name] = settled(given.arguments[name])
        return values

    def _made(self, values: Mapping[str, Any]) -> "PipelineDecorator":
        """The pipeline with a parameter for each argument; its default is the function's own."""
        pipeline = self.make()
        pipeline.take_queue(self.default_queue)
        known = inspect.signature(self.function).parameters
        for name, value in values.items():
            default, annotation = value, None
            if name in known:
                annotation = known[name].annotation
                default = None if known[name].default is inspect.Parameter.empty else known[name].default
            pipeline.add_parameter(name, plain(default), param_type=_kind(annotation, default, value))
        return pipeline

    def _submit(self, pipeline: "PipelineDecorator", values: Mapping[str, Any], number: int) -> None:
        """Leave the run to an agent; this process ends with 0 unless it may call more."""
        if wrong := [name for name, value in values.items() if not is_exact_json(plain(value)) or not _same(value)]:
            raise DefinitionError(
                f"parameter {wrong[0]!r}: a pipeline that runs elsewhere takes numbers, texts, lists and dicts, not "
                f"{values[wrong[0]]!r}"
            )
        runs = shared().runs
        draft = number > 0 or bool(pipeline.destination)  # until what its host has to know is said
        run = runs.submit(
            pipeline.as_document(self.host_queue or SERVICES, hosted_here=False),
            parameters=plain(values),
            draft=draft,
        )
        pipeline.say_destination(run["id"])
        if number:
            runs.edit(run["id"], {"runtime": {COUNTER: str(number)}})
        if draft:
            run = runs.start(run["id"])
        pipeline.announce(run)
        if not self.several:
            sys.exit(0)
        if self.in_parallel:
            Instances.submitted(run["id"], self.return_value)

    def _as_host(self, pipeline: "PipelineDecorator", number: int) -> Any:
        """Run the function, if this is the call that the run of this process was submitted for."""
        run_id = run_to_host()
        definition = pipeline.definition()
        if run_id is None:
            return None
        client = shared()
        pinned, record = client.runs.definition(run_id), client.tasks.get(run_id)
        asked = (pinned["name"], pinned["project"], int(record["runtime"].get(COUNTER) or 0))
        if asked != (definition["name"], definition["project"], number):
            log.info("call %d of pipeline %r is not what this process is for", number + 1, definition["name"])
            return None
        take_hosted(run_id)
        run = client.runs.get(run_id)
        print(f"This is the host of run {run['name']!r} ({run_id}).", flush=True)
        return self._perform(pipeline, run, Hosting.given(), self._given(run["parameters"], record))

    def _given(self, parameters: Mapping[str, Any], record: Json) -> dict[str, Any]:
        """The run's parameters in the types that the function's defaults have; what stands in its section wins."""
        known = inspect.signature(self.function).parameters
        values = dict(parameters)
        for name, section in self.sections.items():
            found = record["hyperparameters"].get(section, {}).get(name)
            if found is not None:
                values[name] = typed(found)
        return {
            name: like(value, known[name].default)
            if name in known and known[name].default not in (inspect.Parameter.empty, None)
            else value
            for name, value in values.items()
        }

    def _here(self, pipeline: "PipelineDecorator", values: Mapping[str, Any]) -> Any:
        """A run of its own, whose host is this process."""
        with ExitStack() as stack:
            if pipeline.mode == "processes" and not pipeline.share_agent():
                queue = _local_queue(str(pipeline.definition()["name"]))
                client = shared()
                client.queues.create(queue)
                pipeline.take_agent(queue, stack.enter_context(LocalAgent(queue, client.url)).check)
            document = pipeline.as_document(self.host_queue or SERVICES, hosted_here=True)
            run, hosting = Hosting.submit(document, parameters=plain(values))
            pipeline.say_destination(run["id"])
            pipeline.announce(run)
            if threading.current_thread() is threading.main_thread():
                # As Ctrl-C would, so that the function may save its work.
                hosting.on_stop(_interrupt)
            try:
                result = self._perform(pipeline, run, hosting, values)
            except BaseException as error:
                hosting.finish(*_outcome(error))
                # An agent for this run alone has to live until it has been told to stop what it runs.
                pipeline.wait(timeout=0.25)
                raise
            hosting.finish()
            pipeline.wait()
        pipeline.check_completed()
        return result

    def _perform(
        self,
        pipeline: "PipelineDecorator",
        run: Json,
        hosting: Hosting,
        values: Mapping[str, Any],
    ) -> Any:
        """Run the function, wait for its steps, keep what it returns. Raises StepFailed for a failure nobody read."""
        dynamic = None
        if pipeline.mode != "calls" or hosted_run_id() is not None:
            dynamic = DynamicRun(hosting, codec=pipeline.codec, check=pipeline.check)
        self._connect_sections(hosting, values)
        with pipeline.as_current(run, hosting, dynamic):
            result = settled(self.function(**values))
            if dynamic is not None:
                dynamic.finish()
        if dynamic is not None and (failed := dynamic.failure()) is not None:
            raise failed
        if self.return_value and result is not None:
            client, packed = hosting.client, pipeline.codec.pack(self.return_value, result)
            folder = folder_of(client.tasks.get(hosting.run_id)) if pipeline.destination else None
            upload(client, hosting.run_id, str(self.return_value), packed, folder=folder)
        return result

    def _connect_sections(self, hosting: Hosting, values: Mapping[str, Any]) -> None:
        """Show the arguments of `args_map` in their sections."""
        sections: dict[str, dict[str, Any]] = {}
        for name, section in self.sections.items():
            if name in values:
                sections.setdefault(section, {})[name] = entry(values[name])
        if sections:
            hosting.client.tasks.edit(hosting.run_id, {"hyperparameters": sections})


def check_hosted_at_exit() -> None:
    """Fail the run of this process when its script ends without the call that it was submitted for.

    By itself an exit code of 0 would be a good end of it.
    """
    if hosted_run_id() is not None:
        atexit.unregister(_fail_unperformed)
        atexit.register(_fail_unperformed)


def _fail_unperformed() -> None:
    run_id = run_to_host()
    if run_id is None or hasattr(sys, "last_value"):
        return
    reason = "the script ended without the call of the pipeline function that it was submitted for"
    try:
        shared().tasks.fail(run_id, reason)
    except FoldlineError as why:
        print(f"{reason}, which could not be told: {why}", file=sys.stderr)


def _local_queue(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", f"local-{name}-{datetime.now(UTC):%Y%m%d%H%M%S%f}")


def _interrupt() -> None:
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


def _outcome(error: BaseException) -> tuple[str, str]:
    """What a run ends as whose function ended with `error`."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "completed", ""
        return "failed", f"exit code {error.code}" if isinstance(error.code, int) else str(error.code)
    return "failed", traceback.format_exception_only(error)[-1].strip()


def _kind(annotation: Any, *values: Any) -> str | None:
    """The type that the run's parameter is held to: the annotation, when it is a plain one and the values agree."""
    word = annotation.__name__ if isinstance(annotation, type) else annotation
    kinds = KINDS.get(word) if isinstance(word, str) else None
    if kinds is None:
        return None
    fits = (value is None or (type(value) in kinds and (type(value) is not bool or bool in kinds)) for value in values)
    return word if all(fits) else None


def _same(value: Any) -> bool:
    """Whether it is still itself after it was sent: lists in the place of tuples count as the same."""
    if isinstance(value, tuple):
        return _same(list(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list):
        return all(map(_same, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return plain(value) == value
