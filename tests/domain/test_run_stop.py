"""Stopping a run in every state; what it may be called; drafts."""

from typing import Any

import pytest

from domain.lifecycle import RUN_ENDED
from domain.refused import Invalid, Refused
from domain.run import Run, StartRun, StopRun, command
from domain.run_events import RunStarted, RunStopRequested
from domain.task import TaskStopRequested
from tests.domain.play import APART, CHAIN, Play, letters, pipeline


@pytest.mark.parametrize(
    ("moves", "statuses", "status"),
    [
        pytest.param("stop", "a stopped, b skipped, c skipped", "stopped", id="queued"),
        pytest.param(
            "a begins, stop", "a running, b skipped, c skipped", "running", id="running: it may save its work"
        ),
        pytest.param("a begins, stop, a stops", "a stopped, b skipped, c skipped", "stopped", id="and stops"),
        pytest.param("a begins, stop, a completes", "a completed, b skipped, c skipped", "stopped", id="or completes"),
        pytest.param("a begins, stop, a fails", "a failed, b skipped, c skipped", "stopped", id="or fails"),
        pytest.param("a begins, stop, a lost", "a stopped, b skipped, c skipped", "stopped", id="or is lost"),
        pytest.param("a lost, stop", "a stopped, b skipped, c skipped", "stopped", id="between two attempts"),
        pytest.param("a completes, stop", "a completed, b stopped, c skipped", "stopped", id="in the middle"),
        pytest.param("a begins, a asked, stop", "a running, b skipped, c skipped", "running", id="asked before"),
        pytest.param("a begins, stop, stop, a stops", "a stopped, b skipped, c skipped", "stopped", id="twice"),
    ],
)
def test_a_stopped_run_ends_when_nothing_runs_any_more(moves, statuses, status):
    play = Play(pipeline(CHAIN)).play(moves)
    assert (play.statuses, play.run.status) == (letters(statuses), status)


def test_a_step_is_asked_to_stop_once():
    play = Play(pipeline(CHAIN)).play("a begins, a asked, stop, stop")
    assert len(play.of_type(TaskStopRequested)) == 1
    assert len(play.of_type(RunStopRequested)) == 1


def test_who_stops_a_run_says_why_and_every_step_repeats_it():
    play = Play(pipeline(CHAIN))
    play.stop("budget is used up")
    assert (play.run.status, play.run.reason) == ("stopped", "budget is used up")
    assert set(play.reasons.values()) == {"the run was stopped: budget is used up"}


@pytest.mark.parametrize(
    ("reason", "said"), [("budget is used up", "budget is used up"), ("", "the run was stopped")], ids=["why", "no why"]
)
def test_a_stop_may_be_called_a_failure(reason, said):
    play = Play(pipeline(CHAIN)).play("a begins")
    play.stop(reason, outcome="failed")
    assert (play.run.status, play.run.ending) == ("running", "failed")
    play.complete("a")
    assert (play.run.status, play.run.reason) == ("failed", said)


def test_a_failure_before_a_stop_called_a_failure_is_the_reason():
    play = Play(pipeline(APART)).play("a fails")
    play.stop("budget is used up", outcome="failed")
    assert (play.run.status, play.run.reason) == ("failed", "step 'a' failed: exit code 3")


def test_the_outcome_of_a_stop_is_stopped_or_failed():
    play = Play(pipeline(CHAIN))
    with pytest.raises(Invalid, match="ends stopped or failed, not 'completed'") as invalid:
        play.stop(outcome="completed")
    assert invalid.value.where == "outcome"


@pytest.mark.parametrize(("outcome", "status"), [("stopped", "stopped"), ("failed", "failed")])
def test_a_draft_that_is_stopped_ends_with_all_its_steps_skipped(outcome, status):
    play = Play(pipeline(CHAIN), draft=True)
    play.stop("not wanted", outcome=outcome)
    assert (play.run.status, play.run.reason, play.run.open) == (status, "not wanted", 0)
    assert set(play.statuses.values()) == {"skipped"}
    assert play.run.started_at is None


@pytest.mark.parametrize("status", sorted(RUN_ENDED))
@pytest.mark.parametrize(
    ("given", "verb"), [(StopRun(), "Cannot stop run 'iris #1': it is {} already"), (StartRun(), "Cannot start run")]
)
def test_a_run_that_has_ended_is_neither_stopped_nor_started(status, given, verb):
    moves = {"completed": "a completes", "failed": "a fails", "stopped": "stop"}
    play = Play(pipeline({"a": []})).play(moves[status])
    before = len(play.log)
    with pytest.raises(Refused, match=verb.format(status)):
        play.command(given)
    assert len(play.log) == before


RUNNING = Play(pipeline(CHAIN)).run


@pytest.mark.parametrize(
    ("status", "given", "then"),
    [
        ("created", StartRun(), [RunStarted()]),
        ("queued", StartRun(), [RunStarted()]),
        ("running", StartRun(), []),
        ("created", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("queued", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("running", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("paused", StopRun(reason="r", outcome="failed"), [RunStopRequested(reason="r", outcome="failed")]),
    ],
)
def test_a_command_in_every_state(status, given, then):
    fields: Any = {name: getattr(RUNNING, name) for name in Run.__struct_fields__} | {"status": status}
    assert [decided.event for decided in command(given, Run(**fields))] == then


def test_a_paused_run_is_not_started():
    fields: Any = {name: getattr(RUNNING, name) for name in Run.__struct_fields__} | {"status": "paused"}
    with pytest.raises(Refused, match="Cannot start run 'iris #1' that is paused: it must be created or queued"):
        command(StartRun(), Run(**fields))
