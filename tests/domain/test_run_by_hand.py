"""What people do to single steps: run one again, or take it as completed with these results."""

import pytest

from domain.pipeline import Approval, ContinueBehaviour, HostDefinition, Retry
from domain.refused import Refused
from domain.run import CompleteStep, RetryStep
from domain.run_events import StepsReopened
from domain.task import ArtifactAdded, TaskReset
from tests.domain.play import APART, CHAIN, JOIN, Play, letters, pipeline, step


def retry(play: Play, name: str = "a") -> Play:
    play.command(RetryStep(step=name, actor="ana"))
    return play


def mark(play: Play, name: str = "a", **said: object) -> Play:
    play.command(CompleteStep(step=name, actor="ana", **said))  # type: ignore[arg-type]
    return play


# Once more


@pytest.mark.parametrize("moves", ["a fails", "a stops"])
def test_a_step_runs_again_and_those_that_were_skipped_because_of_it_follow(moves):
    play = retry(Play(pipeline(CHAIN)).play(moves))
    assert (play.statuses, play.run.status) == (letters("a queued, b pending, c pending"), "running")
    play.play("a completes, b completes, c completes")
    assert (play.run.status, play.step("a").attempts) == ("completed", 2)


def test_what_ran_beside_it_stays():
    play = retry(Play(pipeline(APART)).play("a fails, x completes, y completes"))
    assert play.statuses == letters("a queued, b pending, x completed, y completed")


def test_a_step_that_is_kept_from_running_by_another_one_is_skipped_again():
    play = retry(Play(pipeline(JOIN)).play("a fails, b fails"))
    assert play.statuses == letters("a queued, b failed, c skipped")
    retry(play, "b").play("a completes, b completes, c completes")
    assert play.run.status == "completed"


def test_the_reason_of_the_run_is_then_the_first_failure_that_is_left_in_the_order_of_definition():
    """Once it was whichever a hash map gave first, another one in each process."""
    names = [f"s{number}" for number in range(12)]
    play = Play(pipeline({name: [] for name in names}))
    for name in reversed(names):
        play.fail(name, f"{name} is bad")
    assert play.run.reason == "step 's11' failed: s11 is bad"
    retry(play, "s11")
    assert play.run.failure == "step 's0' failed: s0 is bad"


def test_a_step_that_failed_before_it_had_a_task_is_launched_anew():
    play = retry(Play(pipeline([step("a", queue="nowhere")])))
    assert (play.step("a").status, len(play.of_type(StepsReopened))) == ("failed", 1)


def test_all_retries_are_there_again():
    play = retry(Play(pipeline([step("a", retry=Retry(times=1))])).play("a fails, a fails"))
    play.fail("a")
    assert play.step("a").status == "queued"


def test_a_failed_approval_is_asked_for_again():
    play = Play(pipeline([step("a", approval=Approval(deadline=10.0))]))
    play.passes(11)
    retry(play)
    assert play.step("a").gates.waits_for == "approval"


def test_a_step_whose_callback_raised_after_its_task_had_completed_is_reset_first():
    """Once a completed task was put into a queue, which its chart forbids."""
    play = Play(pipeline([step("a", hooks=["post"])], host=HostDefinition()))
    play.host_starts()
    play.complete("a")
    play.answer("a", "post", error="ValueError: no")
    retry(play)
    assert (len(play.of_type(TaskReset)), play.tasks["a"].status) == (1, "queued")
    play.complete("a")
    play.answer("a", "post")
    assert play.run.status == "completed"


def test_what_only_the_end_of_the_run_kept_from_running_runs_too():
    """Once the run completed without it: green by accident."""
    play = Play(pipeline(APART)).play("a begins, x begins, stop, a stops, x completes")
    assert play.statuses == letters("a stopped, b skipped, x completed, y skipped")
    retry(play).play("a completes, b completes")
    assert (play.statuses["y"], play.run.status) == ("queued", "running")
    play.complete("y")
    assert play.run.status == "completed"


def test_so_does_what_an_aborting_failure_kept_from_running():
    play = Play(pipeline(APART, abort_on_failure=True)).play("x begins, a fails, x completes")
    assert play.statuses == letters("a failed, b skipped, x completed, y skipped")
    assert retry(play).statuses == letters("a queued, b pending, x completed, y queued")


def test_a_step_that_a_callback_skipped_is_asked_about_again():
    """Once it ran, although the callback had said no."""
    behaviour = ContinueBehaviour(continue_on_fail=False, skip_children_on_fail=False)
    steps = [step("a", continue_behaviour=behaviour), step("b", "a", hooks=["pre"])]
    play = Play(pipeline(steps, host=HostDefinition()))
    play.host_starts()
    play.fail("a")
    play.answer("b", "pre", verdict=False)
    retry(play).complete("a")
    assert play.asked("b", "pre")
    play.answer("b", "pre", verdict=False)
    assert play.run.status == "completed"


