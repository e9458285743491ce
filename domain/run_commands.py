"""What a person, or a run's own host, may ask of a run."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from domain.content import Content, Edit, Parameter
from domain.ids import run_stream, step_task_id, task_stream
from domain.lifecycle import RUN, RUN_ENDED, STEP_ENDED, after, words
from domain.lookup import project_of
from domain.pipeline import StepDefinition, check_parameters, checked_step
from domain.refused import Invalid, Refused, Unknown
from domain.run_events import (
    Decided,
    HookAnswered,
    OutputEvent,
    RunEdited,
    RunEvent,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopRequested,
    StepAdded,
    StepApproved,
    StepRejected,
    StepsReopened,
)
from domain.run_state import Run, Step
from domain.task import RemoveArtifacts, removed
from domain.task_events import ArtifactAdded, ModelAdded, TaskCompleted, TaskCreated, TaskEdited


class StartRun(Struct, frozen=True, kw_only=True):
    """`queue` is where its host shall wait for an agent, in the place of the one that is defined."""

    queue: str | None = None


class PauseRun(Struct, frozen=True, kw_only=True):
    actor: str = ""
    reason: str = ""


class ResumeRun(Struct, frozen=True, kw_only=True):
    actor: str = ""
    reason: str = ""


class StopRun(Struct, frozen=True, kw_only=True):
    reason: str = ""
    outcome: str = "stopped"


class ApproveStep(Struct, frozen=True, kw_only=True):
    step: str
    actor: str = ""
    reason: str = ""


class RejectStep(Struct, frozen=True, kw_only=True):
    step: str
    actor: str = ""
    reason: str = ""


class RetryStep(Struct, frozen=True, kw_only=True):
    """Run a step again that has failed or was stopped, and those that were skipped because of it."""

    step: str
    actor: str = ""
    reason: str = ""


class CompleteStep(Struct, frozen=True, kw_only=True):
    """Take a step as completed, with these results, though its task did not run or went wrong."""

    step: str
    actor: str = ""
    reason: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    artifacts: Sequence[ArtifactAdded] = ()


class AnswerHook(Struct, frozen=True, kw_only=True):
    """The host's word, by the attempt that it is."""

    hook_id: str
    session: str
    attempt: int
    verdict: bool | None = None
    parameters: Mapping[str, Any] | None = None
    queue: str | None = None
    task_id: str | None = None
    error: str | None = None


class AddStep(Struct, frozen=True, kw_only=True):
    """The host of a dynamic run calls a component; `step.task` is inline, `content` its SHA-256."""

    session: str
    attempt: int
    call: int
    step: StepDefinition
    content: str
    fingerprint: str = ""


RunCommand = (
    StartRun
    | PauseRun
    | ResumeRun
    | StopRun
    | ApproveStep
    | RejectStep
    | RetryStep
    | CompleteStep
    | AnswerHook
    | AddStep
    | RunEdited
    | RemoveArtifacts
    | ArtifactAdded
    | ModelAdded
)


class Diverged(Refused):
    """The code of a dynamic run makes another call now than the one on record."""


# Commands


def command(given: RunCommand, run: Run) -> Sequence[Decided]:
    """What carries out what a person or the host asks of the run; nothing when it already holds. Raises Refused."""
    what = f"run {run.name!r}"
    match given:
        case StartRun():
            if run.status == "running":
                return []
            after(RUN, run.status, "start", what)
            _need_host(run, run.plan.names)
            return [of_run(run, RunStarted(queue=given.queue))]
        case PauseRun():
            if run.status == "paused":
                return []
            _not_ending(run, "pause")
            after(RUN, run.status, "pause", what)
            return [of_run(run, RunPaused(actor=given.actor, reason=given.reason))]
        case ResumeRun():
            if run.status == "running":
                return []
            _not_ending(run, "resume")
            after(RUN, run.status, "resume", what)
            return [of_run(run, RunResumed(actor=given.actor, reason=given.reason))]
        case StopRun():
            return _stop(given, run)
        case ApproveStep() | RejectStep():
            return _judge(given, run)
        case RetryStep():
            return _retry(given, run)
        case CompleteStep():
            return _complete(given, run)
        case AnswerHook():
            return _answer(given, run)
        case AddStep():
            return _add(given, run)
        case RunEdited():
            if given.name is not None and not given.name.strip():
                raise Invalid("A run needs a name.", "name")
            if given.parameters:
                if run.status != "created":
                    raise Refused(f"Run {run.name!r} has begun with the parameters it has: clone it to give it others.")
                check_parameters(run.plan.definition, given.parameters)
            return [] if given in (RunEdited(), RunEdited(edit=Edit())) else [of_run(run, given)]
        case ArtifactAdded() | ModelAdded():
            return [of_run(run, given)]
        case RemoveArtifacts():
            return [of_run(run, event) for event in removed(given, run.outputs.artifacts, what)]
        case _:
            assert_never(given)


