"""The state of a run, folded from its own events and those of its tasks, by run version.

The cost of one event does not depend on the size of the run: readiness is a count of unfinished parents, and the steps
live in a persistent map, so that an uncommitted decision is dropped by dropping a reference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from immutables import Map

from domain.changed import replace
from domain.content import Edit, Overrides
from domain.ids import step_task_id
from domain.lifecycle import RUN_ENDED, STEP_ENDED, STEP_STATES
from domain.pipeline import STRICT, Plan
from domain.run_events import (
    AdoptionAsked,
    AdoptionRefused,
    ApprovalRequested,
    CacheAnswered,
    CacheAsked,
    ChildRunEnded,
    ChildRunLaunched,
    ChildStopRequested,
    DeadlinePassed,
    Fact,
    HookAnswered,
    HookRequested,
    HostEnded,
    HostEnqueued,
    HostLost,
    HostStarted,
    RunCompleted,
    RunCreated,
    RunEdited,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopped,
    RunStopRequested,
    StepAdded,
    StepApproved,
    StepFailed,
    StepRejected,
    StepRetryScheduled,
    StepSettled,
    StepSkipped,
    StepsReopened,
)
from domain.task import (
    Artifact,
    ArtifactAdded,
    Attempt,
    ModelAdded,
    TaskAdopted,
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEdited,
    TaskEnqueued,
    TaskFailed,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
    added_model,
)

# What a step may pass on its way to its task, in this order.
APPROVAL, PRE, FACTORY, CACHE, ADOPTION, CREATED = "approval", "pre", "factory", "cache", "adoption", "created"

SECOND = 1_000_000  # microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
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


@dataclass(frozen=True, kw_only=True)
class Step:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A question to the host that has no answer yet."""

    asked: HookRequested
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    status: str = ""  # "" before it is asked for; queued, running, lost, ended
    queue: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def attempt(self) -> int:
        return self.attempts[-1].number if self.attempts else 0

    def held_by(self, session: str, attempt: int) -> bool:
        return self.status == "running" and self.attempt == attempt and self.attempts[-1].session == session


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What the run itself puts out, being a task too."""

    edits: tuple[Edit, ...] = ()
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    models: tuple[ModelAdded, ...] = ()


PENDING = Step()
NO_COUNTS: Mapping[str, int] = dict.fromkeys(STEP_STATES, 0)


@dataclass(frozen=True, kw_only=True)
class Run:
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


def fold(facts: Iterable[Fact], run: Run) -> Run:
    for fact in facts:
        run = evolve(run, fact)
    return run


def evolve(run: Run, fact: Fact) -> Run:
    """`run` after `fact`. Total: history is never refused, whatever today's rules say."""
    run = replace(run, version=fact.run_version)
    if fact.step is not None:
        return _evolve_step(run, fact.step, fact)
    return _evolve_run(run, fact)


def _evolve_run(run: Run, fact: Fact) -> Run:
    event, at = fact.event, fact.at
    match event:
        case RunCreated():
            return _created(run, event, at)
        case RunStarted():
            limit = run.plan.definition.time_limit
            timers = run.timers if limit is None else run.timers.set(("run_time_limit", ""), at + int(limit * SECOND))
            return replace(run, status="running", started_at=at, timers=timers)
        case RunPaused():
            return replace(run, status="paused", reason=event.reason or "paused")
        case RunResumed():
            return replace(run, status="running", reason="")
        case RunStopRequested():
            return replace(run, ending=event.outcome, reason=event.reason)
        case RunCompleted():
            return _over(run, "completed", "", at)
        case RunFailed():
            return _over(run, "failed", event.reason, at)
        case RunStopped():
            return _over(run, "stopped", event.reason, at)
        case RunEdited():
            return _edited(run, event)
        case StepsReopened():
            return _reopened(run, event)
        case DeadlinePassed():
            why = run.too_long
            timers = _without(run.timers, ("run_time_limit", ""))
            return replace(run, timers=timers, ending=run.ending or "failed", failure=run.failure or why)
        case HostEnqueued() | HostStarted() | HostLost() | HostEnded():
            return _evolve_host(run, event, at)
        case ArtifactAdded():
            artifacts = {**run.outputs.artifacts, event.name: Artifact(record=event, timestamp=at)}
            return replace(run, outputs=replace(run.outputs, artifacts=artifacts))
        case ModelAdded():
            return replace(run, outputs=replace(run.outputs, models=added_model(run.outputs.models, event)))
        case _:
            return run


