"""Outcomes of runs whose code adds the steps while it runs."""

import pytest

from controller.exchange import Claim
from domain.content import Content
from domain.run import AddStep, Diverged
from tests.controller.server import pipeline, step
from tests.outcomes.world import HOST, LEASE, World, scenario


@scenario
def dynamic_run_completes(world: World) -> None:
    begins_dynamic(world)
    adds(world, "train")
    world.works()
    adds(world, "report", "train")
    world.works()
    world.services.end(claim_of_host(world))


@scenario
def dynamic_run_whose_step_failed(world: World) -> None:
    begins_dynamic(world)
    adds(world, "train")
    world.works(train="failed")
    world.services.end(claim_of_host(world))


@scenario
def dynamic_run_whose_code_raises(world: World) -> None:
    begins_dynamic(world)
    adds(world, "train")
    world.works()
    adds(world, "report", "train")
    world.services.end(claim_of_host(world), "failed", reason="ValueError: no such column")


@scenario
def dynamic_run_without_a_step(world: World) -> None:
    begins_dynamic(world)
    world.services.end(claim_of_host(world))


@scenario
def dynamic_run_is_stopped(world: World) -> None:
    begins_dynamic(world)
    adds(world, "train")
    world.agent.claim()
    world.stops(reason="enough")
    world.obeys()


@scenario
def dynamic_run_resumes_after_its_host_was_lost(world: World) -> None:
    begins_dynamic(world)
    adds(world, "train")
    world.works()
    world.services = world.services.started_anew()
    world.services.claim()
    adds(world, "train", call=0)
    adds(world, "report", "train")
    world.works()
    world.services.end(claim_of_host(world))
    assert len(world.server.events("TaskStarted")) == 2


@scenario
def dynamic_run_diverges(world: World) -> None:
    """The code does not make the calls again that it made before."""
    begins_dynamic(world)
    adds(world, "train")
    world.works()
    world.services = world.services.started_anew()
    world.services.claim()
    with pytest.raises(Diverged) as diverged:
        adds(world, "other", call=0)
    world.services.end(claim_of_host(world), "failed", reason=str(diverged.value))


def begins_dynamic(world: World) -> None:
    definition = pipeline([], dynamic=True, host=HOST)
    world.run_id = world.server.submit(definition)
    world.services.claim()


def adds(world: World, name: str, *parents: str, call: int | None = None) -> None:
    run = world.server.run(world.run_id)
    held = world.services
    added = AddStep(
        session=held.session,
        attempt=held.held[world.run_id],
        call=len(run.calls) if call is None else call,
        step=step(name, *parents),
        content="",
        fingerprint=name,
    )
    world.server.tell(world.run_id, added)


def claim_of_host(world: World) -> Claim:
    run = world.server.run(world.run_id)
    return Claim(None, Content(), run.host.attempt, LEASE, run)