def of_run(run: Run, event: RunEvent | OutputEvent, step: str | None = None) -> Decided:
    return Decided(run_stream(run.id), event, step)


def _stop(given: StopRun, run: Run) -> Sequence[Decided]:
    if run.status in RUN_ENDED:
        raise Refused(f"Cannot stop run {run.name!r}: it is {words(run.status)} already.")
    if given.outcome not in ("stopped", "failed"):
        raise Invalid(f"A run that is stopped ends stopped or failed, not {given.outcome!r}.", "outcome")
    if run.ending:
        return []
    after(RUN, run.status, "request stop", f"run {run.name!r}")
    return [of_run(run, RunStopRequested(reason=given.reason, outcome=given.outcome))]


def _not_ending(run: Run, verb: str) -> None:
    if run.ending:
        raise Refused(f"Cannot {verb} run {run.name!r}: it is about to end ({run.reason or run.failure}).")


def _known(run: Run, name: str) -> Step:
    if name not in run.plan.steps:
        known = ", ".join(map(repr, run.plan.names[:20])) or "none"
        raise Unknown(f"Run {run.name!r} has no step {name!r}; its steps are: {known}.")
    return run.step(name)


def _judge(given: ApproveStep | RejectStep, run: Run) -> Sequence[Decided]:
    step = _known(run, given.step)
    if step.gates.waits_for != "approval":
        approved = isinstance(given, ApproveStep)
        if approved and run.plan.steps[given.step].approval is not None and step.status == "completed":
            return []
        raise Refused(f"Step {given.step!r} waits for no approval: it is {words(step.status)}.")
    kind = StepApproved if isinstance(given, ApproveStep) else StepRejected
    return [of_run(run, kind(step=given.step, actor=given.actor, reason=given.reason), given.step)]


def _retry(given: RetryStep, run: Run) -> Sequence[Decided]:
    step = _known(run, given.step)
    if step.status not in ("failed", "stopped"):
        raise Refused(f"Cannot retry step {given.step!r}: it is {words(step.status)}, neither failed nor stopped.")
    if run.plan.definition.dynamic and run.host.status != "running":
        raise Refused(f"Cannot retry step {given.step!r}: the code of the pipeline has ended; run it again.")
    return _reopen(run, given.step, given.actor, given.reason)


def _reopen(run: Run, name: str, actor: str, reason: str, *, start: bool = True) -> Sequence[Decided]:
    if run.status not in RUN_ENDED:
        _not_ending(run, "retry a step of")
    else:
        after(RUN, run.status, "reopen", f"run {run.name!r}")
    again = [name, *_skipped_because_of(run, name)]
    _need_host(run, again)
    return [of_run(run, StepsReopened(steps=again, actor=actor, reason=reason, launch=start))]


def _need_host(run: Run, names: Sequence[str]) -> None:
    """Callbacks that nobody could answer any more would hold the run for ever."""
    if run.plan.definition.host is None and run.host.status != "running" and any(map(run.plan.hooks, names)):
        raise Refused(
            f"Nobody would answer the callbacks of run {run.name!r}: the process that did is gone, and no queue is "
            "named for another one. Run the pipeline again."
        )


