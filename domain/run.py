"""What the controller decides about a run: from its state, and the event that brought it about."""

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256

from msgspec.structs import replace

from domain.ids import task_stream
from domain.launch import enqueued, hook, launch
from domain.pipeline import STRICT
from domain.references import MissingReference
from domain.refused import Refused
from domain.run_commands import (
    AddStep,
    AnswerHook,
    ApproveStep,
    CompleteStep,
    Diverged,
    PauseRun,
    RejectStep,
    ResumeRun,
    RetryStep,
    RunCommand,
    StartRun,
    StopRun,
    command,
    of_run,
)
from domain.run_ending import STOPPED, after_host, child_stop, closed, halted, host_replaced, unqueued
from domain.run_events import (
    AdoptionRefused,
    CacheAnswered,
    ChildRunEnded,
    DeadlinePassed,
    Decided,
    Fact,
    HookAnswered,
    HostEnded,
    HostEnqueued,
    HostLost,
    RunCreated,
    RunEvent,
    RunPaused,
    RunResumed,
    RunStarted,
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
from domain.run_fold import evolve, fold
from domain.run_gates import last_line
from domain.run_state import Run, Step
from domain.run_steps import retries_left
from domain.task_events import (
    ENDS,
    ArtifactAdded,
    ArtifactsRemoved,
    ModelAdded,
    TaskAdopted,
    TaskCreated,
    TaskEdited,
    TaskEnqueued,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopRequested,
)

__all__ = [
    "AddStep",
    "AnswerHook",
    "ApproveStep",
    "CompleteStep",
    "Decided",
    "Diverged",
    "Fact",
    "PauseRun",
    "RejectStep",
    "ResumeRun",
    "RetryStep",
    "Run",
    "RunCommand",
    "RunCreated",
    "RunEvent",
    "StartRun",
    "Step",
    "StopRun",
    "command",
    "decide",
    "evolve",
    "fold",
    "react",
]


Record = Callable[[Run, Sequence[Decided]], tuple[Run, Sequence[Fact]]]


def react(run: Run, fact: Fact, record: Record) -> Run:
    """What follows from `fact`, which `run` has taken in; the run after all of it.

    `record` turns what was decided into facts of the log and takes them into the run. All that one decision puts out
    is taken in before the next decision, which then sees it: a step that fails beside one that was just enqueued stops
    that one and does not skip it.
    """
    decided = decide(run, fact)
    if not decided:
        return run
    run, facts = record(run, decided)
    undecided = deque(facts)
    while undecided:
        decided = decide(run, undecided.popleft())
        if decided:
            run, facts = record(run, decided)
            undecided.extend(facts)
    return run


def decide(run: Run, fact: Fact) -> Sequence[Decided]:
    """What follows from `fact`, which `run` has already taken in. Pure: ids are derived, times come with the facts."""
    decided = () if type(fact.event) in QUIET else _decide(run, fact)
    if fact.step is not None and run.plan.tells(fact.step) and (told := _tell(run, fact.step, fact)):
        return [*told, *decided]
    return decided


# Events that nothing follows from, but that the host may have to be told of them.
QUIET = frozenset[type](
    {TaskCreated, TaskReset, TaskStarted, TaskEnqueued, TaskEdited, ArtifactAdded, ArtifactsRemoved, ModelAdded}
)
STEP_ENDS = frozenset[type]({*ENDS, StepSkipped, StepFailed, StepSettled, StepRejected, ChildRunEnded})


def _decide(run: Run, fact: Fact) -> Sequence[Decided]:
    event = fact.event
    if type(event) in STEP_ENDS:
        return _after_step(run, fact.step, fact) if fact.step is not None else ()
    if fact.step is not None:
        return _after_gate(run, fact.step, fact)
    match event:
        case RunStarted():
            return _begin(run, fact)
        case RunStopRequested():
            return halted(run, fact, f"{STOPPED}{f': {event.reason}' if event.reason else ''}")
        case RunPaused():
            return unqueued(run, run.plan.names)
        case RunResumed():
            return _resume(run, fact)
        case StepsReopened():
            return _after_reopening(run, event, fact)
        case DeadlinePassed():
            return halted(run, fact, run.too_long)
        case HostLost():
            return host_replaced(run, event)
        case HostEnded():
            return after_host(run, event)
        case _:
            return ()


def _begin(run: Run, fact: Fact) -> Sequence[Decided]:
    decided: list[Decided] = []
    host = run.plan.definition.host
    if host is not None and run.host.status == "":
        asked = fact.event.queue if isinstance(fact.event, RunStarted) else None
        decided.append(of_run(run, HostEnqueued(queue=asked or host.queue)))
    roots = [name for name in run.plan.names if not run.plan.parents[name]]
    return [*decided, *(one for name in roots for one in launch(run, name, fact))]


# After a step


def _after_step(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    ended = run.step(name)
    if ended.gates.outcome is not None:
        return _settle(run, name, fact)
    copied = _monitored(run, name)
    if run.open == 0:
        return [*copied, *closed(run)]
    if run.ending:
        return [*copied, *(halted(run, fact, f"step {name!r} failed") if run.aborted_by == name else ())]
    decided = list(copied)
    for child in run.plan.children[name]:
        decided += _ready(run, child, fact, name)
    return decided


def _ready(run: Run, name: str, fact: Fact, ended: str | None = None) -> Sequence[Decided]:
    """Launch the step, or skip it, when its parents have ended; each of them may be the one to keep it from running.

    While some have not ended only that which just has is looked at: a join of very many has as many of these looks.
    """
    step = run.step(name)
    if step.status != "pending" or step.gates.waits_for or run.status == "paused":
        return ()
    for parent in run.plan.parents[name] if ended is None or _unblocked(run, name) else (ended,):
        if why := _keeps_from_running(run, parent, run.step(parent)):
            return [of_run(run, StepSkipped(step=name, reason=why, cause=fact.run_version), name)]
    return launch(run, name, fact) if _unblocked(run, name) else ()


def _unblocked(run: Run, name: str) -> bool:
    return run.blocked.get(name, len(run.plan.parents[name])) == 0


def _keeps_from_running(run: Run, name: str, ended: Step) -> str:
    """Why the children of a step that has ended shall not run; empty when they may."""
    behaviour = run.plan.steps[name].continue_behaviour or STRICT
    match ended.status:
        case "skipped":
            return f"step {name!r} was skipped"
        case "failed" if behaviour.skip_children_on_fail:
            return f"step {name!r} failed"
        case "stopped" if behaviour.skip_children_on_abort:
            return f"step {name!r} was stopped"
        case _:
            return ""


def _settle(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """The task has ended: run it again, ask the callbacks, and then end the step."""
    gates = run.step(name).gates
    assert gates.outcome is not None
    status, reason = gates.outcome
    if status == "failed":
        if retries_left(run, name):
            return [_scheduled(run, name, reason)]
        if "retry" in run.plan.hooks(name) and "retry" not in gates.asked:
            return [hook(run, name, "retry", fact, status=status)]
    if "post" in run.plan.hooks(name) and "post" not in gates.asked:
        return [hook(run, name, "post", fact, status=status)]
    return [of_run(run, StepSettled(step=name, status=status, reason=reason), name)]


def _scheduled(run: Run, name: str, reason: str) -> Decided:
    number = run.step(name).gates.retries + 1
    scheduled = StepRetryScheduled(step=name, retry=number, delay=_delay(run, name, number), reason=reason)
    return of_run(run, scheduled, name)


def _delay(run: Run, name: str, number: int) -> float:
    """Seconds before retry `number`. Its jitter is chance to everybody but the log: it follows from the ids."""
    retry = run.plan.retry(name)
    if retry is None:
        return 0.0
    wait = retry.delay * retry.factor ** (number - 1)
    if retry.max_delay is not None:
        wait = min(wait, retry.max_delay)
    drawn = int(sha256(f"{run.id} {name} {number}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return round(wait * (1 + retry.jitter * drawn), 3)


def _monitored(run: Run, name: str) -> Sequence[Decided]:
    """The artifacts and models of the step that its run takes over as its own."""
    definition, step = run.plan.steps[name], run.step(name)
    if not (definition.monitor_artifacts or definition.monitor_models):
        return ()
    decided: list[Decided] = []
    for source, target in definition.monitor_artifacts:
        if source in step.artifacts:
            record = step.artifacts[source].record
            decided.append(of_run(run, replace(record, name=target, attempt=0)))
    for source, target in definition.monitor_models:
        for model in step.models:
            if model.kind == "output" and model.name == source:
                decided.append(of_run(run, replace(model, name=target, attempt=0)))
    return decided


# At the gates


def _after_gate(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """What follows from an event of the run about one step that is not the step's end."""
    event = fact.event
    match event:
        case StepAdded():
            return _ready(run, name, fact)
        case StepApproved():
            return _on(run, name, fact) if run.step(name).status == "pending" else _after_step(run, name, fact)
        case CacheAnswered():
            return _after_step(run, name, fact) if run.step(name).status == "cached" else _on(run, name, fact)
        case AdoptionRefused():
            if run.plan.steps[name].content is None:
                return _broken(run, name, event.reason, fact)
            return _on(run, name, fact)
        case TaskAdopted():
            return _on(run, name, fact)
        case HookAnswered():
            return _after_answer(run, name, event, fact)
        case StepRetryScheduled():
            return () if event.delay > 0 else _again(run, name, fact)
        case DeadlinePassed():
            return _after_deadline(run, name, event, fact)
        case TaskRequeued() if run.status == "paused":
            return unqueued(run, [name])
        case _:
            return ()


def _on(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    return launch(run, name, fact) if run.step(name).status in ("pending", "waiting") else ()


def _again(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """Run the task of a failed step once more."""
    if run.status != "running" or run.ending:
        return ()
    if run.plan.steps[name].pipeline is not None:
        return launch(run, name, fact)
    try:
        return [enqueued(run, name)]
    except (MissingReference, Refused) as missing:
        return [of_run(run, StepFailed(step=name, reason=str(missing), cause=fact.run_version), name)]


def _after_answer(run: Run, name: str, event: HookAnswered, fact: Fact) -> Sequence[Decided]:
    if event.kind == "status" or run.step(name).status not in ("pending", "waiting"):
        return ()
    if event.error:
        return _broken(run, name, f"{CALLBACKS[event.kind]} raised {last_line(event.error)}", fact)
    match event.kind:
        case "pre" | "created" if event.verdict is False:
            why = f"{CALLBACKS[event.kind]} returned False"
            return [of_run(run, StepSkipped(step=name, reason=why, cause=fact.run_version), name)]
        case "factory" if event.task_id is None:
            return _broken(run, name, "base_task_factory returned no task", fact)
        case "pre" | "factory" | "created":
            return launch(run, name, fact)
        case "retry" if event.verdict:
            outcome = run.step(name).gates.outcome
            return [_scheduled(run, name, outcome[1] if outcome else "")]
        case _:
            return _settle(run, name, fact)


CALLBACKS = {
    "pre": "pre_execute_callback",
    "created": "step_task_created_callback",
    "factory": "base_task_factory",
    "retry": "retry_on_failure",
    "post": "post_execute_callback",
    "status": "status_change_callback",
}


def _broken(run: Run, name: str, reason: str, fact: Fact) -> Sequence[Decided]:
    """A callback went wrong: the step fails with it, whatever its task came to."""
    if run.step(name).gates.outcome is not None:
        return [of_run(run, StepSettled(step=name, status="failed", reason=reason), name)]
    return [of_run(run, StepFailed(step=name, reason=reason, cause=fact.run_version), name)]


def _after_deadline(run: Run, name: str, event: DeadlinePassed, fact: Fact) -> Sequence[Decided]:
    step = run.step(name)
    match event.kind:
        case "time_limit" if step.status == "running" and step.run_id is not None:
            return [child_stop(run, name, step, step.gates.timed_out)]
        case "time_limit" if step.status == "running" and step.task_id is not None and not step.stop_requested:
            asked = TaskStopRequested(attempt=step.attempts, reason=step.gates.timed_out)
            return [Decided(task_stream(step.task_id), asked, name)]
        case "retry" if step.gates.waits_for == "retry":
            return _again(run, name, fact)
        case "approval" if step.gates.waits_for == "approval":
            approval = run.plan.steps[name].approval
            why = f"nobody approved it within {approval.deadline or 0:g} s" if approval else "nobody approved it"
            return [of_run(run, StepFailed(step=name, reason=why, cause=fact.run_version), name)]
        case "hook" if step.gates.waits_for == "hook":
            # It may have been the deadline of a status hook, which holds nothing.
            held = any(hook.asked.step == name and hook.asked.kind != "status" for hook in run.hooks.values())
            return () if held else _broken(run, name, run.no_answer, fact)
        case _:
            return ()


def _tell(run: Run, name: str, fact: Fact) -> Sequence[Decided]:
    """Tell the host of a change of the step's status, where it asked for that."""
    gates = run.step(name).gates
    if gates.told_at != fact.run_version:
        return ()
    return [hook(run, name, "status", fact, status=gates.told, previous=gates.previous)]


# Pausing, ending


def _resume(run: Run, fact: Fact) -> Sequence[Decided]:
    decided: list[Decided] = []
    for name in run.plan.names:
        step = run.step(name)
        if step.status == "pending":
            decided += _ready(run, name, fact)
        elif (step.status == "waiting" and step.gates.waits_for == "pause") or (
            step.status == "waiting" and step.gates.waits_for == "retry" and ("retry", name) not in run.timers
        ):
            decided += _again(run, name, fact)
        elif step.status == "waiting" and step.gates.waits_for == "":
            decided += launch(run, name, fact)
    return decided or closed(run)


def _after_reopening(run: Run, event: StepsReopened, fact: Fact) -> Sequence[Decided]:
    """Start what is ready again; where callbacks will be asked and the host has ended, another host too."""
    decided: list[Decided] = []
    host = run.plan.definition.host
    if host is not None and run.host.status not in ("queued", "running") and any(map(run.plan.hooks, event.steps)):
        decided.append(of_run(run, HostEnqueued(queue=run.host.queue or host.queue)))
    names = event.steps if event.launch else event.steps[1:]
    return [*decided, *(one for name in names for one in _ready(run, name, fact))]
