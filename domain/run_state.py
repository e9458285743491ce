"""The state of a run, and of its steps, hooks and host.

The steps live in a persistent map, so that an uncommitted decision is dropped by dropping a reference.
"""

from collections.abc import Mapping
from typing import Any

from immutables import Map
from msgspec import Struct, field

from domain.content import Edit, Overrides
from domain.lifecycle import STEP_STATES
from domain.pipeline import Plan
from domain.run_events import CacheAnswered, CacheAsked, HookRequested
from domain.task_events import ModelAdded
from domain.task_state import Artifact, Attempt

# What a step may pass on its way to its task, in this order.
APPROVAL, PRE, FACTORY, CACHE, ADOPTION, CREATED = "approval", "pre", "factory", "cache", "adoption", "created"

SECOND = 1_000_000  # microseconds


# `omit_defaults`: of 100,000 plain steps a snapshot holds what is their own, and those without gates get NO_GATES back.
class Gates(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What only few steps have: what holds them before their task starts and after it has ended."""

    passed: frozenset[str] = frozenset()
    # approval, hook, retry, draft, pause; within an append also cache, adoption, completion; "" for none of them
    waits_for: str = ""
    parameters: Mapping[str, Any] | None = None  # the overrides as its pre hook left them
    queue: str | None = None  # as its pre hook left it
    made: str | None = None  # the task that its factory made, or that it adopts
    retries: int = 0
    asked: frozenset[str] = frozenset()  # what the host was asked since the task last ended
    outcome: tuple[str, str] | None = None  # what the task ended as, while that is not yet what the step ends as
    done: bool = False  # the task completed, whatever the step comes to: it has to be reset to run again
    timed_out: str = ""
    key: CacheAsked | None = None
    found: CacheAnswered | None = None
    told: str = ""  # where the host is told of its status: the last one, the one before, and the run version of it
    previous: str = ""
    told_at: int = 0


class Step(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    status: str = "pending"
    reason: str = ""
    task_id: str | None = None
    attempts: int = 0
    queue: str | None = None
    overrides: Overrides | None = None
    edits: tuple[Edit, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    models: tuple[ModelAdded, ...] = ()
    stop_requested: bool = False
    queued_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    run_id: str | None = None  # of the pipeline that it runs
    halted: bool = False  # skipped only because the run was ended
    gates: Gates = Gates()


class Hook(Struct, frozen=True, kw_only=True, gc=False):
    """A question to the host that has no answer yet."""

    asked: HookRequested
    at: int


class Host(Struct, frozen=True, kw_only=True, gc=False):
    status: str = ""  # "" before it is asked for; queued, running, lost, ended
    queue: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def attempt(self) -> int:
        return self.attempts[-1].number if self.attempts else 0

    def held_by(self, session: str, attempt: int) -> bool:
        return self.status == "running" and self.attempt == attempt and self.attempts[-1].session == session


class Outputs(Struct, frozen=True, kw_only=True, gc=False):
    """What the run itself puts out, being a task too."""

    edits: tuple[Edit, ...] = ()
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    models: tuple[ModelAdded, ...] = ()


PENDING = Step()
NO_GATES = PENDING.gates
NO_COUNTS: Mapping[str, int] = dict.fromkeys(STEP_STATES, 0)


class Run(Struct, frozen=True, kw_only=True, gc=False):
    id: str
    plan: Plan
    version: int = 0  # the run version
    status: str = "absent"
    reason: str = ""
    name: str = ""
    project: str = ""
    kind: str = "pipeline"
    definition: str = ""
    content: str | None = None
    pipeline_id: str | None = None
    pipeline_version: str = ""
    number: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None
    queues: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    origin: str | None = None
    cache: str = "use"
    parent_run: str | None = None
    parent_step: str | None = None
    steps: Map[str, Step] = field(
        default_factory=Map[str, Step]
    )  # those that something has happened to; the others are PENDING
    blocked: Map[str, int] = field(
        default_factory=Map[str, int]
    )  # unfinished parents, where some have finished already
    open: int = 0  # steps that have not ended
    counts: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    ending: str | None = None  # the outcome it has been told to end with, no more steps start
    aborted_by: str | None = None  # the step whose failure ended it, where the pipeline aborts on failure
    failure: str = ""  # why it cannot end well: the first step that went wrong
    host: Host = Host()
    hooks: Map[str, Hook] = field(default_factory=Map[str, Hook])  # open ones
    timers: Map[tuple[str, str], int] = field(default_factory=Map[tuple[str, str], int])  # (kind, name): due at
    calls: tuple[str, ...] = ()  # of a dynamic run: the steps in the order in which they were added
    fingerprints: tuple[str, ...] = ()
    outputs: Outputs = Outputs()
    created_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None

    def step(self, name: str) -> Step:
        return self.steps.get(name, PENDING)

    @property
    def no_answer(self) -> str:
        return f"the pipeline's host did not answer its callback within {self.plan.definition.hook_timeout:g} s"

    @property
    def too_long(self) -> str:
        return f"it ran longer than its time limit of {self.plan.definition.time_limit or 0:g} s"

    @property
    def finished(self) -> bool:
        """Whether nothing more can happen: no step is open, and no host that could add one."""
        return self.open == 0 and not (self.plan.definition.dynamic and self.host.status not in ("", "ended"))
