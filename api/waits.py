"""What a run, or one of its steps, waits for: a kind for programs, a sentence for people, and until when at most."""

from typing import Any

from api.listening import Listening
from api.wire import time_text
from domain.lifecycle import STEP_ENDED
from domain.run import Run, Step
from domain.run_state import Hook

Json = dict[str, Any]

MOST_NAMED = 5
CALLBACKS = {
    "pre": "pre_execute_callback",
    "factory": "base_task_factory",
    "created": "step_task_created_callback",
    "retry": "retry_on_failure",
    "post": "post_execute_callback",
}


def run_waits(status: str, reason: str, host_status: str, host_queue: str, seen: Listening | None) -> Json | None:
    """What the whole run waits for; None when it goes on or has ended. `seen` is None for a look into the past."""
    if status == "created":
        return _wait("draft", "it is a draft: it waits for somebody to start it")
    if status == "paused":
        return _wait("pause", "it is paused" if reason in ("", "paused") else f"it is paused: {reason}")
    if status == "running" and host_status in ("queued", "lost"):
        return _wait("host", _host_text(host_status, host_queue, seen))
    return None


def step_waits(run: Run, name: str, seen: Listening | None) -> Json | None:
    """What the step waits for; None when it waits for nothing. `seen` is None for a look into the past."""
    step = run.step(name)
    match step.status:
        case "pending":
            return _pending(run, name)
        case "waiting":
            return _waiting(run, name, step, seen)
        case "queued":
            return queued(step.queue or "", seen)
        case "running" if step.run_id is not None:
            return _wait("child", f"run {step.run_id} goes on")
        case _:
            return None


def _pending(run: Run, name: str) -> Json | None:
    parents = [parent for parent in run.plan.parents[name] if run.step(parent).status not in STEP_ENDED]
    if run.status == "created":
        return _wait("draft", "the run is a draft: it waits for somebody to start it")
    if parents and run.status in ("running", "paused"):
        more = " ..." if len(parents) > MOST_NAMED else ""
        return _wait("parents", f"waits for {', '.join(map(repr, parents[:MOST_NAMED]))}{more}")
    return _paused(run) if run.status == "paused" else None


def _waiting(run: Run, name: str, step: Step, seen: Listening | None) -> Json | None:
    gates = step.gates
    match gates.waits_for:
        case "approval":
            approval = run.plan.steps[name].approval
            message = approval.message if approval and approval.message else "somebody has to approve it"
            return _wait("approval", message, run.timers.get(("approval", name)))
        case "hook":
            return _asked(run, name, seen)
        case "retry":
            if run.status == "paused" and ("retry", name) not in run.timers:
                return _paused(run)
            retry = run.plan.retry(name)
            times = f"retry {gates.retries}" + (f" of {retry.times}" if retry is not None else "")
            return _wait("retry", times, run.timers.get(("retry", name)))
        case "draft":
            return _wait("draft", f"task {step.task_id} is a draft: it waits for somebody to enqueue it")
        case _:
            return _paused(run)


def _asked(run: Run, name: str, seen: Listening | None) -> Json:
    """The host is asked; when there is none at present, it is what the step waits for."""
    asked = next((hook for hook in run.hooks.values() if _holds(hook, name)), None)
    if run.host.status in ("queued", "lost"):
        return _wait("host", _host_text(run.host.status, run.host.queue, seen))
    if asked is None:
        return _wait("hook", "the pipeline's host is asked about it")
    said = f"the pipeline's host answers its {CALLBACKS[asked.asked.kind]}"
    return _wait("hook", said, run.timers.get(("hook", asked.asked.id)))


def _holds(hook: Hook, name: str) -> bool:
    return hook.asked.step == name and hook.asked.kind != "status"


def queued(queue: str, seen: Listening | None) -> Json:
    if seen is not None and (paused := seen.paused.get(queue)) is not None:
        by = f" by {paused.actor}" if paused.actor else ""
        return _wait("queue_paused", f"queue {queue!r} is paused{by}{f': {paused.reason}' if paused.reason else ''}")
    if seen is not None and queue not in seen.heard:
        return _wait("agent", f"no agent listens to queue {queue!r}")
    return _wait("slot", f"it waits in queue {queue!r} for an agent with a free slot")


def _host_text(status: str, queue: str, seen: Listening | None) -> str:
    if status == "lost":
        return "the pipeline's host was lost"
    if seen is not None and queue in seen.paused:
        return f"the pipeline's host waits in queue {queue!r}, which is paused"
    if seen is not None and queue not in seen.heard:
        return f"the pipeline's host waits: no agent listens to queue {queue!r}"
    return f"the pipeline's host waits in queue {queue!r} for an agent with a free slot"


def _paused(run: Run) -> Json:
    return _wait("pause", "the run is paused" if run.reason in ("", "paused") else f"the run is paused: {run.reason}")


def _wait(kind: str, text: str, until: int | None = None) -> Json:
    return {"kind": kind, "text": text, "until": time_text(until)}