def _created(run: Run, event: RunCreated, at: int) -> Run:
    steps = len(run.plan.definition.steps)
    return replace(
        run,
        status="created",
        name=event.name,
        project=event.project,
        kind=event.kind,
        definition=event.definition,
        content=event.content,
        pipeline_id=event.pipeline_id,
        pipeline_version=event.pipeline_version,
        number=event.number,
        parameters=event.parameters,
        queue=event.queue,
        queues=frozenset(event.queues),
        tags=tuple(event.tags),
        origin=event.origin,
        cache=event.cache,
        parent_run=event.parent_run,
        parent_step=event.parent_step,
        open=steps,
        counts={**NO_COUNTS, "pending": steps},
        created_at=at,
    )


def _over(run: Run, status: str, reason: str, at: int) -> Run:
    return replace(run, status=status, reason=reason, ended_at=at, timers=Map[tuple[str, str], int]())


def _edited(run: Run, event: RunEdited) -> Run:
    outputs = run.outputs
    if event.edit is not None:
        outputs = replace(outputs, edits=(*outputs.edits, event.edit))
    if event.runtime is not None:
        both = {**outputs.runtime, **event.runtime}
        outputs = replace(outputs, runtime={name: value for name, value in both.items() if value is not None})
    tags = run.tags if event.edit is None or event.edit.tags is None else tuple(event.edit.tags)
    parameters = {**run.parameters, **event.parameters} if event.parameters else run.parameters
    return replace(run, name=event.name or run.name, tags=tags, parameters=parameters, outputs=outputs)


def _evolve_host(run: Run, event: HostEnqueued | HostStarted | HostLost | HostEnded, at: int) -> Run:
    host = run.host
    match event:
        case HostEnqueued():
            return replace(run, host=replace(host, status="queued", queue=event.queue))
        case HostStarted():
            attempt = Attempt(
                number=event.attempt, agent_id=event.agent_id, session=event.session, host=event.host, started_at=at
            )
            run = replace(run, host=replace(host, status="running", attempts=(*host.attempts, attempt)))
            # Who is asked anew has the whole time anew.
            for hook_id in run.hooks if run.status not in RUN_ENDED else ():
                run = _hook_timer(run, hook_id, at)
            return run
        case HostLost():
            attempts = _attempt_ended(host.attempts, "lost", event.reason, at)
            run = replace(run, host=replace(host, status="lost", attempts=attempts))
            for hook_id in run.hooks:
                run = replace(run, timers=_without(run.timers, ("hook", hook_id)))
            return run
        case HostEnded():
            attempts = _attempt_ended(host.attempts, event.status, event.reason, at, event.exit_code, event.began_at)
            return replace(run, host=replace(host, status="ended", attempts=attempts))


def _attempt_ended(
    attempts: tuple[Attempt, ...],
    status: str,
    reason: str,
    at: int,
    exit_code: int | None = None,
    began_at: int | None = None,
) -> tuple[Attempt, ...]:
    if not attempts or attempts[-1].status != "in_progress":
        return attempts  # lost before: what was to follow it ended before it began
    last = replace(attempts[-1], status=status, reason=reason, ended_at=at, exit_code=exit_code, began_at=began_at)
    return (*attempts[:-1], last)


