"""A task as its events leave it."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from domain.content import Edit, Overrides
from domain.task_events import ArtifactAdded, ModelAdded


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    number: int
    agent_id: str
    session: str
    host: str
    started_at: int
    status: str = "in_progress"
    reason: str = ""
    ended_at: int | None = None
    exit_code: int | None = None
    began_at: int | None = None


class Artifact(Struct, frozen=True, kw_only=True, gc=False):
    record: ArtifactAdded
    timestamp: int


class Task(Struct, frozen=True, kw_only=True, gc=False):
    id: str
    version: int = 0
    status: str = "absent"
    reason: str = ""
    name: str = ""
    project: str = ""
    type: str = ""
    content: str = ""
    edits: tuple[Edit, ...] = ()
    overrides: Overrides | None = None
    parent: str | None = None
    origin: str | None = None
    cloned_from: str | None = None
    run_id: str | None = None
    step: str | None = None
    on_lost: str = "requeue"
    max_attempts: int = 3
    draft: bool = False
    queue: str | None = None
    priority: int = 0
    queued_from: str = "created"
    enqueued_after: int = 0  # the attempts made before it was last put into a queue
    stop_requested: bool = False
    stop_reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    incomplete: bool = False  # artifacts were removed after it had completed: nobody may reuse its results
    models: tuple[ModelAdded, ...] = ()
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created_at: int | None = None
    queued_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def attempt(self) -> int:
        """The number of the last attempt, 0 before the first."""
        return self.attempts[-1].number if self.attempts else 0

    def held_by(self, session: str, attempt: int) -> bool:
        return self.status == "in_progress" and self.attempt == attempt and self.attempts[-1].session == session
