"""How a run is held, halted and ended, with its host."""

from collections.abc import Sequence

from domain.ids import task_stream
from domain.lifecycle import RUN_ENDED
from domain.run_commands import of_run
from domain.run_events import (
    ChildStopRequested,
    Decided,
    Fact,
    HostEnded,
    HostEnqueued,
    HostLost,
    RunCompleted,
    RunFailed,
    RunStopped,
    RunStopRequested,
    StepSettled,
    StepSkipped,
)
from domain.run_state import Run, Step
from domain.task_events import TaskDequeued, TaskStopped, TaskStopRequested

STOPPED = "the run was stopped"
MOST_HOSTS = 3  # times that a lost host is replaced


def unqueued(run: Run, names: Sequence[str]) -> Sequence[Decided]:
    """Take what waits in queues out of them: it could be claimed at any moment."""
    decided: list[Decided] = []
    for name in names:
        step = run.step(name)
        if step.status == "queued" and step.task_id is not None:
            back_to = "failed" if step.attempts else "created"
            decided.append(Decided(task_stream(step.task_id), TaskDequeued(back_to=back_to), name))
    return decided


def halted(run: Run, fact: Fact, why: str) -> Sequence[Decided]:
    """End what has not ended: what waits is skipped, what is queued is stopped, what runs is asked to stop."""
    decided: list[Decided] = []
    if run.host.status in ("queued", "lost"):
        decided.append(of_run(run, HostEnded(attempt=run.host.attempt, status="stopped", reason=why)))
    for name in run.plan.names:
        decided += _halted_step(run, name, fact, why)
    return decided or closed(run)


def _halted_step(run: Run, name: str, fact: Fact, why: str) -> Sequence[Decided]:
    step = run.step(name)
    if step.gates.waits_for == "completion":
        return ()  # somebody is about to say what it came to
    if step.status == "waiting" and step.gates.outcome is not None:
        status, reason = step.gates.outcome
        return [of_run(run, StepSettled(step=name, status=status, reason=reason), name)]
    if step.status == "waiting" and step.attempts:
        return [of_run(run, StepSettled(step=name, status="stopped", reason=why), name)]
    if step.status in ("pending", "waiting"):
        return [of_run(run, StepSkipped(step=name, reason=why, cause=fact.run_version), name)]
    if step.status == "running" and step.run_id is not None:
        return [child_stop(run, name, step, why)] if not step.stop_requested else ()
    if step.task_id is not None and step.status == "queued":
        return [Decided(task_stream(step.task_id), TaskStopped(attempt=step.attempts, reason=why), name)]
    if step.task_id is not None and step.status == "running" and not step.stop_requested:
        return [Decided(task_stream(step.task_id), TaskStopRequested(attempt=step.attempts, reason=why), name)]
    return ()


def child_stop(run: Run, name: str, step: Step, why: str) -> Decided:
    return of_run(run, ChildStopRequested(step=name, run_id=step.run_id or "", reason=why), name)


def closed(run: Run) -> Sequence[Decided]:
    """The run's end, when nothing more can happen in it."""
    if run.status in RUN_ENDED or not run.finished:
        return ()
    decided: list[Decided] = []
    if run.host.status in ("queued", "lost"):
        decided.append(of_run(run, HostEnded(attempt=run.host.attempt, status="stopped", reason="the run has ended")))
    return [*decided, of_run(run, _outcome(run))]


def _outcome(run: Run) -> RunCompleted | RunFailed | RunStopped:
    if run.ending == "stopped":
        return RunStopped(reason=run.reason)
    if run.ending or run.failure:
        return RunFailed(reason=run.failure or run.reason or STOPPED)
    return RunCompleted()


def host_replaced(run: Run, event: HostLost) -> Sequence[Decided]:
    """Another host, which is asked the open questions again."""
    if run.status in RUN_ENDED:
        return ()
    host = run.host
    lost = sum(attempt.status == "lost" for attempt in host.attempts)
    if run.ending:
        return [of_run(run, HostEnded(attempt=event.attempt, status="stopped", reason=event.reason))]
    if not host.attempts[-1].agent_id:
        reason = f"the process that ran the pipeline is gone: {event.reason}"
        return [of_run(run, HostEnded(attempt=event.attempt, status="failed", reason=reason))]
    if lost > MOST_HOSTS:
        reason = f"{event.reason}; its host was lost {lost} times"
        return [of_run(run, HostEnded(attempt=event.attempt, status="failed", reason=reason))]
    definition = run.plan.definition.host
    return [of_run(run, HostEnqueued(queue=host.queue or (definition.queue if definition else "")))]


def after_host(run: Run, event: HostEnded) -> Sequence[Decided]:
    """Its end before the run's: a dynamic run has all its steps now; any other has nobody to ask any more."""
    if run.status in RUN_ENDED:
        return ()
    if run.ending or (run.plan.definition.dynamic and event.status == "completed"):
        return closed(run)
    if event.status == "completed":
        reason = "the pipeline's script ended before its run did, so that nobody answers its callbacks"
        return [of_run(run, RunStopRequested(reason=reason, outcome="failed"))]
    outcome = "stopped" if event.status == "stopped" else "failed"
    what = "the pipeline's code" if run.plan.definition.dynamic else "the pipeline's script"
    said = f"{what} {'was stopped' if outcome == 'stopped' else 'failed'}"
    return [of_run(run, RunStopRequested(reason=f"{said}: {event.reason}" if event.reason else said, outcome=outcome))]
