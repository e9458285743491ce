"""A person has to say yes: before a step, or as the whole of it."""

import pytest

from domain.pipeline import Approval
from domain.refused import Refused, Unknown
from domain.run import ApproveStep, RejectStep
from domain.run_events import ApprovalRequested, StepApproved
from tests.domain.play import Play, letters, pipeline, step


def asks(**approval: object) -> Play:
    return Play(pipeline([step("a", approval=Approval(**approval)), step("b", "a")]))  # type: ignore[arg-type]


def gate(**approval: object) -> Play:
    """The approval is all there is to it."""
    given = Approval(**approval)  # type: ignore[arg-type]
    return Play(pipeline([step("a", base_task_id=None, content=None, approval=given), step("b", "a")]))


def test_the_step_waits_and_has_no_task():
    play = asks(message="Deploy?")
    assert (play.statuses, play.tasks) == (letters("a waiting, b pending"), {})
    [asked] = play.of_type(ApprovalRequested)
    assert asked.event == ApprovalRequested(step="a", message="Deploy?")


def test_a_yes_lets_it_go_on():
    play = asks()
    play.command(ApproveStep(step="a", actor="ana"))
    assert play.step("a").status == "queued"
    play.play("a completes, b completes")
    assert play.run.status == "completed"


@pytest.mark.parametrize(
    ("actor", "reason", "said"),
    [("ana", "fine", "approved by ana: fine"), ("ana", "", "approved by ana"), ("", "", "approved")],
)
def test_a_yes_completes_a_step_that_is_nothing_else(actor, reason, said):
    play = gate()
    play.command(ApproveStep(step="a", actor=actor, reason=reason))
    assert (play.statuses, play.step("a").reason) == (letters("a completed, b queued"), said)
    assert play.step("a").task_id is None


@pytest.mark.parametrize("made", [asks, gate])
def test_a_no_fails_it(made):
    play = made()
    play.command(RejectStep(step="a", actor="ben", reason="not on a Friday"))
    assert (play.statuses, play.run.status) == (letters("a failed, b skipped"), "failed")
    assert play.step("a").reason == "rejected by ben: not on a Friday"


@pytest.mark.parametrize("made", [asks, gate])
def test_a_deadline_fails_it(made):
    play = made(deadline=60.0)
    play.passes(50)
    assert play.step("a").status == "waiting"
    play.passes(20)
    assert (play.step("a").status, play.step("a").reason) == ("failed", "nobody approved it within 60 s")


@pytest.mark.parametrize("command", [ApproveStep, RejectStep])
def test_the_deadline_is_off_once_somebody_has_spoken(command):
    play = asks(deadline=60.0)
    play.command(command(step="a"))
    assert not play.run.timers
    before = play.statuses
    play.passes(600)
    assert play.statuses == before


def test_without_a_deadline_it_waits_for_ever():
    play = asks()
    play.passes(10_000_000)
    assert play.step("a").status == "waiting"


def test_a_step_is_judged_when_it_waits_for_that():
    play = asks()
    with pytest.raises(Refused, match="Step 'b' waits for no approval: it is pending"):
        play.command(ApproveStep(step="b"))
    with pytest.raises(Unknown, match="has no step 'x'; its steps are: 'a', 'b'"):
        play.command(RejectStep(step="x"))
    play.command(RejectStep(step="a"))
    with pytest.raises(Refused, match="waits for no approval: it is failed"):
        play.command(ApproveStep(step="a"))


def test_a_yes_said_twice_is_one():
    play = gate()
    play.command(ApproveStep(step="a"))
    play.command(ApproveStep(step="a"))
    assert len(play.of_type(StepApproved)) == 1


def test_stopping_the_run_skips_it():
    play = asks(deadline=60.0).play("stop")
    assert (play.statuses, play.run.status) == (letters("a skipped, b skipped"), "stopped")
    assert not play.run.timers


def test_a_step_that_only_waits_for_a_yes_cannot_be_referred_to_as_a_task():
    override = {"General/x": "${a.id}"}
    gated = step("a", base_task_id=None, content=None, approval=Approval())
    play = Play(pipeline([gated, step("b", "a", parameter_override=override)]))
    play.command(ApproveStep(step="a"))
    assert play.step("b").status == "failed"
    assert "step 'a' has no task" in play.step("b").reason
