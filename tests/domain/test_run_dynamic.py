"""A run whose code adds its steps while it runs, and adds the same ones again when it is run again."""

import pytest

from domain.pipeline import HostDefinition
from domain.refused import Invalid, Refused
from domain.run import AddStep, Diverged, PauseRun, ResumeRun, RetryStep
from domain.run_events import StepAdded
from tests.domain.play import RUN_ID, TEMPLATE, Play, decided_again, letters, pipeline, step
from tests.domain.random_runs import line


def dynamic(**fields: object) -> Play:
    play = Play(pipeline([], dynamic=True, host=HostDefinition(), **fields))
    play.host_starts()
    return play


def test_each_call_of_a_component_is_a_step_that_starts_at_once():
    play = dynamic()
    play.adds("a")
    play.adds("b")
    assert play.statuses == letters("a queued, b queued")
    play.adds("c", "a", "b")
    play.play("a completes, b completes")
    assert play.statuses == letters("a completed, b completed, c queued")


def test_a_step_whose_parents_have_ended_starts_or_is_skipped_at_once():
    play = dynamic()
    play.adds("a")
    play.adds("x")
    play.play("a completes, x fails")
    play.adds("b", "a")
    play.adds("y", "x")
    assert play.statuses == letters("a completed, x failed, b queued, y skipped")


def test_it_ends_when_its_code_has_and_its_steps_have():
    play = dynamic()
    play.adds("a")
    play.complete("a")
    assert play.run.status == "running", "the code may add more"
    play.adds("b")
    play.host_ends()
    assert play.run.status == "running"
    play.complete("b")
    assert play.run.status == "completed"


def test_without_a_step_it_completes():
    play = dynamic()
    play.host_ends()
    assert play.run.status == "completed"


@pytest.mark.parametrize(
    ("status", "ends", "said"),
    [
        ("failed", "failed", "the pipeline's code failed: ValueError: no"),
        ("stopped", "stopped", "the pipeline's code was stopped: ValueError: no"),
    ],
)
def test_what_becomes_of_its_code_becomes_of_it(status, ends, said):
    play = dynamic()
    play.adds("a")
    play.host_ends(status, "ValueError: no")
    assert (play.statuses, play.run.status, play.run.reason) == (letters("a stopped"), ends, said)


def test_a_step_that_failed_fails_it_though_the_code_went_on():
    play = dynamic()
    play.adds("a")
    play.fail("a")
    play.host_ends()
    assert (play.run.status, play.run.reason) == ("failed", "step 'a' failed: exit code 3")


def test_a_stopped_run_waits_for_its_code_to_end():
    play = dynamic()
    play.adds("a")
    play.stop("enough")
    assert (play.statuses, play.run.status) == (letters("a stopped"), "running")
    play.host_ends("stopped")
    assert (play.run.status, play.run.reason) == ("stopped", "enough")


# Once more


def test_the_same_call_again_adds_nothing():
    play = dynamic()
    play.adds("a")
    play.complete("a")
    play.host_lost()
    play.host_starts(session="h2")
    play.adds("a", call=0)
    assert len(play.of_type(StepAdded)) == 1
    play.adds("b", "a")
    assert play.statuses == letters("a completed, b queued")


def test_another_call_at_the_same_place_is_an_error_that_names_both():
    play = dynamic()
    play.adds("a")
    with pytest.raises(
        Diverged, match=r"Call 1 of the pipeline was step 'a' when it was recorded, and is now step 'x'"
    ):
        play.adds("x", call=0)
    with pytest.raises(Diverged, match="has other arguments"):
        play.adds("a", call=0, fingerprint="with other arguments")
    assert play.statuses == letters("a queued")


def test_calls_come_in_order():
    play = dynamic()
    with pytest.raises(Refused, match=r"Call 3 comes before call 1: add the steps in order"):
        play.adds("a", call=2)


@pytest.mark.parametrize(("session", "attempt"), [("h2", 1), ("h1", 2)])
def test_only_the_host_adds_steps(session, attempt):
    play = dynamic()
    added = AddStep(session=session, attempt=attempt, call=0, step=step("a"), content=TEMPLATE)
    with pytest.raises(Refused, match="it can add no step"):
        play.command(added)


def test_only_a_dynamic_pipeline_adds_steps():
    play = Play(pipeline({"a": []}, host=HostDefinition()))
    play.host_starts()
    with pytest.raises(Refused, match="has the steps of its definition"):
        play.adds("b")


def test_a_run_that_is_about_to_end_adds_no_more():
    play = dynamic()
    play.stop("enough")
    with pytest.raises(Refused, match=r"adds no more steps: it is about to end \(enough\)"):
        play.adds("a")


@pytest.mark.parametrize(
    ("name", "parents", "said"),
    [
        ("a", [], "There is a step 'a' already"),
        ("pipeline", [], "another one than 'pipeline'"),
        ("", [], "needs a name"),
        ("b", ["x"], "waits for 'x', which is no step"),
        ("b", ["b"], "waits for itself"),
    ],
)
def test_a_step_is_checked_when_it_is_added(name, parents, said):
    play = dynamic()
    play.adds("a")
    with pytest.raises(Invalid, match=said):
        play.adds(name, *parents)


def test_a_step_refers_to_those_before_it():
    play = dynamic(defaults={"rate": 0.1})
    play.adds("a")
    play.adds("b", parameter_override={"General/of": "${a.id}", "General/rate": "${pipeline.rate}"})
    assert play.run.plan.parents["b"] == ("a",)
    play.complete("a")
    overrides = play.created("b").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/of": play.step("a").task_id, "General/rate": 0.1}


def test_a_step_is_retried_while_the_code_runs():
    play = dynamic()
    play.adds("a")
    play.fail("a")
    play.command(RetryStep(step="a"))
    assert play.step("a").status == "queued"
    play.complete("a")
    play.host_ends()
    assert play.run.status == "completed"


def test_a_step_is_not_retried_when_the_code_has_ended():
    play = dynamic()
    play.adds("a")
    play.fail("a")
    play.host_ends()
    with pytest.raises(Refused, match="the code of the pipeline has ended; run it again"):
        play.command(RetryStep(step="a"))


def test_a_paused_run_takes_steps_and_starts_them_later():
    play = dynamic()
    play.command(PauseRun())
    play.adds("a")
    assert play.step("a").status == "pending"
    play.command(ResumeRun())
    assert play.step("a").status == "queued"


def test_the_history_of_a_dynamic_run_is_decided_again():
    play = dynamic()
    play.adds("a")
    play.adds("b", "a")
    play.play("a completes, b fails")
    play.host_ends()
    again = decided_again(play.plan, play.log, play.appends)
    assert [line(decided) for decided in again] == [line(fact) for fact in play.log]
    assert play.run.id == RUN_ID