def _reopened(run: Run, event: StepsReopened) -> Run:
    names = event.steps
    counts = dict(run.counts)
    steps = run.steps
    for name in names:
        old = run.step(name)
        kept = Step(task_id=old.task_id, attempts=old.attempts, queue=old.queue, overrides=old.overrides)
        kept = replace(kept, gates=_reopened_gates(old))
        if name == names[0] and not event.launch:
            kept = replace(kept, gates=replace(kept.gates, waits_for="completion"))
        elif _is_untouched_draft(run, name, kept):
            kept = _waiting(kept, "draft")  # as its task has done since it was made
        counts[old.status] -= 1
        counts[kept.status] += 1
        steps = steps.set(name, kept)
    if run.status in RUN_ENDED:
        run = replace(run, status="running", reason="", ended_at=None)
    run = replace(run, steps=steps, counts=counts, open=run.open + len(names), ending=None, aborted_by=None, failure="")
    run = replace(run, blocked=_blocked(run))
    for name in run.plan.names:  # in the order of definition: that of the map is another one in each process
        step = run.step(name)
        if failure := _failure(run, name, step.status, step.reason):
            return replace(run, failure=failure)
    return run


def _is_untouched_draft(run: Run, name: str, step: Step) -> bool:
    asked = CREATED not in run.plan.hooks(name) or CREATED in step.gates.passed
    made = step.task_id is not None and not step.attempts and not step.gates.done
    return run.plan.steps[name].draft and made and asked


def _reopened_gates(old: Step) -> Gates:
    """What an approval, a callback said before holds still, but for the callback that may have skipped the step."""
    gates = old.gates
    passed = gates.passed if old.task_id else gates.passed - {CACHE}
    if old.status == "skipped":
        return Gates(passed=passed - {PRE, CREATED}, made=gates.made, key=gates.key, done=gates.done)
    kept = Gates(passed=passed, made=gates.made, key=gates.key, done=gates.done)
    return replace(kept, parameters=gates.parameters, queue=gates.queue)


def _blocked(run: Run) -> Map[str, int]:
    """Unfinished parents of each step that has finished ones, counted anew."""
    blocked: dict[str, int] = {}
    for name, parents in run.plan.parents.items():
        left = sum(run.step(parent).status not in STEP_ENDED for parent in parents)
        if left < len(parents):
            blocked[name] = left
    return Map(blocked)


# Steps


def _evolve_step(run: Run, name: str, fact: Fact) -> Run:
    event, at = fact.event, fact.at
    if isinstance(event, StepAdded):
        return _added(run, event)
    step = run.step(name)
    match event:
        case TaskCreated():
            return _task_made(run, name, replace(step, task_id=step_task_id(run.id, name), overrides=event.overrides))
        case TaskAdopted():
            made = replace(step, task_id=fact.stream.partition("-")[2], overrides=event.overrides)
            return _task_made(run, name, _passed(made, ADOPTION))
        case TaskEnqueued():
            gates = step.gates if step.gates is _NO_GATES else replace(step.gates, waits_for="", outcome=None)
            run = _forget_hooks(run, name)  # somebody may have enqueued a draft before its callback has answered
            queued = replace(step, status="queued", reason="", queue=event.queue, queued_at=at, gates=gates)
            return _with(run, name, queued)
        case TaskReset():
            return _with(run, name, replace(step, gates=replace(step.gates, done=False)))
        case TaskStarted():
            started = replace(step, status="running", reason="", attempts=event.attempt, started_at=at)
            run = _with(run, name, started)
            limit = run.plan.steps[name].time_limit
            return run if limit is None else _timer(run, ("time_limit", name), at + int(limit * SECOND))
        case TaskStopRequested():
            return _with(run, name, replace(step, stop_requested=True))
        case TaskRequeued():
            run = _with(run, name, replace(step, status="queued", reason=event.reason, queued_at=at))
            return replace(run, timers=_without(run.timers, ("time_limit", name)))
        case TaskCompleted():
            return _task_ended(run, name, "completed", event.reason, at)
        case TaskFailed():
            return _task_ended(run, name, "failed", event.reason, at)
        case TaskStopped():
            return _task_ended(run, name, "stopped", event.reason, at)
        case TaskDequeued():
            if step.status != "queued":
                return run
            back = replace(step, status="waiting", queued_at=None, gates=replace(step.gates, waits_for="pause"))
            return _with(run, name, back)
        case ArtifactAdded():
            added = {**step.artifacts, event.name: Artifact(record=event, timestamp=at)}
            return _with(run, name, replace(step, artifacts=added))
        case ModelAdded():
            return _with(run, name, replace(step, models=added_model(step.models, event)))
        case TaskEdited():
            if event.edit is None:
                return run
            return _with(run, name, replace(step, edits=(*step.edits, event.edit)))
        case StepSkipped():
            halted = replace(step, halted=run.ending is not None)
            return _ended(_with(run, name, halted), name, "skipped", event.reason, at)
        case StepFailed():
            return _ended(run, name, "failed", event.reason, at)
        case _:
            return _evolve_gates(run, name, step, fact)


