"""Outcomes when agents, hosts, queues or the server are not there, or not any more."""

import pytest
from msgspec.structs import replace

from controller.exchange import Superseded
from controller.handle import Submission
from controller.verify import verify_run
from domain.ids import step_task_id
from domain.pipeline import Approval, PipelineParameter
from domain.run import PauseRun, ResumeRun, StartRun
from tests.controller.server import BY, ended, new_id, pipeline, step
from tests.outcomes.world import HOST, World, allows, own_process, scenario


@scenario
def agent_lost_and_replaced(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.dies(world.agent)
    assert world.statuses["train"] == "queued"
    world.agent = world.agent.started_anew()
    world.works()


@scenario
def agent_lost_too_often(world: World) -> None:
    world.submits(max_attempts=2)
    for _ in range(2):
        world.agent.claim()
        world.agent = world.agent.started_anew()


@scenario
def agent_lost_and_no_second_attempt_wanted(world: World) -> None:
    world.submits(on_lost="fail")
    world.agent.claim()
    world.dies(world.agent)


@scenario
def agent_lost_and_the_failure_is_allowed(world: World) -> None:
    world.submits(on_lost="fail", continue_behaviour=allows(continue_on_fail=True))
    world.agent.claim()
    world.dies(world.agent)


@scenario
def agent_lost_before_it_heard_of_its_claim(world: World) -> None:
    """The answer of the exchange never arrived: the claim is handed over again."""
    world.submits()
    world.agent.ask_in_vain()
    assert world.statuses["train"] == "running"
    world.works()


@scenario
def agent_dies_before_it_heard_of_its_claim(world: World) -> None:
    world.submits()
    world.agent.ask_in_vain()
    world.dies(world.agent)
    world.agent = world.agent.started_anew()
    world.works()


@scenario
def agent_cannot_start_the_task(world: World) -> None:
    world.submits()
    world.agent.end(world.agent.claim(), "failed", reason="no space left on device")


@scenario
def agent_says_goodbye(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.server.exchange.leave(world.agent.id, world.agent.session, [])
    world.agent = world.agent.started_anew()
    world.works()


@scenario
def agent_comes_back_too_late(world: World) -> None:
    """Cut off but alive, it reports when the second attempt runs: its word counts for nothing."""
    world.submits()
    claim = world.agent.claim()
    world.dies(world.agent)
    second = world.server.agent("h:1")
    other = second.claim()
    with pytest.raises(Superseded):
        world.agent.ask_in_vain(ended(claim, "failed"))
    second.end(other)
    second.work()


@scenario
def no_agent_listens(world: World) -> None:
    world.submits(queue="gpu")
    world.passes(300)


@scenario
def queue_missing_at_submit(world: World) -> None:
    world.submits(queue="nowhere")


@scenario
def queue_missing_at_launch(world: World) -> None:
    world.submits(queue="${pipeline.where}", whole={"defaults": {"where": "nowhere"}})


@scenario
def queue_paused(world: World) -> None:
    world.server.controller.pause_queue("default", "maintenance", BY)
    world.submits()
    world.works()
    assert not world.server.exchange.has_work(["default"])


@scenario
def queue_resumed(world: World) -> None:
    queue_paused_for_a_while(world)
    world.server.controller.resume_queue("default", "", BY)
    world.works()


def queue_paused_for_a_while(world: World) -> None:
    world.server.controller.pause_queue("default", "maintenance", BY)
    world.submits()
    world.works()
    assert world.statuses["train"] == "queued"


@scenario
def run_paused(world: World) -> None:
    world.submits()
    claim = world.agent.claim()
    world.server.tell(world.run_id, PauseRun(reason="the budget"))
    world.agent.end(claim)
    world.works()


@scenario
def run_paused_takes_what_is_queued_back(world: World) -> None:
    world.submits()
    world.server.tell(world.run_id, PauseRun())
    world.works()


@scenario
def run_paused_and_its_agent_dies(world: World) -> None:
    world.submits()
    world.agent.claim()
    world.server.tell(world.run_id, PauseRun(reason="the budget"))
    world.dies(world.agent)
    world.agent = world.agent.started_anew()
    world.works()


@scenario
def run_resumed(world: World) -> None:
    world.submits()
    world.server.tell(world.run_id, PauseRun())
    world.works()
    world.server.tell(world.run_id, ResumeRun())
    world.works()


@scenario
def run_paused_then_stopped(world: World) -> None:
    world.submits()
    world.server.tell(world.run_id, PauseRun())
    world.stops(reason="enough")


@scenario
def server_restarted(world: World) -> None:
    """In the middle of a step: nothing is launched twice, the step's report is taken."""
    world.submits()
    claim = world.agent.claim()
    world.restarts()
    world.agent.end(claim)
    world.restarts()
    world.works()
    assert len(world.server.events("TaskStarted")) == 2


@scenario
def server_killed_after_it_enqueued(world: World) -> None:
    world.submits()
    world.restarts()
    world.works()


@scenario
def server_down_when_a_deadline_passes(world: World) -> None:
    world.submits(approval=Approval(deadline=60))
    world.clock.passes(3600)
    world.restarts()
    world.loop.once()


@scenario
def two_servers_on_one_run(world: World) -> None:
    other = world.server.restarted()
    world.submits(step("other"))
    first, second = world.agent.claim(), world.agent.claim(server=other)
    world.agent.ask(ended(first), free=0, server=other)
    world.agent.ask(ended(second), free=0)
    world.works()
    assert verify_run(other.store, world.run_id).ok
    assert len(world.server.events("TaskStarted")) == 3


@scenario
def host_lost_and_replaced(world: World) -> None:
    world.submits_hooked("pre")
    world.dies(world.services)
    world.services = world.services.started_anew()
    world.services.claim()
    world.answers("pre", verdict=True)
    world.works()


@scenario
def host_lost_too_often(world: World) -> None:
    world.submits_hooked("pre")
    for _ in range(4):
        world.services = world.services.started_anew()
        world.services.ask()


@scenario
def host_failed(world: World) -> None:
    world.submits(hooks=["pre"], whole={"host": HOST})
    world.services.end(world.services.claim(), "failed", reason="ImportError: no module named iris")


@scenario
def host_ended_early(world: World) -> None:
    world.submits(hooks=["post"], whole={"host": HOST})
    world.services.end(world.services.claim())


@scenario
def host_never_claimed(world: World) -> None:
    world.submits(hooks=["pre"], whole={"host": HOST})
    world.passes(2000)


@scenario
def host_is_the_callers_process_and_dies(world: World) -> None:
    world.submits(hooks=["pre"], given={"host": own_process(new_id())})
    world.passes(30)


@scenario
def callbacks_without_a_host(world: World) -> None:
    world.submits(hooks=["pre"])


@scenario
def callbacks_of_a_clone_without_a_host(world: World) -> None:
    world.submits(hooks=["pre"], given={"host": own_process(new_id())})
    world.run_id = world.server.controller.clone_run(new_id(), world.run_id, BY).id
    world.server.tell(world.run_id, StartRun())


@scenario
def pipeline_gone(world: World) -> None:
    world.server.controller.submit_run(new_id(), Submission(pipeline_id="f" * 32), BY)


@scenario
def template_gone(world: World) -> None:
    world.submits(base_task_id=step_task_id("f" * 32, "none"))


@scenario
def parameter_of_the_wrong_type(world: World) -> None:
    definition = pipeline([step("train")])
    typed = replace(definition, parameters=[PipelineParameter(name="epochs", default=3, type="int")])
    world.server.submit(typed, parameters={"epochs": "many"})
