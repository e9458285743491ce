"""What pipelines, runs and steps look like in answers: for the generated description, and the test that compares."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.routes.events import Event

RunStatus = Literal["created", "queued", "running", "paused", "completed", "failed", "stopped"]
StepStatus = Literal["pending", "waiting", "queued", "running", "completed", "cached", "failed", "stopped", "skipped"]


class PipelineRow(BaseModel):
    id: str
    name: str
    project: str
    version: str = Field(description="That of the newest definition.")
    runs: int = Field(description="How many runs were submitted.")
    registered_at: str


class Definition(BaseModel):
    """A definition as it is kept, every field spelled out. In a run's, `content` is each template's, by its SHA-256."""

    model_config = ConfigDict(extra="allow")

    name: str
    project: str
    steps: list[dict[str, Any]]


class Pipeline(PipelineRow):
    definition: Definition


class WaitingFor(BaseModel):
    kind: Literal[
        "parents",
        "approval",
        "hook",
        "host",
        "retry",
        "draft",
        "pause",
        "queue_paused",
        "agent",
        "slot",
        "child",
    ]
    text: str
    until: str | None = Field(description="When it is over at latest.")


class Parent(BaseModel):
    run_id: str
    step: str | None


class Host(BaseModel):
    """The process that runs the pipeline's own Python."""

    status: Literal["queued", "running", "lost", "ended"]
    queue: str = Field(description="Empty when the submitter's own process is the host.")
    attempt: int
    agent: str | None
    session: str | None
    started_at: str | None


class Run(BaseModel):
    id: str
    name: str
    project: str
    kind: str = Field(description="pipeline; or custom: a task that made others from inside its process")
    pipeline_id: str | None
    pipeline_version: str
    number: int
    version: int = Field(description="How many events it and its tasks have: its ETag, and what `?at=` takes.")
    status: RunStatus
    reason: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    parameters: dict[str, Any]
    tags: list[str]
    default_queue: str | None
    origin: str | None = Field(description="The task from inside whose process it was submitted.")
    cache: Literal["use", "refresh", "off"]
    parent: Parent | None = Field(description="The run that it is a step of.")
    waiting_for: WaitingFor | None
    host: Host | None
    open_hooks: int = Field(description="How many questions to its host have no answer yet.")
    artifacts: list[str] = Field(description="The names of its own.")
    step_counts: dict[StepStatus, int]
    warnings: list[str] = Field(description="Why it may not go on by itself, as of now.")


class Cache(BaseModel):
    """Whether a step's results were reused, and why, or why not."""

    key: str | None
    hit: bool
    task_id: str | None = Field(description="Whose results they are.")
    reason: str
    differs: list[str] = Field(description="On a miss: the parts that differ from the nearest known key's.")
    parts: dict[str, Any] = Field(description="What the key is made of.")


class Step(BaseModel):
    name: str
    status: StepStatus
    reason: str
    task_id: str | None
    attempts: int
    parents: list[str]
    queue: str | None
    stage: str | None
    queued_at: str | None
    started_at: str | None
    ended_at: str | None
    artifacts: list[str] = Field(description="Their names.")
    kind: Literal["task", "pipeline", "approval"]
    run_id: str | None = Field(description="Of the pipeline that it runs.")
    retries: int
    waiting_for: WaitingFor | None
    cache: Cache | None = Field(description="Null where it is not asked to reuse results.")


class Made(BaseModel):
    kind: Literal["task", "run"]
    id: str
    name: str
    project: str
    status: StepStatus
    reason: str
    run: "Tree | None" = Field(description="What it made in turn, or its steps.")


class Branch(BaseModel):
    step: Step
    run: "Tree | None" = Field(description="The run that the step is, or what its task made from inside its process.")


class Tree(BaseModel):
    run: Run
    steps: list[Branch]
    made: list[Made] = Field(description="Runs and tasks that were made from inside its host's process.")


class Hook(BaseModel):
    """A question to the run's host."""

    id: str
    kind: Literal["pre", "factory", "created", "retry", "post", "status"]
    step: str
    attempt: int
    parameters: dict[str, Any] | None = Field(description="Of pre and created: the step's, references replaced.")
    status: str = Field(description="Of status: the new one; of post and retry: what the task ended as.")
    previous: str
    retries: int
    requested_at: str


class Hooks(BaseModel):
    items: list[Hook]
    status: RunStatus
    version: int


class Accepted(BaseModel):
    id: str
    accepted: bool


class Moment(BaseModel):
    """One event of a run, and the run as of then."""

    version: int
    at: str
    type: str
    step: str | None
    event: Event
    run: Run
    changed: list[Step] = Field(description="The steps that the event changed, as of then.")


class Difference(BaseModel):
    what: Literal["events", "decisions", "work", "snapshots", "projections"]
    where: str
    expected: Any
    found: Any
    message: str


class Verified(BaseModel):
    ok: bool
    events: int = Field(description="How many events were folded again.")
    decisions: int = Field(description="How many decisions were made again.")
    differences: list[Difference]
    checked: list[str]
