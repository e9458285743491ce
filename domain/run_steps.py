"""What becomes of one step, its run and those after it when its status changes."""

from typing import Any

from immutables import Map
from msgspec.structs import replace

from domain.lifecycle import STEP_ENDED
from domain.pipeline import STRICT
from domain.run_state import NO_GATES, PENDING, SECOND, Run, Step


def held(step: Step, for_what: str) -> Step:
    return replace(step, status="waiting", gates=replace(step.gates, waits_for=for_what))


def passed(step: Step, gate: str) -> Step:
    return replace(step, gates=replace(step.gates, passed=step.gates.passed | {gate}, waits_for=""))


def timer(run: Run, key: tuple[str, str], due_at: int) -> Run:
    return replace(run, timers=run.timers.set(key, due_at))


def hook_timer(run: Run, hook_id: str, at: int) -> Run:
    return timer(run, ("hook", hook_id), at + int(run.plan.definition.hook_timeout * SECOND))


def without(kept: Map[Any, Any], key: Any) -> Map[Any, Any]:
    return kept.delete(key) if key in kept else kept


def with_step(run: Run, name: str, step: Step) -> Run:
    old = run.steps.get(name, PENDING).status
    counts = run.counts
    if old != step.status:
        counts = {**counts, old: counts[old] - 1, step.status: counts[step.status] + 1}
        if run.plan.tells(name):
            step = _told(step, run.version)
    return replace(run, steps=run.steps.set(name, step), counts=counts)


def _told(step: Step, version: int) -> Step:
    """Waiting is nothing to tell of: what counts for the host is what the task comes to."""
    gates = step.gates
    if step.status in ("waiting", gates.told or "pending"):
        return step
    told = replace(gates, told=step.status, previous=gates.told or "pending", told_at=version)
    return replace(step, gates=told)


def task_ended(run: Run, name: str, status: str, reason: str, at: int) -> Run:
    step = run.step(name)
    run = _forget_timers(forget_hooks(run, name), name)
    if step.gates.timed_out and status == "stopped":
        status, reason = "failed", step.gates.timed_out
    if step.status in STEP_ENDED or run.ending or not _settles_later(run, name, status):
        return ended(run, name, status, reason, at)
    gates = replace(step.gates, outcome=(status, reason), asked=frozenset[str](), waits_for="hook")
    gates = replace(gates, done=status == "completed")
    return with_step(run, name, replace(step, status="waiting", reason=reason, gates=gates))


def _settles_later(run: Run, name: str, status: str) -> bool:
    """Whether something follows the end of the step's task before the step has ended: a retry, or a callback."""
    hooks = run.plan.hooks(name)
    if "post" in hooks:
        return True
    return status == "failed" and ("retry" in hooks or retries_left(run, name))


def retries_left(run: Run, name: str) -> bool:
    retry = run.plan.retry(name)
    return retry is not None and run.step(name).gates.retries < retry.times


def ended(run: Run, name: str, status: str, reason: str, at: int) -> Run:
    step = run.step(name)
    if step.status in STEP_ENDED:
        return run
    if step.gates is not NO_GATES:
        step = replace(step, gates=replace(step.gates, waits_for="", outcome=None))
    run = with_step(run, name, replace(step, status=status, reason=reason, ended_at=at))
    run = _forget_timers(forget_hooks(run, name), name)
    blocked = run.blocked
    for child in run.plan.children[name]:
        blocked = blocked.set(child, blocked.get(child, len(run.plan.parents[child])) - 1)
    run = replace(run, blocked=blocked, open=run.open - 1)
    failure = failure_of(run, name, status, reason)
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
            timers = without(timers, key)
    return run if timers is run.timers else replace(run, timers=timers)


def forget_hooks(run: Run, name: str) -> Run:
    """What gates the step need not be answered any more, once its task is queued or has ended."""
    for hook_id, hook in run.hooks.items() if run.hooks else ():
        if hook.asked.step == name and hook.asked.kind != "status":
            run = replace(run, hooks=without(run.hooks, hook_id), timers=without(run.timers, ("hook", hook_id)))
    return run


def failure_of(run: Run, name: str, status: str, reason: str) -> str:
    """Why the run cannot end well after the step has ended with `status`; empty when it can."""
    if status not in ("failed", "stopped"):
        return ""
    behaviour = run.plan.steps[name].continue_behaviour or STRICT
    bad = (status == "failed" and not behaviour.continue_on_fail) or (
        status == "stopped" and not behaviour.continue_on_abort
    )
    if not bad:
        return ""
    return f"step {name!r} {'failed' if status == 'failed' else 'was stopped'}{f': {reason}' if reason else ''}"
