"""A pipeline's definition: checked once, then pinned, so that a run needs nothing else that could change."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, assert_never

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from domain.content import Content, Overrides, check_field, overridden, split_parameter
from domain.graph import children_of, in_order
from domain.references import PATTERN, Reference, references
from domain.refused import Invalid, Refused


class PipelineParameter(Struct, frozen=True, kw_only=True):
    name: str
    default: Any = None
    type: str | None = None
    description: str | None = None


class ContinueBehaviour(Struct, frozen=True, kw_only=True):
    """What a step's failure or stop means for the others. Given at all, what is left out is True, as in ClearML."""

    continue_on_fail: bool = True
    continue_on_abort: bool = True
    skip_children_on_fail: bool = True
    skip_children_on_abort: bool = True


class Retry(Struct, frozen=True, kw_only=True):
    """A failed step runs again up to `times`: after `delay` seconds, each wait `factor` times the one before it and at
    most `max_delay`, with up to `jitter` of the wait (0.1 is a tenth) added by chance, as the log records it."""

    times: int = 1
    delay: float = 0.0
    factor: float = 1.0
    jitter: float = 0.0
    max_delay: float | None = None


class Approval(Struct, frozen=True, kw_only=True):
    """A person has to say yes. Without a template the step is nothing else; with one it runs after the yes."""

    message: str = ""
    deadline: float | None = None  # seconds; then it fails


class HostDefinition(Struct, frozen=True, kw_only=True):
    """The process that runs the pipeline's own Python: what it runs, as a task is described, and where it queues."""

    queue: str = "services"
    task: Content | None = None
    content: str | None = None  # set when it is pinned: the SHA-256 of `task`


HOOKS = ("pre", "factory", "created", "retry", "post", "status")


STRICT = ContinueBehaviour(continue_on_fail=False, continue_on_abort=False)


class StepDefinition(Struct, frozen=True, kw_only=True):
    name: str
    base_task_id: str | None = None
    base_task_project: str | None = None
    base_task_name: str | None = None
    task: Content | None = None
    parents: Sequence[str] = ()
    parameter_override: Mapping[str, Any] = field(default_factory=dict[str, Any])
    recursively_parse_parameters: bool = False
    configuration_overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    task_overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None
    task_name: str | None = None
    project: str | None = None
    stage: str | None = None
    continue_behaviour: ContinueBehaviour | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    pipeline_id: str | None = None  # the step is a run of this pipeline
    pipeline_project: str | None = None
    pipeline_name: str | None = None
    clone: bool = True  # False: the template itself runs, as long as it is a draft
    retry: Retry | None = None
    time_limit: float | None = None  # seconds since the attempt was started
    cache: bool = False
    draft: bool = False  # its task is made and waits for somebody to enqueue it
    approval: Approval | None = None
    hooks: Sequence[str] = ()  # of HOOKS: what the host is asked about it
    monitor_metrics: Sequence[Sequence[str]] = ()  # (title, series, title on the run, series on the run)
    monitor_artifacts: Sequence[Sequence[str]] = ()  # (name, name on the run)
    monitor_models: Sequence[Sequence[str]] = ()
    # Set when the definition is pinned: the template's content by its SHA-256, and which version of it that was.
    content: str | None = None
    content_version: int | None = None
    content_project: str | None = None
    pipeline: str | None = None  # SHA-256 of the pinned definition of the pipeline that it is a run of


class Definition(Struct, frozen=True, kw_only=True):
    name: str
    project: str
    version: str | None = None
    default_queue: str | None = None
    abort_on_failure: bool = False
    add_run_number: bool = True
    target_project: bool | str | None = True  # True: the pipeline's; False, None: the template's; or the name of one
    tags: Sequence[str] = ()
    parameters: Sequence[PipelineParameter] = ()
    steps: Sequence[StepDefinition] = ()
    retry: Retry | None = None  # of every step that has none of its own
    time_limit: float | None = None  # seconds since the run was started
    hooks: Sequence[str] = ()  # created, post: what the host is asked about every step
    hook_timeout: float = 600.0  # seconds that one call of the host may take
    add_pipeline_tags: bool = False  # each step's task is tagged with the run
    host: HostDefinition | None = None
    dynamic: bool = False  # the host adds the steps while it runs


class PipelineRegistered(Struct, frozen=True, kw_only=True):
    name: str
    project: str
    pipeline_version: str
    definition: str  # SHA-256 of the definition


class PipelineSubmitted(Struct, frozen=True, kw_only=True):
    """The pipeline's count of runs: what gives a run its number."""

    run_id: str
    number: int