_NO_GATES = PENDING.gates


def _task_made(run: Run, name: str, step: Step) -> Run:
    if run.plan.steps[name].draft and step.status == "pending" and step.gates.waits_for != "completion":
        step = replace(step, status="waiting", gates=replace(step.gates, waits_for="draft"))
    return _with(run, name, step)


def _evolve_gates(run: Run, name: str, step: Step, fact: Fact) -> Run:
    """What holds a step before its task starts and after it has ended."""
    event, at, gates = fact.event, fact.at, step.gates
    match event:
        case ApprovalRequested():
            run = _with(run, name, _waiting(step, "approval"))
            if event.deadline is None:
                return run
            return _timer(run, ("approval", name), at + int(event.deadline * SECOND))
        case StepApproved():
            run = replace(run, timers=_without(run.timers, ("approval", name)))
            if run.plan.has_template(name):
                return _with(run, name, _passed(replace(step, status="pending"), APPROVAL))
            said = f"approved by {event.actor}" if event.actor else "approved"
            return _ended(run, name, "completed", f"{said}{f': {event.reason}' if event.reason else ''}", at)
        case StepRejected():
            said = f"rejected by {event.actor}" if event.actor else "rejected"
            return _ended(run, name, "failed", f"{said}{f': {event.reason}' if event.reason else ''}", at)
        case HookRequested():
            hooks = run.hooks.set(event.id, Hook(asked=event, at=at))
            run = replace(run, hooks=hooks)
            if run.host.status == "running" and run.status not in RUN_ENDED:
                run = _hook_timer(run, event.id, at)
            if event.kind == "status":
                return run
            asked = replace(gates, waits_for="hook", asked=gates.asked | {event.kind})
            return _with(run, name, replace(step, status="waiting", gates=asked))
        case HookAnswered():
            return _answered(run, name, step, event)
        case CacheAsked():
            asked = replace(gates, key=event, passed=gates.passed | {CACHE}, waits_for="cache" if event.look else "")
            return _with(run, name, replace(step, gates=asked))
        case CacheAnswered():
            found = replace(gates, found=event, waits_for="")
            if event.task_id is None:
                return _with(run, name, replace(step, gates=found))
            reused = replace(
                step,
                task_id=event.task_id,
                gates=found,
                artifacts={one.name: Artifact(record=one, timestamp=at) for one in event.artifacts},
                models=tuple(event.models),
                edits=() if event.edit is None else (event.edit,),
            )
            return _ended(_with(run, name, reused), name, "cached", event.reason, at)
        case AdoptionAsked():
            return _with(run, name, replace(step, gates=replace(gates, made=event.task_id, waits_for="adoption")))
        case AdoptionRefused():
            return _with(run, name, _passed(replace(step, reason=event.reason), ADOPTION))
        case ChildRunLaunched():
            launched = replace(step, run_id=event.run_id, task_id=event.run_id, attempts=step.attempts + 1)
            run = _with(run, name, replace(launched, status="running", queued_at=at, started_at=at))
            limit = run.plan.steps[name].time_limit
            return run if limit is None else _timer(run, ("time_limit", name), at + int(limit * SECOND))
        case ChildStopRequested():
            return _with(run, name, replace(step, stop_requested=True))
        case ChildRunEnded():
            artifacts = {one.name: Artifact(record=one, timestamp=at) for one in event.artifacts}
            run = _with(run, name, replace(step, artifacts=artifacts, models=tuple(event.models)))
            return _task_ended(run, name, event.status, event.reason, at)
        case StepRetryScheduled():
            waiting = replace(gates, waits_for="retry", retries=event.retry, outcome=None, asked=frozenset[str]())
            waiting = replace(waiting, timed_out="")
            run = _with(run, name, replace(step, status="waiting", reason=event.reason, gates=waiting))
            run = replace(run, steps=run.steps.set(name, replace(run.step(name), stop_requested=False)))
            return run if event.delay <= 0 else _timer(run, ("retry", name), at + int(event.delay * SECOND))
        case StepSettled():
            return _ended(run, name, event.status, event.reason, at)
        case DeadlinePassed():
            return _deadline(run, name, step, event)
        case _:
            return run


