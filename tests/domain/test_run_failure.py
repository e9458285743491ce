"""What a step's failure means for the others and for the run: continue_behaviour, abort_on_failure, joins."""

import pytest

from domain.pipeline import ContinueBehaviour
from domain.task import TaskStopped
from tests.domain.play import APART, Play, letters, pipeline, step

LENIENT = {"continue_on_fail": True, "continue_on_abort": True}
STRICT = {"continue_on_fail": False, "continue_on_abort": False}
SKIP = {"skip_children_on_fail": True, "skip_children_on_abort": True}
RUN_THEM = {"skip_children_on_fail": False, "skip_children_on_abort": False}
CROSSED = {"continue_on_fail": True, "continue_on_abort": False, "skip_children_on_fail": False}


@pytest.mark.parametrize(
    ("behaviour", "move", "child", "status"),
    [
        (None, "a fails", "skipped", "failed"),
        (None, "a stops", "skipped", "failed"),
        ({}, "a fails", "skipped", "completed"),
        ({}, "a stops", "skipped", "completed"),
        (STRICT | SKIP, "a fails", "skipped", "failed"),
        (STRICT | SKIP, "a stops", "skipped", "failed"),
        (LENIENT | SKIP, "a fails", "skipped", "completed"),
        (LENIENT | SKIP, "a stops", "skipped", "completed"),
        (STRICT | RUN_THEM, "a fails", "completed", "failed"),
        (STRICT | RUN_THEM, "a stops", "completed", "failed"),
        (LENIENT | RUN_THEM, "a fails", "completed", "completed"),
        (LENIENT | RUN_THEM, "a stops", "completed", "completed"),
        # The flags for a failure say nothing about a stop.
        (CROSSED, "a fails", "completed", "completed"),
        (CROSSED, "a stops", "skipped", "failed"),
    ],
)
def test_continue_behaviour_says_what_a_failure_means(behaviour, move, child, status):
    said = None if behaviour is None else ContinueBehaviour(**behaviour)
    play = Play(pipeline([step("a", continue_behaviour=said), step("b", "a")])).play(move)
    if child == "completed":
        play.complete("b")
    assert (play.step("b").status, play.run.status) == (child, status)


def test_a_join_whose_parents_may_fail_starts_when_the_last_one_has_ended():
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    steps = [step("a", continue_behaviour=may_fail), step("b", continue_behaviour=may_fail), step("c", "a", "b")]
    play = Play(pipeline(steps)).play("a fails")
    assert play.step("c").status == "pending"
    play.play("b fails, c completes")
    assert play.run.status == "completed"


def test_a_skip_is_passed_on_whatever_the_flags_say():
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    play = Play(pipeline([step("a"), step("b", "a", continue_behaviour=may_fail), step("c", "b")])).play("a fails")
    assert play.statuses == letters("a failed, b skipped, c skipped")


@pytest.mark.parametrize(
    ("moves", "statuses", "status", "reason"),
    [
        pytest.param(
            "a fails",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="what is queued is stopped",
        ),
        pytest.param(
            "x begins, a fails", "a failed, b skipped, x running, y skipped", "running", "", id="what runs is asked"
        ),
        pytest.param(
            "x begins, a fails, x stops",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="and its stop ends the run",
        ),
        pytest.param(
            "x begins, a fails, x completes",
            "a failed, b skipped, x completed, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="or its end, whatever it is",
        ),
        pytest.param(
            "x begins, a fails, x fails",
            "a failed, b skipped, x failed, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="the first failure is the reason",
        ),
        pytest.param(
            "x begins, a fails, x lost",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="a lost step does not start again",
        ),
        pytest.param("a stops", "a stopped, b skipped, x queued, y pending", "running", "", id="a stop aborts nothing"),
        pytest.param(
            "a completes, b fails",
            "a completed, b failed, x stopped, y skipped",
            "failed",
            "step 'b' failed: exit code 3",
            id="a failure later on",
        ),
    ],
)
def test_abort_on_failure_ends_the_others(moves, statuses, status, reason):
    play = Play(pipeline(APART, abort_on_failure=True)).play(moves)
    assert play.statuses == letters(statuses)
    assert (play.run.status, play.run.reason) == (status, reason)


def test_abort_on_failure_lets_a_failure_pass_that_the_author_allows():
    steps = [step("a", continue_behaviour=ContinueBehaviour()), step("b", "a"), step("x")]
    play = Play(pipeline(steps, abort_on_failure=True)).play("a fails, x completes")
    assert (play.run.status, play.statuses) == ("completed", letters("a failed, b skipped, x completed"))


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_step_that_fails_at_launch_stops_the_one_just_enqueued_beside_it(broken_first):
    """Both are launched by one decision; the abort that follows must see the other one queued, not pending."""
    broken = step("broken", queue="nowhere")
    steps = [broken, step("fine")] if broken_first else [step("fine"), broken]
    play = Play(pipeline([*steps, step("after", "fine")], abort_on_failure=True))
    assert play.statuses == {"broken": "failed", "fine": "stopped", "after": "skipped"}
    assert [fact.step for fact in play.of_type(TaskStopped)] == ["fine"]
    assert (play.run.status, play.run.reason) == ("failed", f"step 'broken' failed: {play.step('broken').reason}")


@pytest.mark.parametrize(
    ("abort", "statuses"),
    [(False, "a completed, b failed, c failed, d skipped"), (True, "a completed, b failed, c failed, d skipped")],
)
def test_children_that_fail_at_launch_end_the_run(abort, statuses):
    steps = [step("a"), step("b", "a", queue="nowhere"), step("c", "a", queue="nowhere"), step("d", "b", "c")]
    play = Play(pipeline(steps, abort_on_failure=abort)).play("a completes")
    assert (play.statuses, play.run.status) == (letters(statuses), "failed")


@pytest.mark.parametrize("lenient_first", [True, False])
def test_a_join_of_two_parents_that_fail_at_launch_together_hears_both(lenient_first):
    """When the first is decided the second has ended too, and it is the second that keeps the join from running."""
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    parents = [step("a", queue="nowhere", continue_behaviour=may_fail), step("b", queue="nowhere")]
    play = Play(pipeline([*(parents if lenient_first else reversed(parents)), step("c", "a", "b")]))
    assert (play.step("c").status, play.step("c").reason) == ("skipped", "step 'b' failed")