PipelineEvent = PipelineRegistered | PipelineSubmitted


class Pipeline(Struct, frozen=True, kw_only=True):
    id: str
    version: int = 0
    name: str = ""
    project: str = ""
    pipeline_version: str = ""
    definition: str = ""
    runs: int = 0
    registered_at: int | None = None


def register(definition: Definition, digest: str, pipeline: Pipeline) -> Sequence[PipelineRegistered]:
    """The event that makes `definition` the pipeline's newest; none when it already is."""
    version = definition.version
    if pipeline.definition == digest and version in (None, pipeline.pipeline_version):
        return []
    version = version or next_version(pipeline.pipeline_version)
    return [
        PipelineRegistered(
            name=definition.name, project=definition.project, pipeline_version=version, definition=digest
        )
    ]


def evolve(pipeline: Pipeline, event: PipelineEvent, at: int) -> Pipeline:
    match event:
        case PipelineRegistered():
            return replace(
                pipeline,
                version=pipeline.version + 1,
                name=event.name,
                project=event.project,
                pipeline_version=event.pipeline_version,
                definition=event.definition,
                registered_at=at,
            )
        case PipelineSubmitted():
            return replace(pipeline, version=pipeline.version + 1, runs=event.number)
        case _:
            assert_never(event)


def next_version(version: str) -> str:
    """The one after `version`: its last number plus one; 1.0.0 for the first."""
    head, dot, last = version.rpartition(".")
    if not version:
        return "1.0.0"
    return f"{head}{dot}{int(last) + 1}" if last.isdecimal() else f"{version}.1"


