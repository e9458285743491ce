"""Outcomes of steps that reuse results, run a task that was there before, or are pipelines themselves; references."""

from controller.handle import Submission
from domain.content import Content
from domain.ids import pipeline_id
from domain.pipeline import Retry
from domain.run import StopRun
from tests.controller.server import BY, new_id, pipeline, step
from tests.outcomes.world import CODE, World, allows, scenario


@scenario
def cached(world: World) -> None:
    world.submits(task=CODE, cache=True)
    world.works()
    world.submits(task=CODE, cache=True)
    world.works()


@scenario
def cache_missed(world: World) -> None:
    world.submits(task=CODE, cache=True)
    world.works()
    world.submits(task=CODE, cache=True, parameter_override={"General/lr": 0.3})
    world.works()


@scenario
def cache_of_a_failure(world: World) -> None:
    world.submits(task=CODE, cache=True)
    world.works(train="failed")
    world.submits(task=CODE, cache=True)
    world.works()


@scenario
def cache_refreshed(world: World) -> None:
    world.submits(task=CODE, cache=True)
    world.works()
    world.submits(task=CODE, cache=True, given={"cache": "refresh"})
    world.works()


@scenario
def cache_off(world: World) -> None:
    world.submits(task=CODE, cache=True)
    world.works()
    world.submits(task=CODE, cache=True, given={"cache": "off"})
    world.works()


@scenario
def draft_adopted(world: World) -> None:
    made = world.server.create("a draft")
    world.submits(task=None, base_task_id=made, clone=False)
    assert world.server.run(world.run_id).step("train").task_id == made
    world.works()


@scenario
def draft_adopted_too_late(world: World) -> None:
    """The template has run before: a clone of it runs, as ClearML does it."""
    made = world.server.enqueued("no draft")
    world.agent.work()
    world.submits(task=None, base_task_id=made, clone=False)
    assert world.server.run(world.run_id).step("train").task_id != made
    world.works()


@scenario
def missing_artifact(world: World) -> None:
    world.submits(step("report", "train", parameter_override={"General/x": "${train.artifacts.data.url}"}))
    world.works()


@scenario
def missing_parameter_of_a_step(world: World) -> None:
    world.submits(step("report", "train", parameter_override={"General/x": "${train.parameters.General/none}"}))
    world.works()


@scenario
def missing_model(world: World) -> None:
    world.submits(step("report", "train", parameter_override={"General/x": "${train.models.output.-1.url}"}))
    world.works()


@scenario
def reference_to_no_step(world: World) -> None:
    world.submits(parameter_override={"General/x": "${nothing.id}"})


@scenario
def reference_to_no_parameter(world: World) -> None:
    world.submits(parameter_override={"General/x": "${pipeline.none}"})


@scenario
def override_that_does_not_fit(world: World) -> None:
    whole = {"defaults": {"tags": 5}}
    world.submits(task_overrides={"tags": "${pipeline.tags}"}, whole=whole)


@scenario
def steps_in_a_circle(world: World) -> None:
    world.server.submit([step("train", "report"), step("report", "train")])


@scenario
def child_run_completes(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of())
    world.works()


@scenario
def child_run_fails(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of())
    world.works(deep="failed")


@scenario
def child_run_fails_and_it_is_allowed(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of(), continue_behaviour=allows(continue_on_fail=True))
    world.works(deep="failed")


@scenario
def child_run_fails_and_is_retried(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of(), retry=Retry())
    world.agent.end(world.agent.claim(), "failed")
    world.works()


@scenario
def child_run_is_stopped(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of())
    world.server.tell(world.server.child(world.run_id, "train"), StopRun(reason="no need"))


@scenario
def child_run_when_its_parent_is_stopped(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of())
    world.agent.claim()
    world.stops(reason="enough")
    world.obeys()
    assert world.server.run(world.server.child(world.run_id, "train")).status == "stopped"


@scenario
def child_run_past_its_time_limit(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of(), time_limit=20)
    world.agent.claim()
    world.passes(21)
    world.obeys()


@scenario
def child_of_a_child_fails(world: World) -> None:
    inner = world.child_of("innermost")
    middle = pipeline([step("deep", task=None, pipeline_id=inner)], name="middle")
    registered = world.server.controller.register_pipeline(middle, BY).id
    world.submits(task=None, pipeline_id=registered)
    world.works(deep="failed")


@scenario
def pipeline_within_itself(world: World) -> None:
    own = pipeline([step("train")], name="own")
    world.server.controller.register_pipeline(own, BY)
    again = pipeline([step("train", task=None, pipeline_id=pipeline_id("examples", "own"))], name="own")
    world.server.controller.submit_run(new_id(), Submission(definition=again), BY)


@scenario
def child_with_callbacks_and_no_host(world: World) -> None:
    world.submits(task=None, pipeline_id=world.child_of(hooks=["pre"], task=Content()))
