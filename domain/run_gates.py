"""The fold of what holds a step before its task starts and after it has ended."""

from msgspec.structs import replace

from domain.lifecycle import RUN_ENDED
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
    StepApproved,
    StepRejected,
    StepRetryScheduled,
    StepSettled,
)
from domain.run_state import ADOPTION, APPROVAL, CACHE, CREATED, FACTORY, PRE, SECOND, Hook, Run, Step
from domain.run_steps import ended, held, hook_timer, passed, task_ended, timer, with_step, without
from domain.task_state import Artifact


def evolve_gates(run: Run, name: str, step: Step, fact: Fact) -> Run:
    """What holds a step before its task starts and after it has ended."""
    event, at, gates = fact.event, fact.at, step.gates
    match event:
        case ApprovalRequested():
            run = with_step(run, name, held(step, "approval"))
            if event.deadline is None:
                return run
            return timer(run, ("approval", name), at + int(event.deadline * SECOND))
        case StepApproved():
            run = replace(run, timers=without(run.timers, ("approval", name)))
            if run.plan.has_template(name):
                return with_step(run, name, passed(replace(step, status="pending"), APPROVAL))
            said = f"approved by {event.actor}" if event.actor else "approved"
            return ended(run, name, "completed", f"{said}{f': {event.reason}' if event.reason else ''}", at)
        case StepRejected():
            said = f"rejected by {event.actor}" if event.actor else "rejected"
            return ended(run, name, "failed", f"{said}{f': {event.reason}' if event.reason else ''}", at)
        case HookRequested():
            hooks = run.hooks.set(event.id, Hook(asked=event, at=at))
            run = replace(run, hooks=hooks)
            if run.host.status == "running" and run.status not in RUN_ENDED:
                run = hook_timer(run, event.id, at)
            if event.kind == "status":
                return run
            asked = replace(gates, waits_for="hook", asked=gates.asked | {event.kind})
            return with_step(run, name, replace(step, status="waiting", gates=asked))
        case HookAnswered():
            return _answered(run, name, step, event)
        case CacheAsked():
            asked = replace(gates, key=event, passed=gates.passed | {CACHE}, waits_for="cache" if event.look else "")
            return with_step(run, name, replace(step, gates=asked))
        case CacheAnswered():
            found = replace(gates, found=event, waits_for="")
            if event.task_id is None:
                return with_step(run, name, replace(step, gates=found))
            reused = replace(
                step,
                task_id=event.task_id,
                gates=found,
                artifacts={one.name: Artifact(record=one, timestamp=at) for one in event.artifacts},
                models=tuple(event.models),
                edits=() if event.edit is None else (event.edit,),
            )
            return ended(with_step(run, name, reused), name, "cached", event.reason, at)
        case AdoptionAsked():
            return with_step(run, name, replace(step, gates=replace(gates, made=event.task_id, waits_for="adoption")))
        case AdoptionRefused():
            return with_step(run, name, passed(replace(step, reason=event.reason), ADOPTION))
        case ChildRunLaunched():
            launched = replace(step, run_id=event.run_id, task_id=event.run_id, attempts=step.attempts + 1)
            run = with_step(run, name, replace(launched, status="running", queued_at=at, started_at=at))
            limit = run.plan.steps[name].time_limit
            return run if limit is None else timer(run, ("time_limit", name), at + int(limit * SECOND))
        case ChildStopRequested():
            return with_step(run, name, replace(step, stop_requested=True))
        case ChildRunEnded():
            artifacts = {one.name: Artifact(record=one, timestamp=at) for one in event.artifacts}
            run = with_step(run, name, replace(step, artifacts=artifacts, models=tuple(event.models)))
            return task_ended(run, name, event.status, event.reason, at)
        case StepRetryScheduled():
            waiting = replace(gates, waits_for="retry", retries=event.retry, outcome=None, asked=frozenset[str]())
            waiting = replace(waiting, timed_out="")
            run = with_step(run, name, replace(step, status="waiting", reason=event.reason, gates=waiting))
            run = replace(run, steps=run.steps.set(name, replace(run.step(name), stop_requested=False)))
            return run if event.delay <= 0 else timer(run, ("retry", name), at + int(event.delay * SECOND))
        case StepSettled():
            return ended(run, name, event.status, event.reason, at)
        case DeadlinePassed():
            return _deadline(run, name, step, event)
        case _:
            return run


def _answered(run: Run, name: str, step: Step, event: HookAnswered) -> Run:
    run = replace(run, hooks=without(run.hooks, event.id), timers=without(run.timers, ("hook", event.id)))
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
    return with_step(run, name, replace(step, status=status, gates=gates))


def _deadline(run: Run, name: str, step: Step, event: DeadlinePassed) -> Run:
    run = replace(run, timers=without(run.timers, (event.kind, event.name)))
    if event.kind == "time_limit":
        limit = run.plan.steps[name].time_limit or 0
        timed_out = f"it ran longer than its time limit of {limit:g} s"
        return with_step(run, name, replace(step, gates=replace(step.gates, timed_out=timed_out)))
    if event.kind == "hook":
        hook = run.hooks.get(event.name)
        run = replace(run, hooks=without(run.hooks, event.name))
        if hook is not None and hook.asked.kind == "status" and not run.failure:
            return replace(run, failure=f"status_change_callback of step {name!r}: {run.no_answer}")
    return run


def last_line(traceback: str) -> str:
    lines = traceback.strip().splitlines()
    return lines[-1].strip() if lines else "an error"
