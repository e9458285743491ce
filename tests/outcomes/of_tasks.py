"""Outcomes that follow from how a step's task ends, and from what its author said about that."""

from domain.pipeline import Retry
from domain.run import StopRun
from domain.task import EndTask, StopTask
from tests.controller.server import step
from tests.outcomes.world import World, allows, scenario

READS = {"General/x": "${train.artifacts.data.url}"}


@scenario
def completed(world: World) -> None:
    world.submits()
    world.works()


@scenario
def failed(world: World) -> None:
    world.submits(step("other"))
    world.works(train="failed")


@scenario
def failed_allowed(world: World) -> None:
    world.submits(continue_behaviour=allows(continue_on_fail=True))
    world.works(train="failed")


@scenario
def failed_children_run(world: World) -> None:
    world.submits(continue_behaviour=allows(skip_children_on_fail=False))
    world.works(train="failed")


@scenario
def failed_allowed_children_run(world: World) -> None:
    world.submits(continue_behaviour=allows(continue_on_fail=True, skip_children_on_fail=False))
    world.works(train="failed")


@scenario
def failed_child_reads_what_is_missing(world: World) -> None:
    report = step("report", "train", parameter_override=READS)
    world.submits(report, continue_behaviour=allows(continue_on_fail=True, skip_children_on_fail=False))
    world.works(train="failed")


@scenario
def aborted(world: World) -> None:
    world.submits(step("other"))
    world.works(train="stopped")


@scenario
def aborted_by_a_person(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.stops_step("train")
    world.obeys()


@scenario
def aborted_while_queued(world: World) -> None:
    world.submits()
    world.stops_step("train")


@scenario
def aborted_continue_on_abort_false(world: World) -> None:
    world.submits(continue_behaviour=allows(continue_on_fail=True, continue_on_abort=False))
    world.works(train="stopped")


@scenario
def aborted_allowed(world: World) -> None:
    world.submits(continue_behaviour=allows(continue_on_abort=True))
    world.works(train="stopped")


@scenario
def aborted_children_run(world: World) -> None:
    world.submits(continue_behaviour=allows(skip_children_on_abort=False))
    world.works(train="stopped")


@scenario
def aborted_allowed_children_run(world: World) -> None:
    world.submits(continue_behaviour=allows(continue_on_abort=True, skip_children_on_abort=False))
    world.works(train="stopped")


@scenario
def abort_on_failure(world: World) -> None:
    world.submits(step("other", queue="gpu"), step("later", "other"), whole={"abort_on_failure": True})
    second = world.server.agent("h:1", queues=("gpu",))
    world.alive.append(second)
    second.claim()
    world.works(train="failed")
    world.obeys()


@scenario
def abort_on_failure_allowed(world: World) -> None:
    world.submits(step("other"), whole={"abort_on_failure": True}, continue_behaviour=allows(continue_on_fail=True))
    world.works(train="failed")


@scenario
def abort_on_failure_but_aborted(world: World) -> None:
    world.submits(step("other"), whole={"abort_on_failure": True})
    world.works(train="stopped")


@scenario
def marked_failed_by_a_person(world: World) -> None:
    world.submits()
    claim = world.agent.claim()
    assert claim.task is not None
    world.server.do(claim.task.id, EndTask(status="failed", reason="the data is wrong"))


@scenario
def completed_by_a_person(world: World) -> None:
    world.submits()
    claim = world.agent.claim()
    assert claim.task is not None
    world.server.do(claim.task.id, EndTask(status="completed", reason="good enough"))
    world.works()


@scenario
def retry_that_helps(world: World) -> None:
    world.submits(retry=Retry(times=2))
    world.agent.end(world.agent.claim(), "failed")
    world.works()


@scenario
def retry_exhausted(world: World) -> None:
    world.submits(retry=Retry(times=2))
    world.works(train="failed")


@scenario
def retry_of_every_step(world: World) -> None:
    world.submits(whole={"retry": Retry(times=1)})
    world.agent.end(world.agent.claim(), "failed")
    world.works()


@scenario
def retry_after_a_delay(world: World) -> None:
    world.submits(retry=Retry(times=1, delay=30))
    world.works(train="failed")
    assert world.statuses["train"] == "waiting"
    world.passes(31)
    world.works()


@scenario
def retry_never_after_an_abort(world: World) -> None:
    world.submits(retry=Retry(times=5))
    world.works(train="stopped")


@scenario
def stopped_while_it_waits_for_its_retry(world: World) -> None:
    world.submits(retry=Retry(times=1, delay=30))
    world.works(train="failed")
    world.stops(reason="enough")


@scenario
def time_limit_of_a_step(world: World) -> None:
    world.submits(time_limit=20)
    world.agent.claim()
    world.passes(21)
    world.obeys()


@scenario
def time_limit_of_a_step_its_agent_dies(world: World) -> None:
    world.submits(time_limit=20)
    world.agent.claim()
    world.passes(21)
    world.dies(world.agent)


@scenario
def time_limit_of_a_step_then_retried(world: World) -> None:
    world.submits(time_limit=20, retry=Retry())
    world.agent.claim()
    world.passes(21)
    world.obeys()
    world.works()


@scenario
def time_limit_while_queued(world: World) -> None:
    world.submits(time_limit=20)
    world.passes(60)
    assert world.statuses["train"] == "queued"
    world.works()


@scenario
def time_limit_of_the_run(world: World) -> None:
    world.submits(step("other", queue="gpu"), whole={"time_limit": 20})
    world.agent.claim()
    world.passes(21)
    world.obeys()


@scenario
def time_limit_of_the_run_before_any_step(world: World) -> None:
    world.submits(whole={"time_limit": 20})
    world.passes(21)


@scenario
def stopped_by_a_person(world: World) -> None:
    world.submits(step("other", queue="gpu"))
    world.agent.claim()
    world.stops(reason="enough")
    assert world.statuses["train"] == "running", "it may save its work"
    world.obeys()


@scenario
def stopped_after_a_step_had_completed(world: World) -> None:
    world.submits()
    world.agent.end(world.agent.claim())
    world.stops(reason="enough")


@scenario
def stopped_and_its_agent_dies(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.stops(reason="enough")
    world.dies(world.agent)


@scenario
def stopped_and_called_a_failure(world: World) -> None:
    world.submits()
    world.server.tell(world.run_id, StopRun(reason="the metric is bad", outcome="failed"))


@scenario
def stopped_as_a_draft(world: World) -> None:
    world.submits(given={"draft": True})
    world.stops(reason="not wanted")


@scenario
def stopped_between_claim_and_start(world: World) -> None:
    """The agent has been handed the step, and does not know it yet."""
    world.submits()
    world.agent.ask_in_vain()
    world.server.do(world.server.of_step(world.run_id, "train").id, StopTask(reason="not now"))
    world.agent.ask()
    world.obeys()
