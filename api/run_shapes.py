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


class Run(BaseModel):
    id: str
    name: str
    project: str
    kind: str
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
    step_counts: dict[StepStatus, int]
    warnings: list[str] = Field(description="Why it may not go on by itself, as of now.")


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
    what: Literal["events", "decisions", "work", "projections"]
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
