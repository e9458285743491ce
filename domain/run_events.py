"""What can happen to a run, beside what happens to the tasks of its steps. Names and fields are a file format."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from domain.content import Content, Edit, Overrides
from domain.pipeline import StepDefinition
from domain.task_events import ArtifactAdded, ArtifactsRemoved, ModelAdded, TaskEvent


class RunCreated(Struct, frozen=True, kw_only=True, gc=False):
    """All that the run will need is pinned here: `definition` is the SHA-256 of the pinned definition."""

    name: str
    project: str
    definition: str
    contents: Sequence[str] = ()  # SHA-256 of each template's content, and of the definitions of pipelines in it
    pipeline_id: str | None = None
    pipeline_version: str = ""
    number: int = 0
    kind: str = "pipeline"
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None  # replaces every step's queue
    queues: Sequence[str] = ()  # those that existed at submit: a reference may name one of them
    tags: Sequence[str] = ()
    origin: str | None = None
    cache: str = "use"  # or refresh: look nothing up, but keep; or off
    content: str | None = None  # SHA-256 of what the run's own host runs
    parent_run: str | None = None  # the run that this one is a step of
    parent_step: str | None = None


class RunStarted(Struct, frozen=True, kw_only=True, gc=False):
    queue: str | None = None  # where its host waits for an agent, in the place of the one that is defined


class RunPaused(Struct, frozen=True, kw_only=True, gc=False):
    """No step starts until it is resumed; what runs already goes on."""

    actor: str = ""
    reason: str = ""


class RunResumed(Struct, frozen=True, kw_only=True, gc=False):
    actor: str = ""
    reason: str = ""


class RunStopRequested(Struct, frozen=True, kw_only=True, gc=False):
    reason: str = ""
    outcome: str = "stopped"  # or failed, when whoever stops it calls it that


class RunCompleted(Struct, frozen=True, kw_only=True, gc=False):
    pass


class RunFailed(Struct, frozen=True, kw_only=True, gc=False):
    reason: str


class RunStopped(Struct, frozen=True, kw_only=True, gc=False):
    reason: str = ""


class RunEdited(Struct, frozen=True, kw_only=True, gc=False):
    """What people and the run's own host say about it: names, tags, comments, the parameters of its host."""

    edit: Edit | None = None
    name: str | None = None
    parameters: Mapping[str, Any] | None = None  # of a draft: other values than it was made with
    runtime: Mapping[str, Any] | None = None  # merged; a None value deletes


# Steps


class StepAdded(Struct, frozen=True, kw_only=True, gc=False):
    """The run's code called a component: `call` counts its calls, `fingerprint` says which one it was with what."""

    step: StepDefinition
    content: Content
    call: int
    fingerprint: str = ""