def _answered(run: Run, name: str, step: Step, event: HookAnswered) -> Run:
    run = replace(run, hooks=_without(run.hooks, event.id), timers=_without(run.timers, ("hook", event.id)))
    if event.kind == "status":
        if not event.error or run.failure:
            return run
        return replace(run, failure=f"status_change_callback of step {name!r} raised {last_line(event.error)}")
    if step.status != "waiting":
        return run
    gates = replace(step.gates, waits_for="", passed=step.gates.passed | {event.kind})
    if event.kind == "pre":
        gates = replace(gates, parameters=event.parameters, queue=event.queue)
    if event.kind == "factory":
        gates = replace(gates, made=event.task_id)
    status = "waiting"
    if event.kind == CREATED and run.plan.steps[name].draft:
        gates = replace(gates, waits_for="draft")
    elif event.kind in (PRE, FACTORY):
        status = "pending"
    return _with(run, name, replace(step, status=status, gates=gates))


def _deadline(run: Run, name: str, step: Step, event: DeadlinePassed) -> Run:
    run = replace(run, timers=_without(run.timers, (event.kind, event.name)))
    if event.kind == "time_limit":
        limit = run.plan.steps[name].time_limit or 0
        timed_out = f"it ran longer than its time limit of {limit:g} s"
        return _with(run, name, replace(step, gates=replace(step.gates, timed_out=timed_out)))
    if event.kind == "hook":
        hook = run.hooks.get(event.name)
        run = replace(run, hooks=_without(run.hooks, event.name))
        if hook is not None and hook.asked.kind == "status" and not run.failure:
            return replace(run, failure=f"status_change_callback of step {name!r}: {run.no_answer}")
    return run


def last_line(traceback: str) -> str:
    lines = traceback.strip().splitlines()
    return lines[-1].strip() if lines else "an error"


def _added(run: Run, event: StepAdded) -> Run:
    plan = run.plan.with_step(event.step, event.content)
    name = event.step.name
    parents = plan.parents[name]
    left = sum(run.step(parent).status not in STEP_ENDED for parent in parents)
    return replace(
        run,
        plan=plan,
        open=run.open + 1,
        counts={**run.counts, "pending": run.counts["pending"] + 1},
        blocked=run.blocked.set(name, left) if left < len(parents) else run.blocked,
        calls=(*run.calls, name),
        fingerprints=(*run.fingerprints, event.fingerprint),
    )


def _waiting(step: Step, for_what: str) -> Step:
    return replace(step, status="waiting", gates=replace(step.gates, waits_for=for_what))


def _passed(step: Step, gate: str) -> Step:
    return replace(step, gates=replace(step.gates, passed=step.gates.passed | {gate}, waits_for=""))


def _timer(run: Run, key: tuple[str, str], due_at: int) -> Run:
    return replace(run, timers=run.timers.set(key, due_at))


def _hook_timer(run: Run, hook_id: str, at: int) -> Run:
    return _timer(run, ("hook", hook_id), at + int(run.plan.definition.hook_timeout * SECOND))


