"""Outcomes that people bring about: approvals, drafts, and what they do to single steps by hand."""

from controller.exchange import Report
from domain.pipeline import Approval
from domain.run import ApproveStep, CompleteStep, RejectStep, RetryStep
from domain.task import ArtifactAdded, EnqueueTask
from tests.controller.server import step
from tests.outcomes.world import World, scenario

READS = {"General/x": "${train.artifacts.data.url}"}
GATE = {"task": None, "approval": Approval(message="Deploy?")}


@scenario
def approval_given(world: World) -> None:
    world.submits(approval=Approval())
    world.works()
    assert world.statuses["train"] == "waiting"
    world.server.tell(world.run_id, ApproveStep(step="train", actor="ana"))
    world.works()


@scenario
def approval_given_to_a_step_that_is_nothing_else(world: World) -> None:
    world.submits(**GATE)
    world.server.tell(world.run_id, ApproveStep(step="train", actor="ana", reason="looks good"))
    world.works()


@scenario
def approval_rejected(world: World) -> None:
    world.submits(approval=Approval())
    world.server.tell(world.run_id, RejectStep(step="train", actor="ben", reason="not on a Friday"))


@scenario
def approval_past_its_deadline(world: World) -> None:
    world.submits(approval=Approval(deadline=60))
    world.passes(61)


@scenario
def approval_that_nobody_gives(world: World) -> None:
    world.submits(approval=Approval())
    world.passes(3000)


@scenario
def approval_when_the_run_is_stopped(world: World) -> None:
    world.submits(approval=Approval())
    world.stops(reason="enough")


@scenario
def draft_that_nobody_enqueues(world: World) -> None:
    world.submits(draft=True)
    world.passes(3000)


@scenario
def draft_enqueued_by_a_person(world: World) -> None:
    world.submits(draft=True)
    world.server.do(world.server.of_step(world.run_id, "train").id, EnqueueTask(queue="default"))
    world.works()


@scenario
def draft_when_the_run_is_stopped(world: World) -> None:
    world.submits(draft=True)
    world.stops(reason="enough")


@scenario
def draft_enqueued_after_the_run_has_ended(world: World) -> None:
    world.submits(draft=True)
    world.stops(reason="enough")
    world.server.do(world.server.of_step(world.run_id, "train").id, EnqueueTask(queue="default"))


@scenario
def marked_completed_by_hand(world: World) -> None:
    world.submits(step("report", "train", parameter_override=READS))
    world.works(train="failed")
    data = ArtifactAdded(name="data", url="s3://elsewhere/data.csv")
    done = CompleteStep(step="train", actor="ana", reason="copied from last week", artifacts=[data])
    world.server.tell(world.run_id, done)
    world.works()


@scenario
def marked_completed_before_it_began(world: World) -> None:
    world.submits(queue="gpu")
    world.server.tell(world.run_id, CompleteStep(step="train", actor="ana", outputs={"accuracy": 0.9}))
    world.works()


@scenario
def marked_completed_while_it_runs(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.server.tell(world.run_id, CompleteStep(step="train"))


@scenario
def retried_by_hand(world: World) -> None:
    world.submits(step("last", "report"))
    world.works(train="failed")
    world.server.tell(world.run_id, RetryStep(step="train", actor="ana"))
    world.works()


@scenario
def retried_by_hand_and_failed_again(world: World) -> None:
    world.submits()
    world.works(train="failed")
    world.server.tell(world.run_id, RetryStep(step="train"))
    world.works(train="failed")


@scenario
def retried_by_hand_beside_another_failure(world: World) -> None:
    world.submits(step("other"))
    world.works(train="failed", other="failed")
    world.server.tell(world.run_id, RetryStep(step="train"))
    world.works()


@scenario
def retried_by_hand_after_the_run_was_stopped(world: World) -> None:
    """What only the stop kept from running runs as well: else the run would complete without it."""
    world.submits(step("other"), step("later", "other"))
    claim = world.agent.claim()
    other = world.agent.claim()
    world.stops(reason="enough")
    world.agent.end(claim, "stopped")
    world.agent.end(other)
    assert world.statuses["later"] == "skipped"
    world.server.tell(world.run_id, RetryStep(step="train"))
    world.works()


@scenario
def retried_by_hand_with_callbacks(world: World) -> None:
    """Another host is asked for: the first one has ended with the run."""
    world.submits_hooked("post")
    world.works(train="failed")
    world.answers("post")
    world.services.ask(*[Report(task_id=world.run_id, attempt=1, status="completed")])
    world.server.tell(world.run_id, RetryStep(step="train"))
    world.works()
    world.services.ask()
    world.answers("post")
    world.works()


@scenario
def retried_by_hand_when_it_completed(world: World) -> None:
    world.submits()
    world.works()
    world.server.tell(world.run_id, RetryStep(step="train"))
