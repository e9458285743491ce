"""The run's host: asked for, replaced when it is lost, and what its end means for the run."""

import pytest

from domain.pipeline import HostDefinition
from domain.refused import Refused
from domain.run import RetryStep, StartRun
from domain.run_events import HostEnded, HostEnqueued
from tests.domain.play import Play, letters, pipeline, step


def hosted(*hooks: str, queue: str = "services", draft: bool = False) -> Play:
    definition = pipeline([step("a", hooks=hooks), step("b", "a")], host=HostDefinition(queue=queue))
    return Play(definition, draft=draft)


def test_a_host_is_asked_for_as_the_run_starts():
    play = hosted("pre", queue="gpu", draft=True)
    assert play.run.host.status == ""
    play.start()
    assert (play.run.host.status, play.run.host.queue) == ("queued", "gpu")
    play.host_starts()
    assert play.run.host.held_by("h1", 1)


def test_the_callers_own_process_needs_no_second_host():
    play = hosted("pre", draft=True)
    play.host_starts(agent="")
    play.start()
    assert not play.of_type(HostEnqueued)


def test_a_lost_host_is_replaced_and_the_open_questions_are_asked_again_with_all_their_time():
    play = hosted("pre")
    play.host_starts()
    play.passes(500)
    play.host_lost()
    assert play.run.host.status == "queued"
    assert not play.run.timers, "nobody can answer in time meanwhile"
    play.passes(5000)
    play.host_starts(session="h2")
    play.passes(500)
    assert play.asked("a", "pre")
    play.answer("a", "pre", verdict=True)
    assert play.step("a").status == "queued"
    assert [attempt.status for attempt in play.run.host.attempts] == ["lost", "in_progress"]


def test_a_host_that_is_lost_too_often_fails_the_run():
    play = hosted("pre")
    for number in range(4):
        play.host_starts(session=f"h{number}")
        play.host_lost(f"agent {number} lost")
    assert (play.run.status, play.statuses) == ("failed", letters("a skipped, b skipped"))
    assert play.run.reason == "the pipeline's script failed: agent 3 lost; its host was lost 4 times"


def test_the_record_of_a_lost_host_stays_what_it_was_when_no_other_one_is_needed():
    play = hosted("post")
    play.host_starts()
    play.host_lost()
    play.stop("enough")
    assert (play.run.host.status, play.run.status) == ("ended", "stopped")
    assert [(attempt.status, attempt.reason) for attempt in play.run.host.attempts] == [("lost", "agent lost")]


def test_the_callers_own_process_is_not_replaced():
    play = hosted("pre", draft=True)
    play.host_starts(agent="")
    play.start()
    play.host_lost("not heard of for 60 s")
    said = "the pipeline's script failed: the process that ran the pipeline is gone: not heard of for 60 s"
    assert (play.run.status, play.run.reason) == ("failed", said)


@pytest.mark.parametrize(
    ("status", "ends", "said"),
    [
        ("completed", "failed", "the pipeline's script ended before its run did, so that nobody answers its callbacks"),
        ("failed", "failed", "the pipeline's script failed: exit code 1"),
        ("stopped", "stopped", "the pipeline's script was stopped: exit code 1"),
    ],
)
def test_a_host_that_ends_before_its_run_ends_the_run(status, ends, said):
    play = hosted("pre")
    play.host_starts()
    play.host_ends(status, "exit code 1")
    assert (play.run.status, play.run.reason) == (ends, said)
    assert play.statuses == letters("a skipped, b skipped")


def test_a_host_may_outlive_its_run():
    play = hosted("pre")
    play.host_starts()
    play.answer("a", "pre", verdict=True)
    play.play("a completes, b completes")
    assert (play.run.status, play.run.host.status) == ("completed", "running")
    play.host_ends("failed", "what follows start() raised")
    assert (play.run.status, play.run.host.status) == ("completed", "ended")


def test_a_host_that_nobody_took_is_not_wanted_any_more_when_the_run_ends():
    play = hosted().play("a completes, b completes")
    assert (play.run.status, play.run.host.status) == ("completed", "ended")
    [ended] = play.of_type(HostEnded)
    assert ended.run_version < play.log[-1].run_version


def test_nobody_is_asked_for_an_answer_in_time_once_the_run_has_ended():
    play = hosted("status")
    play.host_starts()
    play.stop("enough")
    assert play.run.hooks, "the host may still tell its callback"
    assert not play.run.timers
    play.host_lost()
    assert not play.run.timers


# Without anybody to ask


def without_host(*hooks: str) -> Play:
    return Play(pipeline([step("a", hooks=hooks), step("b", "a")]), draft=True)


def test_a_run_whose_callbacks_nobody_would_answer_is_not_started():
    with pytest.raises(Refused, match="Nobody would answer the callbacks"):
        without_host("pre").start()
    without_host().command(StartRun())


def test_a_step_whose_callbacks_nobody_would_answer_is_not_retried():
    play = without_host("post")
    play.host_starts(agent="")
    play.start()
    play.fail("a")
    play.answer("a", "post")
    play.host_ends()
    with pytest.raises(Refused, match="Nobody would answer the callbacks of run 'iris #1'"):
        play.command(RetryStep(step="a"))


def test_a_retried_step_asks_for_another_host_when_the_first_one_has_ended():
    """Else its callbacks would hold the run for ever."""
    play = hosted("post")
    play.host_starts()
    play.fail("a")
    play.answer("a", "post")
    play.host_ends()
    play.command(RetryStep(step="a"))
    assert play.run.host.status == "queued"
    play.complete("a")
    play.host_starts(session="h2")
    play.answer("a", "post")
    play.complete("b")
    assert play.run.status == "completed"
