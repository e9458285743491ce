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
from domain.run_events import RunCompleted, RunFailed, RunStopped, RunStopRequested, StepFailed, StepSkipped
from domain.task import ENDS, TaskCreated
from tests.domain.play import RUN_ID, Play, decided_again
from tests.domain.random_runs import SEEDS, digest_of_many, line, open_steps, random_run

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


def went_wrong(play: Play) -> list[str]:
    """The steps that failed or were stopped although their author did not say that it does not matter."""
    wrong: list[str] = []
    for name, definition in play.plan.steps.items():
        behaviour = definition.continue_behaviour or STRICT
        allowed = {"failed": behaviour.continue_on_fail, "stopped": behaviour.continue_on_abort}
        if not allowed.get(play.step(name).status, True):
            wrong.append(name)
    return wrong


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


def a_run_ends_as_soon_as_nothing_is_open_and_its_outcome_is_the_one_it_earned(play: Play) -> None:
    assert not open_steps(play)
    assert set(play.statuses.values()) <= STEP_ENDED
    asked = [fact.event.outcome for fact in play.log if isinstance(fact.event, RunStopRequested)]
    earned = asked[0] if asked else "failed" if went_wrong(play) else "completed"
    # A step may fail early and abort the run; a stop that comes after it changes nothing any more.
    aborted = play.run.aborted_by is not None
    assert play.run.status == ("failed" if aborted else earned)
    assert (play.run.reason == "") == (play.run.status == "completed")
    ends = [fact for fact in play.log if isinstance(fact.event, RunCompleted | RunFailed | RunStopped)]
    assert ends == play.log[-1:]


def a_step_is_skipped_exactly_when_its_parents_or_a_stop_keep_it_from_running(play: Play) -> None:
    halted = play.run.ending is not None
    for name in play.plan.steps:
        step, blocking = play.step(name), blocked_by(play, name)
        if step.status == "skipped":
            assert blocking or halted, name
            assert step.reason
        else:
            assert not blocking, f"{name} ran although {blocking} had ended as they did"
        assert (step.task_id is None) == (step.attempts == 0 and step.queued_at is None)


def a_step_waits_for_all_its_parents_and_its_task_is_created_at_most_once(play: Play) -> None:
    created = [fact.step for fact in play.of_type(TaskCreated)]
    assert len(created) == len(set(created))
    ended_at: dict[str, int] = {}
    run = Run(id=RUN_ID, plan=play.plan)
    for fact in play.log:
        if isinstance(fact.event, TaskCreated):
            assert set(play.plan.parents[fact.step or ""]) <= set(ended_at)
        run = fold([fact], run)
        if fact.step and run.step(fact.step).status in STEP_ENDED:
            ended_at.setdefault(fact.step, fact.run_version)


def a_step_ends_once(play: Play) -> None:
    ends = [fact.step for fact in play.log if isinstance(fact.event, (*ENDS, StepSkipped, StepFailed))]
    assert sorted(filter(None, ends)) == sorted(play.plan.steps)


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
    a_step_is_skipped_exactly_when_its_parents_or_a_stop_keep_it_from_running,
    a_step_waits_for_all_its_parents_and_its_task_is_created_at_most_once,
    a_step_ends_once,
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