def effective_parents(step: StepDefinition, names: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps it waits for: those it names, then those it refers to."""
    found = dict.fromkeys(step.parents)
    for reference in step_references(step, names):
        if reference.step is not None:
            found.setdefault(reference.step)
    return tuple(found)


def step_references(step: StepDefinition, names: Mapping[str, Any]) -> Sequence[Reference]:
    if not (step.parameter_override or step.task_overrides or step.queue):
        return ()
    deep = step.recursively_parse_parameters
    found = [r for value in step.parameter_override.values() for r in references(value, names, deep=deep)]
    found += references(step.task_overrides, names)
    found += references(step.queue or "", names)
    return found


def checked(definition: Definition) -> Definition:
    """`definition`, or Invalid with the place and the cure. Looks at the definition alone, not at what it speaks of."""
    if not definition.name.strip():
        raise Invalid("A pipeline needs a name.", "name")
    if not definition.project.strip():
        raise Invalid("A pipeline needs a project.", "project")
    if not definition.steps and not definition.dynamic:
        raise Invalid(f"Pipeline {definition.name!r} has no steps: add at least one.", "steps")
    if definition.dynamic and definition.host is None:
        raise Invalid("A dynamic pipeline needs a host, which adds its steps.", "host")
    _check_limits(definition)
    parameters = _parameters(definition)
    names: dict[str, int] = {}
    for number, step in enumerate(definition.steps):
        where = f"steps/{number}"
        if not step.name.strip():
            raise Invalid("A step needs a name.", f"{where}/name")
        if step.name == "pipeline":
            raise Invalid("A step cannot be called 'pipeline': ${pipeline.x} means a parameter.", f"{where}/name")
        if step.name in names:
            raise Invalid(f"Two steps are called {step.name!r}: names must differ.", f"{where}/name")
        names[step.name] = number
    for number, step in enumerate(definition.steps):
        _check_step(definition, step, f"steps/{number}", names, parameters)
    _check_default_queue(definition, names, parameters)
    in_order({step.name: effective_parents(step, names) for step in definition.steps})
    return definition


def checked_step(plan: "Plan", step: StepDefinition) -> StepDefinition:
    """A step that is added to a dynamic run, or Invalid. It can speak of those that are there already."""
    if not step.name.strip() or step.name == "pipeline":
        raise Invalid("A step needs a name, and another one than 'pipeline'.", "step/name")
    if step.name in plan.steps:
        raise Invalid(f"There is a step {step.name!r} already: names must differ.", "step/name")
    names = Map(plan.steps).set(step.name, step)
    _check_step(plan.definition, step, "step", names, set(plan.defaults))
    return step


def _parameters(definition: Definition) -> set[str]:
    names: set[str] = set()
    for number, parameter in enumerate(definition.parameters):
        where = f"parameters/{number}/name"
        if not parameter.name.strip():
            raise Invalid("A parameter needs a name.", where)
        if parameter.name in names:
            raise Invalid(f"Two parameters are called {parameter.name!r}: names must differ.", where)
        names.add(parameter.name)
        _check_kind(parameter, parameter.default, f"parameters/{number}/default")
    return names


def _check_default_queue(definition: Definition, names: Mapping[str, int], parameters: set[str]) -> None:
    where = "default_queue"
    try:
        found = list(references(definition.default_queue, names))
    except Invalid as wrong:
        raise Invalid(f"{where}: {wrong}", where) from None
    for reference in found:
        if reference.step is not None:
            # It stands for every step's queue, and no step could wait for another one on its account.
            raise Invalid(
                f"{where} may refer to the pipeline's parameters only, not to {reference.text}: "
                "give the steps that need it a queue of their own.",
                where,
            )
        _check_known(reference, parameters, where, where)


def _check_known(reference: Reference, parameters: set[str], who: str, where: str) -> None:
    if reference.path[0] not in parameters:
        known = ", ".join(sorted(parameters)) or "none"
        raise Invalid(
            f"{who}: the pipeline has no parameter {reference.path[0]!r} ({reference.text}); "
            f"it has: {known}. Add it to parameters.",
            where,
        )


def _check_step(
    definition: Definition, step: StepDefinition, where: str, names: Mapping[str, Any], parameters: set[str]
) -> None:
    runs_a_task = any([step.base_task_id, step.base_task_name, step.task, step.content])
    runs_a_pipeline = any([step.pipeline_id, step.pipeline_name, step.pipeline])
    if not (runs_a_task or runs_a_pipeline or step.approval or "factory" in step.hooks):
        raise Invalid(f"Step {step.name!r} has no template: give base_task_id or base_task_name.", where)
    _check_step_limits(step, where)
    if not (step.queue or definition.default_queue or runs_a_pipeline) and (runs_a_task or not step.approval):
        raise Invalid(f"Step {step.name!r} has no queue: give it one, or set default_queue.", f"{where}/queue")
    if step.on_lost not in ("requeue", "fail"):
        raise Invalid(f"on_lost is 'requeue' or 'fail', not {step.on_lost!r}.", f"{where}/on_lost")
    if step.max_attempts < 1:
        raise Invalid("max_attempts is at least 1.", f"{where}/max_attempts")
    for parent in step.parents:
        if parent == step.name:
            raise Invalid(f"Step {step.name!r} waits for itself.", f"{where}/parents")
        if parent not in names:
            known = ", ".join(map(repr, list(names)[:20]))
            raise Invalid(
                f"Step {step.name!r} waits for {parent!r}, which is no step: steps are {known}.", f"{where}/parents"
            )
    try:
        for path in step.parameter_override:
            split_parameter(path)
    except Invalid as wrong:
        raise Invalid(f"Step {step.name!r}: {wrong}", f"{where}/parameter_override") from None
    try:
        found = step_references(step, names)
    except Invalid as wrong:
        raise Invalid(f"Step {step.name!r}: {wrong}", where) from None
    try:
        for path, value in step.task_overrides.items():
            check_field(path)
            if not any(references(value, names)):  # what it refers to is known at launch only
                overridden(Content(), Overrides(task={path: value}))
    except Invalid as wrong:
        raise Invalid(f"Step {step.name!r}: {wrong}", f"{where}/task_overrides") from None
    for reference in found:
        if reference.step == step.name:
            raise Invalid(f"Step {step.name!r} refers to itself: {reference.text}.", where)
        if reference.step is None:
            _check_known(reference, parameters, f"Step {step.name!r}", where)


def _check_limits(definition: Definition) -> None:
    if definition.time_limit is not None and definition.time_limit <= 0:
        raise Invalid("time_limit is a number of seconds above 0; leave it out for none.", "time_limit")
    if definition.hook_timeout <= 0:
        raise Invalid("hook_timeout is a number of seconds above 0.", "hook_timeout")
    _check_retry(definition.retry, "retry")
    _check_hooks(definition.hooks, ("created", "post"), "hooks")


def _check_step_limits(step: StepDefinition, where: str) -> None:
    if step.time_limit is not None and step.time_limit <= 0:
        raise Invalid("time_limit is a number of seconds above 0; leave it out for none.", f"{where}/time_limit")
    if step.approval is not None and step.approval.deadline is not None and step.approval.deadline <= 0:
        raise Invalid("deadline is a number of seconds above 0; leave it out for none.", f"{where}/approval/deadline")
    _check_retry(step.retry, f"{where}/retry")
    _check_hooks(step.hooks, HOOKS, f"{where}/hooks")
    for name, width in (("monitor_metrics", 4), ("monitor_artifacts", 2), ("monitor_models", 2)):
        for entry in getattr(step, name):
            if len(entry) != width:
                raise Invalid(f"Each entry of {name} has {width} names.", f"{where}/{name}")


def _check_retry(retry: Retry | None, where: str) -> None:
    if retry is None:
        return
    if retry.times < 0:
        raise Invalid("times is how often a failed step runs again: 0 or more.", f"{where}/times")
    if retry.delay < 0 or retry.factor < 1 or not 0 <= retry.jitter <= 1:
        raise Invalid("A retry's delay is 0 or more seconds, its factor at least 1, its jitter from 0 to 1.", where)


def _check_hooks(hooks: Sequence[str], known: Sequence[str], where: str) -> None:
    for hook in hooks:
        if hook not in known:
            raise Invalid(f"There is no hook {hook!r}: choose from {', '.join(known)}.", where)


KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "dict": (dict,),
}


def check_parameters(definition: Definition, given: Mapping[str, Any]) -> None:
    """Raises Invalid for a value that the pipeline does not know or that is not of its parameter's type."""
    known = {parameter.name: parameter for parameter in definition.parameters}
    for name, value in given.items():
        where = f"parameters/{name}"
        if name not in known:
            has = ", ".join(known) or "none"
            raise Invalid(f"The pipeline has no parameter {name!r}; it has: {has}.", where)
        _check_kind(known[name], value, where)


def _check_kind(parameter: PipelineParameter, value: Any, where: str) -> None:
    kinds = KINDS.get(parameter.type or "")
    if kinds is None or value is None:
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and parameter.type != "bool"):
        raise Invalid(f"Parameter {parameter.name!r} takes {parameter.type}, not {value!r}.", where)