def _without(kept: Map[Any, Any], key: Any) -> Map[Any, Any]:
    return kept.delete(key) if key in kept else kept


def _with(run: Run, name: str, step: Step) -> Run:
    old = run.step(name).status
    counts = run.counts
    if old != step.status:
        counts = {**counts, old: counts[old] - 1, step.status: counts[step.status] + 1}
        if "status" in run.plan.hooks(name):
            step = _told(step, run.version)
    return replace(run, steps=run.steps.set(name, step), counts=counts)


def _told(step: Step, version: int) -> Step:
    """Waiting is nothing to tell of: what counts for the host is what the task comes to."""
    gates = step.gates
    if step.status in ("waiting", gates.told or "pending"):
        return step
    told = replace(gates, told=step.status, previous=gates.told or "pending", told_at=version)
    return replace(step, gates=told)


def _task_ended(run: Run, name: str, status: str, reason: str, at: int) -> Run:
    step = run.step(name)
    run = _forget_timers(_forget_hooks(run, name), name)
    if step.gates.timed_out and status == "stopped":
        status, reason = "failed", step.gates.timed_out
    if step.status in STEP_ENDED or run.ending or not _settles_later(run, name, status):
        return _ended(run, name, status, reason, at)
    gates = replace(step.gates, outcome=(status, reason), asked=frozenset[str](), waits_for="hook")
    gates = replace(gates, done=status == "completed")
    return _with(run, name, replace(step, status="waiting", reason=reason, gates=gates))


def _settles_later(run: Run, name: str, status: str) -> bool:
    """Whether something follows the end of the step's task before the step has ended: a retry, or a callback."""
    hooks = run.plan.hooks(name)
    if "post" in hooks:
        return True
    return status == "failed" and ("retry" in hooks or retries_left(run, name))


def retries_left(run: Run, name: str) -> bool:
    retry = run.plan.retry(name)
    return retry is not None and run.step(name).gates.retries < retry.times


def _ended(run: Run, name: str, status: str, reason: str, at: int) -> Run:
    step = run.step(name)
    if step.status in STEP_ENDED:
        return run
    if step.gates is not _NO_GATES:
        step = replace(step, gates=replace(step.gates, waits_for="", outcome=None))
    run = _with(run, name, replace(step, status=status, reason=reason, ended_at=at))
    run = _forget_timers(_forget_hooks(run, name), name)
    blocked = run.blocked
    for child in run.plan.children[name]:
        blocked = blocked.set(child, blocked.get(child, len(run.plan.parents[child])) - 1)
    run = replace(run, blocked=blocked, open=run.open - 1)
    failure = _failure(run, name, status, reason)
    if not failure or run.ending:
        return run
    aborts = run.plan.definition.abort_on_failure and status == "failed"
    return replace(
        run,
        failure=run.failure or failure,
        ending="failed" if aborts else None,
        aborted_by=name if aborts else None,
    )


def _forget_timers(run: Run, name: str) -> Run:
    timers = run.timers
    if timers:
        for key in (("time_limit", name), ("retry", name), ("approval", name)):
            timers = _without(timers, key)
    return run if timers is run.timers else replace(run, timers=timers)


def _forget_hooks(run: Run, name: str) -> Run:
    """What gates the step need not be answered any more, once its task is queued or has ended."""
    for hook_id, hook in run.hooks.items() if run.hooks else ():
        if hook.asked.step == name and hook.asked.kind != "status":
            run = replace(run, hooks=_without(run.hooks, hook_id), timers=_without(run.timers, ("hook", hook_id)))
    return run


def _failure(run: Run, name: str, status: str, reason: str) -> str:
    """Why the run cannot end well after the step has ended with `status`; empty when it can."""
    behaviour = run.plan.steps[name].continue_behaviour or STRICT
    bad = (status == "failed" and not behaviour.continue_on_fail) or (
        status == "stopped" and not behaviour.continue_on_abort
    )
    if not bad:
        return ""
    return f"step {name!r} {'failed' if status == 'failed' else 'was stopped'}{f': {reason}' if reason else ''}"
