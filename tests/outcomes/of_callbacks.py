"""Outcomes when the run's host is asked: what callbacks say, raise, and never say."""

from domain.pipeline import Retry
from tests.outcomes.world import World, allows, scenario

ERROR = "Traceback (most recent call last):\n  File pipe.py\nValueError: no such column"


@scenario
def pre_callback_agrees(world: World) -> None:
    world.submits_hooked("pre")
    world.answers("pre", verdict=True, parameters={"General/lr": 0.5})
    assert world.server.of_step(world.run_id, "train").overrides is not None
    world.works()


@scenario
def pre_callback_skips(world: World) -> None:
    world.submits_hooked("pre")
    world.answers("pre", verdict=False)


@scenario
def pre_callback_raises(world: World) -> None:
    world.submits_hooked("pre")
    world.answers("pre", error=ERROR)


@scenario
def pre_callback_raises_and_failure_is_allowed(world: World) -> None:
    world.submits_hooked("pre", continue_behaviour=allows(continue_on_fail=True))
    world.answers("pre", error=ERROR)


@scenario
def pre_callback_never_answers(world: World) -> None:
    world.submits_hooked("pre", whole={"hook_timeout": 50.0})
    world.passes(51)


@scenario
def pre_callback_names_a_missing_queue(world: World) -> None:
    world.submits_hooked("pre")
    world.answers("pre", verdict=True, queue="nowhere")


@scenario
def created_callback_skips(world: World) -> None:
    world.submits_hooked("created")
    world.answers("created", verdict=False)


@scenario
def created_callback_raises(world: World) -> None:
    world.submits_hooked(whole={"hooks": ["created"]})
    world.answers("created", error=ERROR)


@scenario
def post_callback_agrees(world: World) -> None:
    world.submits_hooked(whole={"hooks": ["post"]})
    world.works()
    world.answers("post")
    world.works()
    world.answers("post", "report")


@scenario
def post_callback_raises(world: World) -> None:
    world.submits_hooked("post")
    world.works()
    world.answers("post", error=ERROR)


@scenario
def post_callback_after_a_failure(world: World) -> None:
    world.submits_hooked("post")
    world.works(train="failed")
    world.answers("post")


@scenario
def post_callback_never_answers(world: World) -> None:
    world.submits_hooked("post", whole={"hook_timeout": 50.0})
    world.works()
    world.passes(51)


@scenario
def post_callback_of_a_stopped_run(world: World) -> None:
    """Whoever stops the run does not wait for its callbacks."""
    world.submits_hooked("post")
    world.works()
    world.stops(reason="enough")


@scenario
def status_callback_raises(world: World) -> None:
    world.submits_hooked("status")
    world.answers("status", error=ERROR)
    world.works()


@scenario
def status_callback_never_answers(world: World) -> None:
    world.submits_hooked("status", whole={"hook_timeout": 50.0})
    world.passes(51)
    world.works()


@scenario
def retry_callback_says_yes(world: World) -> None:
    world.submits_hooked("retry")
    world.agent.end(world.agent.claim(), "failed")
    world.answers("retry", verdict=True)
    world.works()


@scenario
def retry_callback_says_no(world: World) -> None:
    world.submits_hooked("retry")
    world.works(train="failed")
    world.answers("retry", verdict=False)


@scenario
def retry_callback_raises(world: World) -> None:
    world.submits_hooked("retry")
    world.works(train="failed")
    world.answers("retry", error=ERROR)


@scenario
def retry_callback_after_the_counted_retries(world: World) -> None:
    world.submits_hooked("retry", retry=Retry(times=1))
    world.works(train="failed")
    world.answers("retry", verdict=False)


@scenario
def factory_makes_a_task(world: World) -> None:
    world.submits_hooked("factory", task=None)
    world.answers("factory", task_id=world.server.create("made by a factory"))
    world.works()


@scenario
def factory_makes_no_task(world: World) -> None:
    world.submits_hooked("factory", task=None)
    world.answers("factory", task_id=None)


@scenario
def factory_names_a_task_that_has_run(world: World) -> None:
    made = world.server.enqueued("made before")
    world.agent.work()
    world.submits_hooked("factory", task=None)
    world.answers("factory", task_id=made)


@scenario
def factory_raises(world: World) -> None:
    world.submits_hooked("factory", task=None)
    world.answers("factory", error=ERROR)


@scenario
def callback_asked_when_the_run_is_stopped(world: World) -> None:
    world.submits_hooked("pre")
    world.stops(reason="enough")