def _skipped_because_of(run: Run, name: str) -> Sequence[str]:
    """The steps after it that were skipped, and where the run has ended, all that this kept from running."""
    # Those that only its end kept from running: left out, the run could complete without them.
    halted = [other for other in run.plan.names if run.step(other).halted]
    found = dict.fromkeys(halted)
    undecided = deque([name, *halted])
    while undecided:
        for child in run.plan.children[undecided.popleft()]:
            if run.step(child).status == "skipped" and child not in found:
                found[child] = None
                undecided.append(child)
    return [other for other in found if other != name]


def _complete(given: CompleteStep, run: Run) -> Sequence[Decided]:
    name = given.step
    step, definition = _known(run, name), run.plan.steps[given.step]
    if step.status in ("completed", "cached"):
        raise Refused(f"Step {name!r} is {words(step.status)} already.")
    if step.status == "running":
        raise Refused(f"Step {name!r} runs: stop its task first, or let it end.")
    if definition.content is None:
        raise Refused(f"Step {name!r} has no task that could hold results: approve it, or retry it.")
    if run.status == "created":
        raise Refused(f"Run {run.name!r} has not been started.")
    who = f"marked completed by {given.actor}" if given.actor else "marked completed"
    stream = task_stream(step.task_id or step_task_id(run.id, name))
    decided: list[Decided] = []
    if step.status in STEP_ENDED:
        decided += _reopen(run, name, given.actor, given.reason, start=False)
    if step.task_id is None:
        created = TaskCreated(
            name=definition.task_name or name,
            project=project_of(run, definition),
            content=definition.content,
            type=run.plan.content_of(name).type,
            parent=run.id,
            cloned_from=definition.base_task_id,
            run_id=run.id,
            step=name,
        )
        decided.append(Decided(stream, created, name))
    if given.outputs:
        returned = {key: Parameter(value) for key, value in given.outputs.items()}
        decided.append(Decided(stream, TaskEdited(edit=Edit(hyperparameters={"return": returned})), name))
    decided += [Decided(stream, artifact, name) for artifact in given.artifacts]
    reason = f"{who}{f': {given.reason}' if given.reason else ''}"
    return [*decided, Decided(stream, TaskCompleted(attempt=step.attempts, reason=reason), name)]


def _answer(given: AnswerHook, run: Run) -> Sequence[Decided]:
    asked = run.hooks.get(given.hook_id)
    if asked is None:
        raise Refused(f"Nobody waits for an answer to {given.hook_id} any more.")
    if not run.host.held_by(given.session, given.attempt):
        raise Refused(f"Attempt {given.attempt} is not the host of run {run.name!r}: it can answer nothing.")
    hooked = asked.asked
    answered = HookAnswered(
        id=given.hook_id,
        kind=hooked.kind,
        step=hooked.step,
        verdict=given.verdict,
        parameters=given.parameters,
        queue=given.queue,
        task_id=given.task_id,
        error=given.error,
    )
    return [of_run(run, answered, hooked.step)]


def _add(given: AddStep, run: Run) -> Sequence[Decided]:
    if not run.plan.definition.dynamic:
        raise Refused(f"Run {run.name!r} has the steps of its definition: only a dynamic pipeline adds some.")
    if not run.host.held_by(given.session, given.attempt):
        raise Refused(f"Attempt {given.attempt} is not the host of run {run.name!r}: it can add no step.")
    if given.call < len(run.calls):
        if run.fingerprints[given.call] != given.fingerprint:
            raise Diverged(
                f"Call {given.call + 1} of the pipeline was step {run.calls[given.call]!r} when it was recorded, and"
                f" is now step {given.step.name!r} or has other arguments: the code must make the same calls again."
            )
        return []
    if given.call > len(run.calls):
        raise Refused(f"Call {given.call + 1} comes before call {len(run.calls) + 1}: add the steps in order.")
    if run.ending or run.status in RUN_ENDED:
        raise Refused(f"Run {run.name!r} adds no more steps: it is about to end ({run.reason or run.failure}).")
    step = checked_step(run.plan, given.step)
    content = step.task or Content()
    pinned = replace(step, task=None, content=given.content)
    added = StepAdded(step=pinned, content=content, call=given.call, fingerprint=given.fingerprint)
    return [of_run(run, added, step.name)]
