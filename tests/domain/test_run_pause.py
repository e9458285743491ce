"""A paused run: what runs goes on, nothing starts; then all goes on from there."""

import pytest

from domain.pipeline import Approval, HostDefinition, Retry
from domain.refused import Refused
from domain.run import ApproveStep, PauseRun, ResumeRun, RetryStep
from domain.run_events import RunPaused, RunResumed
from domain.task import TaskDequeued, TaskRequeued
from tests.domain.play import APART, CHAIN, JOIN, Play, letters, pipeline, step


def paused(play: Play, reason: str = "") -> Play:
    play.command(PauseRun(actor="ana", reason=reason))
    return play


def resumed(play: Play) -> Play:
    play.command(ResumeRun(actor="ben"))
    return play


def test_what_runs_goes_on_and_nothing_starts_after_it():
    play = paused(Play(pipeline(CHAIN)).play("a begins"), "budget")
    assert (play.run.status, play.run.reason) == ("paused", "budget")
    play.complete("a")
    assert play.statuses == letters("a completed, b pending, c pending")
    assert resumed(play).statuses == letters("a completed, b queued, c pending")
    assert (play.run.status, play.run.reason) == ("running", "")


def test_what_is_queued_leaves_its_queue_and_comes_back():
    play = paused(Play(pipeline(APART)).play("a begins"))
    assert (play.step("x").status, play.step("x").gates.waits_for) == ("waiting", "pause")
    assert play.tasks["x"].status == "created"
    resumed(play).play("x completes")
    assert play.step("y").status == "queued"


def test_a_step_that_has_run_before_goes_back_to_what_it_was():
    play = Play(pipeline({"a": []})).play("a lost")
    paused(play)
    assert play.tasks["a"].status == "failed"
    resumed(play).complete("a")
    assert (play.run.status, play.step("a").attempts) == ("completed", 2)


def test_a_step_that_is_lost_meanwhile_is_not_handed_out_again():
    """Once it was: a lost step went back to its queue although the run was paused."""
    play = paused(Play(pipeline({"a": []})).play("a begins"))
    play.lose("a")
    assert play.step("a").status == "waiting"
    assert [type(fact.event) for fact in play.log[-2:]] == [TaskRequeued, TaskDequeued]
    resumed(play).complete("a")
    assert play.run.status == "completed"


def test_a_failure_skips_nothing_before_the_run_goes_on():
    play = paused(Play(pipeline(CHAIN)).play("a begins"))
    play.fail("a")
    assert play.statuses == letters("a failed, b pending, c pending")
    assert resumed(play).statuses == letters("a failed, b skipped, c skipped")
    assert play.run.status == "failed"


def test_a_run_whose_last_step_ends_meanwhile_ends():
    play = paused(Play(pipeline({"a": []})).play("a begins"))
    play.complete("a")
    assert play.run.status == "completed"


def test_two_parents_that_end_meanwhile_start_their_child_once():
    play = paused(Play(pipeline(JOIN)).play("a begins, b begins"))
    play.play("a completes, b completes")
    assert resumed(play).statuses == letters("a completed, b completed, c queued")
    assert len([name for name, task in play.tasks.items() if task.status == "queued"]) == 1


def test_approvals_are_taken_and_carried_out_later():
    play = paused(Play(pipeline([step("a", approval=Approval())])))
    play.command(ApproveStep(step="a"))
    assert play.step("a").status == "pending"
    assert resumed(play).step("a").status == "queued"


def test_a_retry_that_falls_due_meanwhile_comes_later():
    play = Play(pipeline([step("a", retry=Retry(delay=10))])).play("a fails")
    paused(play).passes(20)
    assert play.step("a").status == "waiting"
    assert resumed(play).step("a").status == "queued"


def test_a_retry_at_once_comes_later_too():
    play = paused(Play(pipeline([step("a", retry=Retry())])).play("a begins"))
    play.fail("a")
    assert play.step("a").status == "waiting"
    assert resumed(play).step("a").status == "queued"


@pytest.mark.parametrize("kind", ["pre", "created"])
def test_an_answer_that_comes_meanwhile_is_carried_out_later(kind):
    play = Play(pipeline([step("a", hooks=[kind])], host=HostDefinition()))
    play.host_starts()
    paused(play)
    play.answer("a", kind, verdict=True)
    assert play.step("a").status in ("pending", "waiting")
    assert resumed(play).step("a").status == "queued"


def test_a_step_that_is_retried_by_hand_does_not_let_the_run_go_on():
    """Once it did."""
    play = Play(pipeline(APART)).play("a fails, x begins")
    paused(play)
    play.command(RetryStep(step="a"))
    assert (play.run.status, play.statuses) == ("paused", letters("a pending, b pending, x running, y pending"))
    assert resumed(play).statuses == letters("a queued, b pending, x running, y pending")


def test_stopping_a_paused_run_ends_it():
    play = paused(Play(pipeline(APART)).play("a begins"))
    play.stop("enough")
    assert play.run.status == "paused"
    play.report_stopped("a")
    assert (play.run.status, play.run.reason) == ("stopped", "enough")


def test_a_run_that_is_about_to_end_is_neither_paused_nor_resumed():
    """Once it could be resumed, and forgot why it was stopped."""
    play = Play(pipeline(APART)).play("a begins, stop")
    with pytest.raises(Refused, match="it is about to end"):
        paused(play)
    other = paused(Play(pipeline(APART)).play("a begins"))
    other.stop("enough")
    with pytest.raises(Refused, match=r"it is about to end \(enough\)"):
        resumed(other)


def test_it_is_paused_and_resumed_once():
    play = paused(paused(Play(pipeline(CHAIN))))
    resumed(resumed(play))
    assert (len(play.of_type(RunPaused)), len(play.of_type(RunResumed))) == (1, 1)


def test_only_a_running_run_is_paused_and_only_a_paused_one_resumed():
    with pytest.raises(Refused, match="Cannot pause run 'iris #1' that is created"):
        paused(Play(pipeline(CHAIN), draft=True))
    with pytest.raises(Refused, match="Cannot resume run 'iris #1' that is completed"):
        resumed(Play(pipeline({"a": []})).play("a completes"))
