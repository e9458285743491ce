"""What holds for every run, whatever its pipeline and however its steps end."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st

from domain.events import TYPES
from domain.lifecycle import RUN_ENDED, STEP_ENDED
from domain.pipeline import STRICT, Definition, Plan
from domain.run import Fact, Run, fold
from domain.run_events import (
    ChildRunLaunched,
    DeadlinePassed,
    HookAnswered,
    HookRequested,
    RunCompleted,
    RunFailed,
    RunStopped,
    StepRetryScheduled,
    StepsReopened,
)
from domain.task import TaskAdopted, TaskCompleted, TaskCreated
from tests.domain.play import RUN_ID, Play, decided_again
from tests.domain.random_runs import SEEDS, digest_of_many, line, random_run

ANY_END: Any = (RunCompleted, RunFailed, RunStopped)
ROOT = Path(__file__).parents[2]


@st.composite
def runs(draw: st.DrawFn) -> Play:
    """A run to its end. That no step and no task leaves its chart on the way, `Play` asserts."""
    return random_run(lambda choices: draw(st.sampled_from(choices)), look=counts_add_up)


def counts_add_up(play: Play) -> None:
    counted = dict.fromkeys(play.run.counts, 0)
    for status in play.statuses.values():
        counted[status] += 1
    assert play.run.counts == counted
    assert sum(counted.values()) == len(play.plan.steps)
    assert play.run.open == sum(count for status, count in counted.items() if status not in STEP_ENDED)
    assert (play.run.status in RUN_ENDED) == (play.run.open == 0)
    nothing_is_left_of_what_has_ended(play)
    what_waits_waits_for_something(play)


def nothing_is_left_of_what_has_ended(play: Play) -> None:
    run = play.run
    ended = {name for name, status in play.statuses.items() if status in STEP_ENDED}
    assert not {name for kind, name in run.timers if kind in ("time_limit", "retry", "approval")} & ended
    assert {name for kind, name in run.timers if kind == "hook"} <= set(run.hooks)
    assert not {hook.asked.step for hook in run.hooks.values() if hook.asked.kind != "status"} & ended
    assert not (run.timers and run.status in RUN_ENDED)


def what_waits_waits_for_something(play: Play) -> None:
    """Else nobody would ever help it on."""
    for name, status in play.statuses.items():
        if status != "waiting":
            continue
        waits_for = play.step(name).gates.waits_for
        assert waits_for or play.run.status == "paused", name
        gating = [hook for hook in play.run.hooks.values() if hook.asked.step == name and hook.asked.kind != "status"]
        assert len(gating) == (waits_for == "hook"), name
        if waits_for == "retry" and play.run.status == "running":
            assert ("retry", name) in play.run.timers
        if waits_for == "pause":
            assert play.run.status == "paused"


def went_wrong(play: Play) -> list[str]:
    """The steps that failed or were stopped although their author did not say that it does not matter."""
    wrong: list[str] = []
    for name, definition in play.plan.steps.items():
        behaviour = definition.continue_behaviour or STRICT
        allowed = {"failed": behaviour.continue_on_fail, "stopped": behaviour.continue_on_abort}
        if not allowed.get(play.step(name).status, True):
            wrong.append(name)
    return wrong


def told_in_vain(play: Play) -> bool:
    """Whether a status_change_callback raised, or never answered, since the last step was reopened."""
    found, kinds = False, dict[str, str]()
    for fact in play.log:
        event = fact.event
        if isinstance(event, HookRequested):
            kinds[event.id] = event.kind
        elif isinstance(event, StepsReopened):
            found = False
        elif isinstance(event, HookAnswered):
            found |= event.kind == "status" and bool(event.error) and fact.run_version < ended_at(play)
        elif isinstance(event, DeadlinePassed) and event.kind == "hook":
            found |= kinds[event.name] == "status"
    return found


def ended_at(play: Play) -> int:
    return play.of_type(ANY_END)[-1].run_version


def blocked_by(play: Play, name: str) -> list[str]:
    """The parents for whose sake the step must not run."""
    blocking: list[str] = []
    for parent in play.plan.parents[name]:
        behaviour = play.plan.steps[parent].continue_behaviour or STRICT
        keeps = {
            "failed": behaviour.skip_children_on_fail,
            "stopped": behaviour.skip_children_on_abort,
            "skipped": True,
        }
        if keeps.get(play.step(parent).status, False):
            blocking.append(parent)
    return blocking


def by_hand(play: Play) -> bool:
    """Whether people reopened steps, or marked some as completed: then the present alone does not explain itself."""
    marked = [fact for fact in play.of_type(TaskCompleted) if getattr(fact.event, "reason", "").startswith("marked")]
    return bool(play.of_type(StepsReopened) or marked)


def a_run_ends_as_soon_as_nothing_is_open_and_its_outcome_is_the_one_it_earned(play: Play) -> None:
    assert play.run.status in RUN_ENDED
    assert set(play.statuses.values()) <= STEP_ENDED
    earned = play.run.ending or ("failed" if went_wrong(play) or told_in_vain(play) else "completed")
    assert play.run.status == earned
    assert (play.run.reason == "") == (play.run.status == "completed")


def a_run_ends_once_and_once_more_whenever_it_is_reopened(play: Play) -> None:
    run, ends = Run(id=RUN_ID, plan=play.plan), 0
    for fact in play.log:
        before, run = run, fold([fact], run)
        if isinstance(fact.event, RunCompleted | RunFailed | RunStopped):
            assert before.status not in RUN_ENDED
            ends += 1
        elif before.status in RUN_ENDED:
            assert run.status == before.status or isinstance(fact.event, StepsReopened)
            ends -= isinstance(fact.event, StepsReopened)
    assert ends == 1


def no_run_completes_with_a_step_that_was_kept_from_running_for_no_reason(play: Play) -> None:
    if play.run.status != "completed":
        return
    assert not went_wrong(play)
    for name, status in play.statuses.items():
        if status == "skipped":
            assert blocked_by(play, name) or "returned False" in play.step(name).reason, name


def a_step_is_skipped_exactly_when_its_parents_or_a_stop_or_a_callback_keep_it_from_running(play: Play) -> None:
    halted = play.run.ending is not None
    for name in play.plan.steps:
        step, blocking = play.step(name), blocked_by(play, name)
        if step.status == "skipped":
            assert blocking or halted or "returned False" in step.reason, name
            assert step.reason
        elif not by_hand(play):
            assert not blocking, f"{name} ran although {blocking} had ended as they did"


def a_step_waits_for_all_its_parents_and_its_task_is_created_at_most_once(play: Play) -> None:
    created = [fact.step for fact in play.log if isinstance(fact.event, TaskCreated | TaskAdopted)]
    assert len(created) == len(set(created))
    run = Run(id=RUN_ID, plan=play.plan)
    for fact in play.log:
        if isinstance(fact.event, TaskCreated | TaskAdopted | ChildRunLaunched) and not by_hand(play):
            assert all(run.step(parent).status in STEP_ENDED for parent in play.plan.parents[fact.step or ""])
        run = fold([fact], run)


def a_step_ends_once_unless_it_is_reopened(play: Play) -> None:
    run = Run(id=RUN_ID, plan=play.plan)
    for fact in play.log:
        before, run = run, fold([fact], run)
        if fact.step is not None and before.step(fact.step).status in STEP_ENDED:
            assert run.step(fact.step).status == before.step(fact.step).status, fact


def no_more_retries_than_allowed(play: Play) -> None:
    lives = 1 + len(play.of_type(StepsReopened))
    for name in play.plan.steps:
        retry = play.plan.retry(name)
        said_so = sum(
            isinstance(fact.event, HookAnswered) and fact.event.kind == "retry" and bool(fact.event.verdict)
            for fact in play.log
            if fact.step == name
        )
        scheduled = [fact for fact in play.of_type(StepRetryScheduled) if fact.step == name]
        assert len(scheduled) <= lives * (retry.times if retry else 0) + said_so


def the_fold_of_the_log_is_the_live_state(play: Play) -> None:
    assert fold(play.log, Run(id=RUN_ID, plan=play.plan)) == play.run


def reread(fact: Fact) -> Fact:
    """The fact as it comes back from the log."""
    kind: Any = TYPES[type(fact.event).__name__]
    event = msgspec.json.decode(msgspec.json.encode(fact.event, order="sorted"), type=kind)
    return Fact(fact.stream, event, fact.at, fact.run_version, fact.step)


def deciding_the_recorded_history_again_gives_the_same_events(play: Play) -> None:
    """From what the log and the content table hold, not from what was in memory when it was first decided."""
    text = msgspec.json.encode(play.plan.definition, order="sorted")
    plan = Plan(msgspec.json.decode(text, type=Definition), play.plan.contents)
    again = decided_again(plan, [reread(fact) for fact in play.log], play.appends)
    assert [line(decided) for decided in again] == [line(fact) for fact in play.log]


HOLDS = [
    a_run_ends_as_soon_as_nothing_is_open_and_its_outcome_is_the_one_it_earned,
    a_run_ends_once_and_once_more_whenever_it_is_reopened,
    no_run_completes_with_a_step_that_was_kept_from_running_for_no_reason,
    a_step_is_skipped_exactly_when_its_parents_or_a_stop_or_a_callback_keep_it_from_running,
    a_step_waits_for_all_its_parents_and_its_task_is_created_at_most_once,
    a_step_ends_once_unless_it_is_reopened,
    no_more_retries_than_allowed,
    the_fold_of_the_log_is_the_live_state,
    deciding_the_recorded_history_again_gives_the_same_events,
]


@settings(deadline=None, max_examples=80)
@given(runs())
def test_whatever_happens_to_a_run_this_holds(play):
    """All on the same runs: drawing one costs more than looking at it."""
    note("\n".join(map(line, play.log)))
    for holds in HOLDS:
        holds(play)


def test_decisions_do_not_depend_on_the_process():
    """Sets and dicts in another order, as in a server that was started again."""
    here = digest_of_many(SEEDS)
    for seed in ("0", "1"):
        there = subprocess.run(
            [sys.executable, "-m", "tests.domain.random_runs"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert there.stdout.strip() == here, there.stderr
