"""What time alone brings about: due when the state says, once."""

import pytest

from domain import deadlines
from domain.pipeline import Approval, HostDefinition, Retry
from domain.run import RetryStep
from domain.run_events import DeadlinePassed
from domain.task import TaskStopRequested
from tests.domain.play import APART, CHAIN, SECOND, Play, letters, pipeline, step


def test_a_run_without_deadlines_need_not_be_looked_at():
    play = Play(pipeline(CHAIN))
    assert deadlines.next_due(play.run) is None
    assert deadlines.passed(play.run, 10**18) == []


def test_the_next_deadline_is_the_earliest():
    play = Play(pipeline([step("a", time_limit=60), step("b", approval=Approval(deadline=10.0))], time_limit=500))
    asked = play.log[-1].at
    assert deadlines.next_due(play.run) == asked + 10 * SECOND
    play.begin("a")
    assert sorted(play.run.timers) == [("approval", "b"), ("run_time_limit", ""), ("time_limit", "a")]


def test_deadlines_pass_in_their_order():
    play = Play(pipeline([step(name, approval=Approval(deadline=due)) for name, due in (("a", 30.0), ("b", 10.0))]))
    assert deadlines.passed(play.run, play.now + 5 * SECOND) == []
    passed = deadlines.passed(play.run, play.now + 100 * SECOND)
    assert passed == [
        DeadlinePassed(kind="approval", name="b", step="b"),
        DeadlinePassed(kind="approval", name="a", step="a"),
    ]


def test_a_deadline_passes_once():
    play = Play(pipeline([step("a", time_limit=60)]))
    play.begin("a")
    play.passes(100)
    play.passes(100)
    assert len(play.of_type(DeadlinePassed)) == 1
    assert deadlines.next_due(play.run) is None


def test_the_deadline_of_a_question_says_which_step_it_is_about():
    play = Play(pipeline([step("a", hooks=["pre"])], host=HostDefinition()))
    play.host_starts()
    [(hook_id, _)] = play.asked("a", "pre")
    assert deadlines.passed(play.run, 10**18) == [DeadlinePassed(kind="hook", name=hook_id, step="a")]


# A step's time limit


def test_a_step_that_runs_for_too_long_is_asked_to_stop_and_has_failed():
    play = Play(pipeline([step("a", time_limit=60), step("b", "a")]))
    play.begin("a")
    play.passes(61)
    assert (play.step("a").status, len(play.of_type(TaskStopRequested))) == ("running", 1)
    play.report_stopped("a")
    assert (play.statuses, play.run.status) == (letters("a failed, b skipped"), "failed")
    assert play.step("a").reason == "it ran longer than its time limit of 60 s"


@pytest.mark.parametrize(("end", "status"), [("completes", "completed"), ("lost", "failed"), ("fails", "failed")])
def test_what_it_comes_to_after_it_was_asked(end, status):
    play = Play(pipeline([step("a", time_limit=60)]))
    play.begin("a")
    play.passes(61)
    play.play(f"a {end}")
    assert play.step("a").status == status


def test_time_in_the_queue_does_not_count_and_each_attempt_has_all_of_it():
    play = Play(pipeline([step("a", time_limit=60)]))
    play.passes(1000)
    play.begin("a")
    play.passes(50)
    play.lose("a")
    assert not play.run.timers
    play.passes(1000)
    play.begin("a")
    play.passes(50)
    assert not play.of_type(DeadlinePassed)
    play.complete("a")
    assert play.run.status == "completed"


def test_a_step_that_was_asked_to_stop_is_not_asked_twice():
    play = Play(pipeline([step("a", time_limit=60)]))
    play.begin("a")
    play.stop_task("a", "no")
    play.passes(61)
    assert len(play.of_type(TaskStopRequested)) == 1


# The run's


def test_a_run_that_takes_too_long_fails_and_all_that_is_open_ends():
    play = Play(pipeline(APART, time_limit=100)).play("a begins")
    play.passes(101)
    assert play.statuses == letters("a running, b skipped, x stopped, y skipped")
    play.report_stopped("a")
    assert (play.run.status, play.run.reason) == ("failed", "it ran longer than its time limit of 100 s")


def test_the_steps_say_that_it_was_the_time_even_if_one_had_failed_before():
    """Once they repeated the earlier failure."""
    play = Play(pipeline(APART, time_limit=100)).play("a fails")
    play.passes(101)
    assert play.step("x").reason == "it ran longer than its time limit of 100 s"
    assert play.run.reason == "step 'a' failed: exit code 3"


def test_the_time_of_a_draft_begins_when_it_is_started():
    play = Play(pipeline(CHAIN, time_limit=100), draft=True)
    play.passes(1000)
    play.start()
    assert play.run.status == "running"
    play.passes(101)
    assert play.run.status == "failed"


@pytest.mark.parametrize("late", [0, 101], ids=["it had failed", "it had taken too long"])
def test_a_run_that_is_reopened_gets_its_time_anew(late):
    """Once it had no limit any more."""
    play = Play(pipeline({"a": []}, time_limit=100)).play("a begins")
    play.passes(late)
    play.fail("a")
    assert (play.run.status, dict(play.run.timers)) == ("failed", {})
    play.passes(1000)
    play.command(RetryStep(step="a"))
    play.passes(90)
    assert play.run.status == "running"
    play.passes(11)
    assert play.run.reason == "it ran longer than its time limit of 100 s"


def test_who_reopens_a_step_of_a_run_that_goes_on_gives_it_no_more_time():
    play = Play(pipeline({"a": [], "b": []}, time_limit=100)).play("a fails")
    play.passes(60)
    play.command(RetryStep(step="a"))
    play.passes(41)
    assert play.run.reason == "it ran longer than its time limit of 100 s"


def test_a_run_that_has_ended_has_no_deadlines():
    play = Play(pipeline([step("a", retry=Retry(delay=50), time_limit=60)], time_limit=100)).play("a fails, stop")
    assert (play.run.status, len(play.run.timers)) == ("stopped", 0)
    assert deadlines.passed(play.run, 10**18) == []