def literal_queues(definition: Definition) -> set[str]:
    """The queues that the definition names outright, those in references left out."""
    queues = {step.queue or definition.default_queue or "" for step in definition.steps}
    if definition.host is not None:
        queues.add(definition.host.queue)
    return {queue for queue in queues if queue and not PATTERN.search(queue)}


class Plan:
    """A pinned definition with its templates' contents, compiled for the run that follows it. Immutable."""

    def __init__(self, definition: Definition, contents: Mapping[str, Content]) -> None:
        self.definition = definition
        self.contents = contents
        self.steps: Mapping[str, StepDefinition] = {step.name: step for step in definition.steps}
        self.names: Sequence[str] = tuple(self.steps)  # in the order of definition

    @cached_property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        return {step.name: effective_parents(step, self.steps) for step in self.definition.steps}

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        return children_of(self.parents)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        return {parameter.name: parameter.default for parameter in self.definition.parameters}

    @cached_property
    def _hooks(self) -> frozenset[str]:
        return frozenset(self.definition.hooks)

    def hooks(self, step: str) -> frozenset[str]:
        """What the host is asked about the step."""
        own = self.steps[step].hooks
        return self._hooks.union(own) if own else self._hooks

    def tells(self, step: str) -> bool:
        """Whether the host is told of each change of the step's status."""
        return "status" in self.steps[step].hooks

    def retry(self, step: str) -> Retry | None:
        return self.steps[step].retry or self.definition.retry

    def has_template(self, step: str) -> bool:
        """Whether there is something to run, beside a person's yes to wait for."""
        definition = self.steps[step]
        return definition.content is not None or definition.pipeline is not None or "factory" in definition.hooks

    def content_of(self, step: str) -> Content:
        """The pinned content of the step's template."""
        digest = self.steps[step].content
        if digest is None:
            raise Refused(f"Step {step!r} has no template to look into: it is no task.")
        return self.contents[digest]

    def with_step(self, step: StepDefinition, content: Content) -> "Plan":
        """The plan of a dynamic run with one step more, at a price that does not grow with their number."""
        more = Plan.__new__(Plan)
        more.definition = self.definition
        more.contents = Map(self.contents).set(step.content or "", content)
        more.steps = Map(self.steps).set(step.name, step)
        more.names = (*self.names, step.name)
        parents = effective_parents(step, more.steps)
        children = Map(self.children).set(step.name, ())
        for parent in parents:
            children = children.set(parent, (*children[parent], step.name))
        # What a cached property would find, found already.
        more.__dict__.update(parents=Map(self.parents).set(step.name, parents), children=children)
        return more