class StepSkipped(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    reason: str
    cause: int  # the run version of the event that made it so


class StepFailed(Struct, frozen=True, kw_only=True, gc=False):
    """The step failed before it had a task, or before that could be started."""

    step: str
    reason: str
    cause: int


class StepSettled(Struct, frozen=True, kw_only=True, gc=False):
    """A step whose task has ended, after the retries and callbacks that followed."""

    step: str
    status: str
    reason: str = ""


class StepRetryScheduled(Struct, frozen=True, kw_only=True, gc=False):
    """The task failed and runs again in `delay` seconds, the jitter included."""

    step: str
    retry: int  # 1 for the first
    delay: float
    reason: str = ""


class StepsReopened(Struct, frozen=True, kw_only=True, gc=False):
    """Steps that had ended go back to what they were before they began; the run goes on."""

    steps: Sequence[str]
    actor: str = ""
    reason: str = ""
    launch: bool = True  # False: the first one is about to be marked as completed


class ApprovalRequested(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    message: str = ""
    deadline: float | None = None  # seconds from now


class StepApproved(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    actor: str = ""
    reason: str = ""


class StepRejected(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    actor: str = ""
    reason: str = ""


class CacheAsked(Struct, frozen=True, kw_only=True, gc=False):
    """The step may be spared if a task with the same `key` came to a good end; `parts` are what the key is made of."""

    step: str
    key: str
    scope: str  # groups the keys of one step of one pipeline
    parts: Mapping[str, Any]
    look: bool = True  # False: nothing is looked up, the result is kept only


class CacheAnswered(Struct, frozen=True, kw_only=True, gc=False):
    """`task_id` is the task whose results are the step's; None: `reason` says why there is none."""

    step: str
    task_id: str | None = None
    reason: str = ""
    differs: Sequence[str] = ()  # on a miss: the parts of the key that differ from the nearest known one
    artifacts: Sequence[ArtifactAdded] = ()
    models: Sequence[ModelAdded] = ()
    edit: Edit | None = None  # the parameters that it returned


class AdoptionAsked(Struct, frozen=True, kw_only=True, gc=False):
    """The step runs the task `task_id` itself, not a clone of it."""

    step: str
    task_id: str
    overrides: Overrides | None = None


class AdoptionRefused(Struct, frozen=True, kw_only=True, gc=False):
    """That task cannot be run any more: a clone is."""

    step: str
    reason: str


class ChildRunLaunched(Struct, frozen=True, kw_only=True, gc=False):
    """The step is a pipeline: its run is made in the same append."""

    step: str
    run_id: str
    name: str
    definition: str  # SHA-256 of the pinned definition
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None


class ChildStopRequested(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    run_id: str
    reason: str = ""


class ChildRunEnded(Struct, frozen=True, kw_only=True, gc=False):
    step: str
    run_id: str
    status: str
    reason: str = ""
    artifacts: Sequence[ArtifactAdded] = ()
    models: Sequence[ModelAdded] = ()


class DeadlinePassed(Struct, frozen=True, kw_only=True, gc=False):
    """Time alone brought something about. `kind`: time_limit, run_time_limit, retry, approval or hook."""

    kind: str
    name: str = ""  # of the step; of the hook its id
    step: str | None = None


# The host: the process that runs the pipeline's own Python, as an attempt on the run


class HostEnqueued(Struct, frozen=True, kw_only=True, gc=False):
    queue: str


class HostStarted(Struct, frozen=True, kw_only=True, gc=False):
    """`agent_id` is empty when the caller's own process is the host."""

    attempt: int
    agent_id: str
    session: str
    host: str = ""


class HostLost(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    reason: str


class HostEnded(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    status: str
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


class HookRequested(Struct, frozen=True, kw_only=True, gc=False):
    """The host is asked. `kind`: pre, factory, created, retry, post or status."""

    id: str
    kind: str
    step: str
    attempt: int = 0
    parameters: Mapping[str, Any] | None = None  # pre and created: the step's parameters, references resolved
    status: str = ""  # status: the new one; post and retry: what the task ended as
    previous: str = ""
    retries: int = 0


class HookAnswered(Struct, frozen=True, kw_only=True, gc=False):
    """`verdict` False skips (pre, created) or lets it fail (retry); `error` is the traceback of what was raised."""

    id: str
    kind: str
    step: str
    verdict: bool | None = None
    parameters: Mapping[str, Any] | None = None  # pre: what it changed them to
    queue: str | None = None
    task_id: str | None = None  # factory: the task that it made
    error: str | None = None


RunEvent = (
    RunCreated
    | RunStarted
    | RunPaused
    | RunResumed
    | RunStopRequested
    | RunCompleted
    | RunFailed
    | RunStopped
    | RunEdited
    | StepAdded
    | StepSkipped
    | StepFailed
    | StepSettled
    | StepRetryScheduled
    | StepsReopened
    | ApprovalRequested
    | StepApproved
    | StepRejected
    | CacheAsked
    | CacheAnswered
    | AdoptionAsked
    | AdoptionRefused
    | ChildRunLaunched
    | ChildStopRequested
    | ChildRunEnded
    | DeadlinePassed
    | HostEnqueued
    | HostStarted
    | HostLost
    | HostEnded
    | HookRequested
    | HookAnswered
)
# A run's own outputs are said by the same events as a task's, on the run's stream.
OutputEvent = ArtifactAdded | ArtifactsRemoved | ModelAdded


class Fact(Struct, frozen=True, gc=False):
    """An event of the run or of one of its tasks, with what its row in the log says beside it."""

    stream: str
    event: RunEvent | TaskEvent
    at: int  # microseconds UTC
    run_version: int
    step: str | None = None


class Decided(Struct, frozen=True, gc=False):
    """An event to be appended to `stream`, about `step`."""

    stream: str
    event: RunEvent | TaskEvent
    step: str | None = None
