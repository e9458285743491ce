"""A step that is a pipeline: its run is launched with its parameters, stopped with it, and ends it."""

import pytest

from domain.pipeline import HostDefinition, Retry
from domain.run import RetryStep
from domain.run_events import ChildRunLaunched, ChildStopRequested
from domain.task import ArtifactAdded, ModelAdded
from tests.domain.play import Play, letters, pipeline, step

CHILD = {"base_task_id": None, "content": None, "pipeline_id": "c" * 32, "pipeline": "c" * 64}
DATA = ArtifactAdded(name="data", url="s3://data")


def nested(**fields: object) -> Play:
    return Play(pipeline([step("a", **{**CHILD, **fields}), step("b", "a")], default_queue="default"))


def launched(play: Play) -> list[ChildRunLaunched]:
    return [fact.event for fact in play.log if isinstance(fact.event, ChildRunLaunched)]


def test_its_run_is_launched_with_the_values_of_its_parameters():
    steps = [step("x"), step("a", **CHILD, parameter_override={"Args/of": "${x.id}", "Args/n": 3})]
    play = Play(pipeline(steps)).play("x completes")
    [event] = launched(play)
    assert event.parameters == {"of": play.step("x").task_id, "n": 3}
    assert (play.step("a").status, play.step("a").run_id) == ("running", event.run_id)
    assert not play.tasks.get("a")


@pytest.mark.parametrize(
    ("own", "of_run", "given"), [(None, None, None), ("services", None, "services"), ("services", "default", "default")]
)
def test_only_an_own_word_on_the_queue_holds_for_its_steps(own, of_run, given):
    play = Play(pipeline([step("a", **CHILD, queue=own)]), queue=of_run)
    assert [event.queue for event in launched(play)] == [given]


def test_a_queue_that_it_takes_from_a_parameter_is_the_parameters_value():
    """Once the child was given the reference itself."""
    play = Play(pipeline([step("a", **CHILD, queue="${pipeline.where}")], defaults={"where": "services"}))
    assert [event.queue for event in launched(play)] == ["services"]
    other = Play(pipeline([step("a", **CHILD, queue="${pipeline.where}")], defaults={"where": "nowhere"}))
    assert (other.step("a").status, launched(other)) == ("failed", [])


@pytest.mark.parametrize(
    ("status", "statuses", "ends"),
    [
        ("completed", "a completed, b queued", "running"),
        ("failed", "a failed, b skipped", "failed"),
        ("stopped", "a stopped, b skipped", "failed"),
    ],
)
def test_its_end_is_the_steps(status, statuses, ends):
    play = nested()
    play.child_ends("a", status, "so it was")
    assert (play.statuses, play.run.status) == (letters(statuses), ends)
    assert play.step("a").reason == "so it was"


def test_what_it_puts_out_is_the_steps():
    reads = {"General/x": "${a.artifacts.data.url}", "General/run": "${a.id}"}
    play = Play(pipeline([step("a", **CHILD), step("b", "a", parameter_override=reads)]))
    play.child_ends("a", artifacts=[DATA], models=[ModelAdded(id="m", kind="output", name="net")])
    overrides = play.created("b").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/x": "s3://data", "General/run": play.step("a").run_id}
    assert [model.name for model in play.step("a").models] == ["net"]


def test_stopping_the_run_asks_it_to_stop_and_waits_for_it():
    play = nested()
    play.stop("enough")
    assert (len(play.of_type(ChildStopRequested)), play.run.status) == (1, "running")
    play.stop("enough")
    assert len(play.of_type(ChildStopRequested)) == 1
    play.child_ends("a", "stopped")
    assert play.run.status == "stopped"


def test_a_step_that_failed_beside_it_brings_it_down_where_the_pipeline_aborts():
    play = Play(pipeline([step("x"), step("a", **CHILD)], abort_on_failure=True)).play("x fails")
    assert len(play.of_type(ChildStopRequested)) == 1
    play.child_ends("a", "stopped")
    assert (play.run.status, play.run.reason) == ("failed", "step 'x' failed: exit code 3")


def test_a_retry_is_a_run_of_its_own():
    play = nested(retry=Retry(times=1))
    play.child_ends("a", "failed")
    assert play.step("a").status == "running"
    first, second = launched(play)
    assert first.run_id != second.run_id
    play.child_ends("a")
    assert play.statuses == letters("a completed, b queued")


def test_a_retry_by_hand_keeps_what_its_callback_changed():
    """Once the parameters that the pre callback had set were lost."""
    definition = pipeline([step("a", **CHILD, hooks=["pre"], parameter_override={"Args/n": 1})], host=HostDefinition())
    play = Play(definition)
    play.host_starts()
    play.answer("a", "pre", verdict=True, parameters={"Args/n": 7}, queue="services")
    play.child_ends("a", "failed")
    play.command(RetryStep(step="a"))
    assert [(event.parameters, event.queue) for event in launched(play)] == [({"n": 7}, "services")] * 2


def test_a_time_limit_stops_it_and_is_the_steps_failure():
    play = nested(time_limit=60)
    play.passes(61)
    assert len(play.of_type(ChildStopRequested)) == 1
    play.child_ends("a", "stopped")
    assert (play.step("a").status, play.step("a").reason) == ("failed", "it ran longer than its time limit of 60 s")
