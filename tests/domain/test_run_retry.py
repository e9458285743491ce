"""A failed step runs again: as often, and after as long, as its author said; and never after an abort."""

import pytest

from domain.pipeline import Retry
from domain.run_events import StepRetryScheduled
from domain.task import TaskEnqueued
from tests.domain.play import CHAIN, Play, letters, pipeline, step


def retried(*, whole: Retry | None = None, **retry: float) -> Play:
    own = Retry(**retry) if retry else None  # type: ignore[arg-type]
    return Play(pipeline([step("a", retry=own), step("b", "a")], retry=whole))


def delays(play: Play) -> list[float]:
    return [fact.event.delay for fact in play.log if isinstance(fact.event, StepRetryScheduled)]


@pytest.mark.parametrize(
    ("moves", "statuses", "status"),
    [
        pytest.param("a fails", "a queued, b pending", "running", id="at once"),
        pytest.param("a fails, a completes", "a completed, b queued", "running", id="it helps"),
        pytest.param("a fails, a fails", "a queued, b pending", "running", id="twice"),
        pytest.param("a fails, a fails, a fails", "a failed, b skipped", "failed", id="in vain"),
        pytest.param("a stops", "a stopped, b skipped", "failed", id="never after an abort"),
        pytest.param("a fails, a stops", "a stopped, b skipped", "failed", id="nor after one on the way"),
        pytest.param("a lost, a lost, a lost", "a queued, b pending", "running", id="lost too often has failed"),
        pytest.param("a fails, a begins, stop, a fails", "a failed, b skipped", "stopped", id="not in a stopped run"),
    ],
)
def test_a_failed_step_runs_again_as_often_as_its_author_said(moves, statuses, status):
    play = retried(times=2).play(moves)
    assert (play.statuses, play.run.status) == (letters(statuses), status)


def test_the_reason_of_a_step_that_failed_every_time_is_the_last_one():
    play = retried(times=1).play("a fails")
    assert play.step("a").reason == ""
    play.fail("a", "out of memory")
    assert (play.step("a").reason, play.run.reason) == ("out of memory", "step 'a' failed: out of memory")


def test_a_step_that_says_nothing_takes_the_pipelines_retry():
    play = retried(whole=Retry(times=1)).play("a fails, a completes, b fails")
    assert play.statuses == letters("a completed, b queued")


def test_a_step_that_wants_none_has_none():
    play = retried(whole=Retry(times=5), times=0).play("a fails")
    assert play.run.status == "failed"


def test_the_wait_grows_by_the_factor_up_to_the_longest():
    play = retried(times=4, delay=5, factor=3, max_delay=20)
    for _ in range(4):
        play.fail("a")
        assert play.step("a").status == "waiting"
        play.passes(25)
    assert delays(play) == [5, 15, 20, 20]
    assert play.step("a").status == "queued"


def test_a_step_waits_for_its_retry_just_as_long_as_the_log_says():
    play = retried(times=1, delay=100).play("a fails")
    assert (play.step("a").gates.waits_for, play.step("a").reason) == ("retry", "exit code 3")
    play.passes(90)
    assert play.step("a").status == "waiting"
    play.passes(20)
    assert play.step("a").status == "queued"
    assert not play.run.timers


def test_jitter_adds_at_most_its_part_and_is_the_same_when_decided_again():
    first, second = (retried(times=3, delay=10, jitter=0.5).play("a fails") for _ in range(2))
    assert delays(first) == delays(second)
    assert 10 <= delays(first)[0] <= 15
    first.passes(15)
    first.fail("a")
    assert delays(first)[0] != delays(first)[1]


def test_the_retried_task_is_the_same_one_in_the_same_queue():
    play = Play(pipeline([step("a", retry=Retry(), queue="services")])).play("a fails")
    queues = [fact.event.queue for fact in play.log if isinstance(fact.event, TaskEnqueued)]
    assert queues == ["services", "services"]
    play.complete("a")
    assert (play.step("a").attempts, play.run.status) == (2, "completed")


def test_stopping_the_run_ends_a_step_that_waits_for_its_retry():
    play = retried(times=1, delay=100).play("a fails, stop")
    assert (play.statuses, play.run.status) == (letters("a stopped, b skipped"), "stopped")
    assert not play.run.timers


def test_a_time_limit_counts_as_a_failure_and_may_be_retried():
    play = Play(pipeline([step("a", retry=Retry(), time_limit=60)]))
    play.begin("a")
    play.passes(61)
    assert play.tasks["a"].stop_requested
    play.report_stopped("a")
    assert play.step("a").status == "queued"
    play.begin("a")
    play.stop_task("a")
    play.report_stopped("a")
    assert (play.step("a").status, play.step("a").reason) == ("stopped", ""), "the second one was no time limit"


def test_children_wait_for_the_last_attempt():
    play = Play(pipeline(CHAIN, retry=Retry(times=1))).play("a fails")
    assert play.step("b").status == "pending"
    play.play("a completes, b fails, b completes, c completes")
    assert play.run.status == "completed"