def test_a_draft_that_was_never_enqueued_waits_again():
    play = Play(pipeline([step("a", draft=True), step("x")])).play("stop")
    retry(play, "x")
    assert play.statuses == letters("a waiting, x queued")
    play.enqueue("a")
    play.play("a completes, x completes")
    assert play.run.status == "completed"


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        ("", "it is queued, neither failed nor stopped"),
        ("a begins", "it is running, neither"),
        ("a completes", "it is completed, neither"),
    ],
)
def test_only_what_failed_or_was_stopped_runs_again(moves, said):
    with pytest.raises(Refused, match=said):
        retry(Play(pipeline(CHAIN)).play(moves))


def test_a_run_that_is_about_to_end_or_has_completed_is_not_reopened():
    with pytest.raises(Refused, match="it is about to end"):
        retry(Play(pipeline(APART)).play("a fails, x begins, stop"))
    allowed = ContinueBehaviour(skip_children_on_fail=False)
    with pytest.raises(Refused, match="Cannot reopen run 'iris #1' that is completed"):
        retry(Play(pipeline([step("a", continue_behaviour=allowed)])).play("a fails"))


# Taken as completed


@pytest.mark.parametrize("moves", ["a fails", "a stops", "", "a lost"])
def test_a_step_that_does_not_run_is_taken_as_completed_and_the_next_one_starts(moves):
    play = mark(Play(pipeline(CHAIN)).play(moves), reason="done by hand")
    assert play.statuses == letters("a completed, b queued, c pending")
    assert play.step("a").reason == "marked completed by ana: done by hand"
    play.play("b completes, c completes")
    assert play.run.status == "completed"


def test_children_read_the_results_that_were_given():
    reads = {"General/x": "${a.artifacts.data.url}", "General/n": "${a.parameters.return/n}"}
    play = Play(pipeline([step("a"), step("b", "a", parameter_override=reads)])).play("a fails")
    mark(play, outputs={"n": 7}, artifacts=[ArtifactAdded(name="data", url="s3://by-hand")])
    overrides = play.created("b").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/x": "s3://by-hand", "General/n": 7}


def test_a_step_may_be_done_before_its_turn():
    play = mark(Play(pipeline(CHAIN)), "b")
    assert play.statuses == letters("a queued, b completed, c queued")
    play.play("a completes, c completes")
    assert play.run.status == "completed"


def test_a_step_without_a_task_gets_one():
    play = mark(Play(pipeline([step("a", queue="nowhere"), step("b", "a")])))
    assert play.tasks["a"].status == "completed"
    assert play.step("b").status == "queued"


def test_what_an_aborting_failure_kept_from_running_runs_when_it_is_taken_as_completed():
    """Once those steps stayed pending for ever."""
    play = Play(pipeline(APART, abort_on_failure=True)).play("x begins, a fails, x completes")
    mark(play)
    assert play.statuses == letters("a completed, b queued, x completed, y queued")
    play.play("b completes, y completes")
    assert play.run.status == "completed"


def test_a_step_that_a_failed_parent_kept_from_running_is_not_skipped_again_while_it_is_marked():
    play = mark(Play(pipeline(CHAIN)).play("a fails"), "b")
    assert play.statuses == letters("a failed, b completed, c queued")


def test_its_retries_and_questions_are_off():
    play = Play(pipeline([step("a", hooks=["retry", "post"], retry=Retry(delay=50))], host=HostDefinition()))
    play.host_starts()
    play.fail("a")
    mark(play)
    assert [kind for kind, _ in play.questions()] == ["post"]
    play.passes(49)
    play.answer("a", "post")
    assert (play.run.status, play.step("a").status) == ("completed", "completed")


@pytest.mark.parametrize(
    ("moves", "said"),
    [("a begins", "Step 'a' runs: stop its task first"), ("a completes", "Step 'a' is completed already")],
)
def test_what_runs_or_is_done_is_not_marked(moves, said):
    with pytest.raises(Refused, match=said):
        mark(Play(pipeline(CHAIN)).play(moves))


def test_a_step_that_is_no_task_and_a_run_that_has_not_begun_have_nothing_to_mark():
    child = {"base_task_id": None, "content": None, "pipeline_id": "c" * 32, "pipeline": "c" * 64}
    play = Play(pipeline([step("a", **child)]))
    play.child_ends("a", "failed")
    with pytest.raises(Refused, match="has no task that could hold results"):
        mark(play)
    with pytest.raises(Refused, match="has not been started"):
        mark(Play(pipeline(CHAIN), draft=True))
