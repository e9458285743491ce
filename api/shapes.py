"""What tasks look like in answers: for the generated description, and the tests that compare answers with it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.bodies import Configuration, Container, Parameter, Script


class Attempt(BaseModel):
    number: int
    agent: str | None = Field(description="The agent's id; null when the caller's own process ran it.")
    session: str
    host: str
    status: str
    reason: str
    started_at: str | None
    began_at: str | None = Field(description="When the user's code began.")
    ended_at: str | None
    exit_code: int | None


class Artifact(BaseModel):
    name: str
    url: str
    hash: str | None
    sha256: str | None
    size: int | None
    type: str
    format: str
    filename: str
    preview: str
    metadata: dict[str, Any]
    mode: str
    attempt: int
    timestamp: str


class Model(BaseModel):
    id: str
    kind: str
    name: str
    url: str
    framework: str
    comment: str
    tags: list[str]
    labels: dict[str, Any]
    config_text: str
    config_dict: dict[str, Any]
    project: str
    published: bool = False
    archived: bool = False
    parent: str | None = Field(default=None, description="The model that it was made from.")
    iteration: int | None = None
    metadata: dict[str, Any] = {}
    attempt: int = 0


class ModelRow(BaseModel):
    id: str
    name: str
    project: str
    task: str = Field(description="The task that has made it, else the first that has read it.")
    kind: str = Field(description="What it was to that task: input or output.")
    url: str
    framework: str
    comment: str
    tags: list[str]
    labels: dict[str, Any]
    config_text: str
    config_dict: dict[str, Any]
    metadata: dict[str, Any]
    parent: str | None
    iteration: int | None
    published: bool
    archived: bool
    created_at: str
    changed_at: str


class Models(BaseModel):
    input: list[Model]
    output: list[Model]


class Task(BaseModel):
    id: str
    name: str
    project: str
    type: str
    status: str = Field(description="created, queued, in_progress, stopped, failed, completed or published")
    reason: str
    version: int = Field(description="How many events it has: its ETag.")
    parent: str | None
    origin: str | None
    run_id: str | None
    step: str | None
    cloned_from: str | None
    queue: str | None
    attempt: int = Field(description="The number of the last attempt, 0 before the first.")
    stop_requested: bool
    attempts: list[Attempt]
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    hyperparameters: dict[str, dict[str, Parameter]]
    configuration: dict[str, Configuration]
    script: Script
    container: Container
    artifacts: dict[str, Artifact]
    models: Models
    runtime: dict[str, Any]
    tags: list[str]
    system_tags: list[str]
    comment: str
    output_destination: str


class TaskRow(BaseModel):
    id: str
    name: str
    project: str
    type: str
    status: str
    reason: str
    parent: str | None
    run_id: str | None
    step: str | None
    queue: str | None
    attempt: int
    tags: list[str]
    created_at: str
    started_at: str | None
    ended_at: str | None
    version: int


class Started(BaseModel):
    task: Task
    attempt: int
    lease: float


class Beat(BaseModel):
    stop: bool
    reason: str


class LogOffset(BaseModel):
    offset: int = Field(description="How many bytes the log has now.")


class Summary(BaseModel):
    last: float | None
    min: float | None
    max: float | None
    iteration: int
    count: int


class Curve(BaseModel):
    iterations: list[int]
    values: list[float | None]
    times: list[str] = Field(description="When each was reported.")


class Scalars(BaseModel):
    last: dict[str, dict[str, Summary]] = Field(description="By title and series.")
    points: list[tuple[int, float | None]] | None = Field(
        default=None, description="With title and series asked for: iteration and value."
    )
    curves: dict[str, dict[str, Curve]] | None = Field(
        default=None, description="With samples asked for: by title and series, without single values."
    )


class Plot(BaseModel):
    title: str
    series: str
    iteration: int
    kind: str = Field(description="plotly, table, image, media, text or html")
    sha256: str | None = Field(description="Of the blob; null when the bytes lie elsewhere.")
    url: str
    filename: str
    size: int | None
    reported_at: str
    content_url: str | None = Field(description="Where a browser can view it; null when the bytes lie elsewhere.")


class WhoAmI(BaseModel):
    name: str = Field(description="That of the token; 'local' while the server has none.")
    token: bool = Field(description="Whether a token was needed to be let in.")


class Ready(BaseModel):
    ready: bool


class Alive(BaseModel):
    alive: bool


class Version(BaseModel):
    version: str
    api: str
    database: str
    schema_version: str


class NewToken(BaseModel):
    name: str
    token: str = Field(description="Shown this once.")


class Finding(BaseModel):
    name: str = Field(description="Stable, for programs; there may be several of one name.")
    status: Literal["ok", "warn", "fail"]
    about: str
    cure: str = Field(description="What to do about it; empty when it is ok.")


class Examined(BaseModel):
    items: list[Finding]


class BackupHead(BaseModel):
    position: int
    leaf: str = Field(description="The hash of the last event, in hex.")


class Backup(BaseModel):
    format: int
    made_at: str
    version: str
    schema_version: str
    database: str
    heads: dict[str, BackupHead] = Field(description="By shard.")
    blobs: int
    logs: int
    bytes: int
    damaged: list[str] = Field(description="Artifacts whose bytes are not those of their hash any more.")
