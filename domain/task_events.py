"""What happens to a task: its events. Names and fields are a file format."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from domain.content import Edit, Overrides


class TaskCreated(Struct, frozen=True, kw_only=True, gc=False):
    name: str
    project: str
    content: str  # SHA-256 of its content, which the same append puts into the content table
    type: str = "training"
    parent: str | None = None
    origin: str | None = None  # the task from inside whose process it was made
    cloned_from: str | None = None
    run_id: str | None = None
    step: str | None = None
    overrides: Overrides | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False  # a step's task that somebody has to enqueue


class TaskAdopted(Struct, frozen=True, kw_only=True, gc=False):
    """A task that was a draft becomes the task of a step, and begins anew as such."""

    name: str
    project: str
    content: str  # SHA-256 of what it is made of now
    run_id: str
    step: str
    type: str = "training"
    parent: str | None = None
    overrides: Overrides | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False


class TaskEdited(Struct, frozen=True, kw_only=True, gc=False):
    edit: Edit | None = None
    name: str | None = None
    project: str | None = None
    parent: str | None = None
    runtime: Mapping[str, Any] | None = None  # merged; a None value deletes
    attempt: int | None = None  # set when the edit came from the running task itself


class TaskEnqueued(Struct, frozen=True, kw_only=True, gc=False):
    queue: str
    priority: int = 0
    origin: str | None = None


class TaskDequeued(Struct, frozen=True, kw_only=True, gc=False):
    back_to: str


class TaskStarted(Struct, frozen=True, kw_only=True, gc=False):
    """A claim is the start: from here on the attempt is the agent's."""

    attempt: int
    agent_id: str
    session: str
    host: str = ""


class TaskStopRequested(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    reason: str = ""


class TaskRequeued(Struct, frozen=True, kw_only=True, gc=False):
    """Attempt `attempt` was lost; the task waits in its queue for the next one."""

    attempt: int
    reason: str
    queue: str
    priority: int = 0


class TaskStopped(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None  # microseconds UTC: when the user's code began


class TaskFailed(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


class TaskCompleted(Struct, frozen=True, kw_only=True, gc=False):
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


class TaskReset(Struct, frozen=True, kw_only=True, gc=False):
    pass


class TaskPublished(Struct, frozen=True, kw_only=True, gc=False):
    pass


class ArtifactAdded(Struct, frozen=True, kw_only=True, gc=False):
    """An artifact is durable before it is said: its bytes lie in the store under `hash`, or elsewhere at `url`."""

    name: str
    url: str
    hash: str | None = None  # SHA-256 of the bytes
    size: int | None = None  # bytes
    type: str = ""
    format: str = ""
    filename: str = ""
    preview: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mode: str = "output"
    attempt: int = 0


class ArtifactsRemoved(Struct, frozen=True, kw_only=True, gc=False):
    """The task names them no more. Their bytes stay: others may share them, and what has happened stays readable."""

    names: Sequence[str]
    attempt: int = 0


class ModelAdded(Struct, frozen=True, kw_only=True, gc=False):
    id: str
    kind: str  # input or output
    name: str
    url: str = ""
    framework: str = ""
    comment: str = ""
    tags: Sequence[str] = ()
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config_text: str = ""
    config_dict: Mapping[str, Any] = field(default_factory=dict[str, Any])
    project: str = ""
    published: bool = False
    archived: bool = False
    parent: str | None = None  # the model that it was made from
    iteration: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attempt: int = 0


TaskEvent = (
    TaskCreated
    | TaskAdopted
    | TaskEdited
    | TaskEnqueued
    | TaskDequeued
    | TaskStarted
    | TaskStopRequested
    | TaskRequeued
    | TaskStopped
    | TaskFailed
    | TaskCompleted
    | TaskReset
    | TaskPublished
    | ArtifactAdded
    | ArtifactsRemoved
    | ModelAdded
)
ENDS = (TaskCompleted, TaskFailed, TaskStopped)
