"""A run as its events leave it: folded from its own and those of its tasks, by run version.

The cost of one event does not depend on the size of the run: readiness is a count of unfinished parents.
"""

from collections.abc import Iterable

from immutables import Map
from msgspec.structs import replace

from domain.ids import task_of
from domain.lifecycle import RUN_ENDED, STEP_ENDED
from domain.run_events import (
    DeadlinePassed,
    Fact,
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
    StepFailed,
    StepSkipped,
    StepsReopened,
)
from domain.run_gates import evolve_gates
from domain.run_state import ADOPTION, CACHE, CREATED, NO_COUNTS, NO_GATES, PRE, SECOND, Gates, Run, Step
from domain.run_steps import (
    ended,
    failure_of,
    forget_hooks,
    held,
    hook_timer,
    passed,
    task_ended,
    timer,
    with_step,
    without,
)
from domain.task_events import (
    ArtifactAdded,
    ArtifactsRemoved,
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
)
from domain.task_fold import added_model, artifacts_left
from domain.task_state import Artifact, Attempt


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
            return replace(run, status="running", started_at=at, timers=_limited(run, at))
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
            return _reopened(run, event, at)
        case DeadlinePassed():
            why = run.too_long
            timers = without(run.timers, ("run_time_limit", ""))
            return replace(run, timers=timers, ending=run.ending or "failed", failure=run.failure or why)
        case HostEnqueued() | HostStarted() | HostLost() | HostEnded():
            return _evolve_host(run, event, at)
        case ArtifactAdded():
            artifacts = {**run.outputs.artifacts, event.name: Artifact(record=event, timestamp=at)}
            return replace(run, outputs=replace(run.outputs, artifacts=artifacts))
        case ArtifactsRemoved():
            left = artifacts_left(run.outputs.artifacts, event)
            return replace(run, outputs=replace(run.outputs, artifacts=left))
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
                run = hook_timer(run, hook_id, at)
            return run
        case HostLost():
            attempts = _attempt_ended(host.attempts, "lost", event.reason, at)
            run = replace(run, host=replace(host, status="lost", attempts=attempts))
            for hook_id in run.hooks:
                run = replace(run, timers=without(run.timers, ("hook", hook_id)))
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


def _limited(run: Run, at: int) -> Map[tuple[str, str], int]:
    """The run's timers with its own time limit, which begins at `at` unless it goes on already."""
    limit, key = run.plan.definition.time_limit, ("run_time_limit", "")
    return run.timers if limit is None or key in run.timers else run.timers.set(key, at + int(limit * SECOND))


def _reopened(run: Run, event: StepsReopened, at: int) -> Run:
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
            kept = held(kept, "draft")  # as its task has done since it was made
        counts[old.status] -= 1
        counts[kept.status] += 1
        steps = steps.set(name, kept)
    if run.status in RUN_ENDED:
        run = replace(run, status="running", reason="", ended_at=None)
    run = replace(run, steps=steps, counts=counts, open=run.open + len(names), ending=None, aborted_by=None, failure="")
    run = replace(run, blocked=_blocked(run), timers=_limited(run, at))
    for name in run.plan.names:  # in the order of definition: that of the map is another one in each process
        step = run.step(name)
        if failure := failure_of(run, name, step.status, step.reason):
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
            return _task_made(run, name, replace(step, task_id=task_of(fact.stream), overrides=event.overrides))
        case TaskAdopted():
            made = replace(step, task_id=task_of(fact.stream), overrides=event.overrides)
            return _task_made(run, name, passed(made, ADOPTION))
        case TaskEnqueued():
            gates = step.gates if step.gates is NO_GATES else replace(step.gates, waits_for="", outcome=None)
            run = forget_hooks(run, name)  # somebody may have enqueued a draft before its callback has answered
            queued = replace(step, status="queued", reason="", queue=event.queue, queued_at=at, gates=gates)
            return with_step(run, name, queued)
        case TaskReset():
            return with_step(run, name, replace(step, gates=replace(step.gates, done=False)))
        case TaskStarted():
            started = replace(step, status="running", reason="", attempts=event.attempt, started_at=at)
            run = with_step(run, name, started)
            limit = run.plan.steps[name].time_limit
            return run if limit is None else timer(run, ("time_limit", name), at + int(limit * SECOND))
        case TaskStopRequested():
            return with_step(run, name, replace(step, stop_requested=True))
        case TaskRequeued():
            run = with_step(run, name, replace(step, status="queued", reason=event.reason, queued_at=at))
            return replace(run, timers=without(run.timers, ("time_limit", name)))
        case TaskCompleted():
            return task_ended(run, name, "completed", event.reason, at)
        case TaskFailed():
            return task_ended(run, name, "failed", event.reason, at)
        case TaskStopped():
            return task_ended(run, name, "stopped", event.reason, at)
        case TaskDequeued():
            if step.status != "queued":
                return run
            back = replace(step, status="waiting", queued_at=None, gates=replace(step.gates, waits_for="pause"))
            return with_step(run, name, back)
        case ArtifactAdded():
            added = {**step.artifacts, event.name: Artifact(record=event, timestamp=at)}
            return with_step(run, name, replace(step, artifacts=added))
        case ArtifactsRemoved():
            return with_step(run, name, replace(step, artifacts=artifacts_left(step.artifacts, event)))
        case ModelAdded():
            return with_step(run, name, replace(step, models=added_model(step.models, event)))
        case TaskEdited():
            if event.edit is None:
                return run
            return with_step(run, name, replace(step, edits=(*step.edits, event.edit)))
        case StepSkipped():
            halted = replace(step, halted=run.ending is not None)
            return ended(with_step(run, name, halted), name, "skipped", event.reason, at)
        case StepFailed():
            return ended(run, name, "failed", event.reason, at)
        case _:
            return evolve_gates(run, name, step, fact)


def _task_made(run: Run, name: str, step: Step) -> Run:
    if run.plan.steps[name].draft and step.status == "pending" and step.gates.waits_for != "completion":
        step = replace(step, status="waiting", gates=replace(step.gates, waits_for="draft"))
    return with_step(run, name, step)


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
