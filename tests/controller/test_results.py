"""Results that are reused between runs, and tasks that a step runs itself."""

import pytest

from controller.reading import Reader
from domain.content import Content, Edit, Parameter, Script
from domain.pipeline import StepDefinition
from domain.refused import Refused
from domain.run import CompleteStep, RetryStep
from domain.run_state import Gates
from domain.task import ArtifactAdded, EnqueueTask, PublishTask, RemoveArtifacts, TaskEdited
from tests.controller.server import Server, pipeline, step

CODE = Content(script=Script(source="5" * 64, entry_point="t.py"), hyperparameters={"General": {"lr": Parameter(0.1)}})


def submit(server: Server, lr: float = 0.1, cache: str = "use", **fields: object) -> str:
    override = {"General/lr": lr}
    reads = {"General/lr": "${a.parameters.General/lr}", "General/x": "${a.parameters.return/x}"}
    a = step("a", task=CODE, cache=True, parameter_override=override, **fields)
    b = step("b", "a", task=CODE, parameter_override=reads)
    return server.submit([a, b], cache=cache)


def run_through(server: Server, run_id: str) -> str:
    """Step a returns x = 7 and makes an artifact; its task's id."""
    agent = server.agent()
    claim = agent.claim()
    assert claim.task is not None
    returned = TaskEdited(edit=Edit(hyperparameters={"return": {"x": Parameter(7)}}), attempt=claim.attempt)
    server.do(claim.task.id, returned)
    server.do(claim.task.id, ArtifactAdded(name="data", url="s3://data", attempt=claim.attempt))
    agent.end(claim)
    agent.work()
    assert server.run(run_id).status == "completed"
    return claim.task.id


def gates(server: Server, run_id: str) -> Gates:
    return server.run(run_id).step("a").gates


def test_the_second_run_reuses_the_first_ones_results_with_all_that_refers_to_them(server):
    made = run_through(server, submit(server, lr=0.3))
    run_id = submit(server, lr=0.3)
    step_a = server.run(run_id).step("a")
    assert (step_a.status, step_a.task_id, step_a.reason) == ("cached", made, f"reused the results of task {made}")
    overrides = server.of_step(run_id, "b").overrides
    assert overrides is not None
    # Once a cached step's parameters were those of the template.
    assert overrides.parameters == {"General/lr": 0.3, "General/x": 7}
    assert list(step_a.artifacts) == ["data"]
    server.agent().work()
    server.check()


def test_results_of_which_an_artifact_was_removed_are_not_reused(server):
    made = run_through(server, submit(server))
    server.do(made, RemoveArtifacts(names=["data"]))
    run_id = submit(server)
    found = gates(server, run_id).found
    assert found is not None
    assert found.reason == f"the result of task {made} is not there any more"
    assert server.statuses(run_id)["a"] == "queued"
    server.check()


def test_a_miss_says_what_differs_from_the_newest_known_one(server):
    made = run_through(server, submit(server, lr=0.1))
    run_id = submit(server, lr=0.2)
    found = gates(server, run_id).found
    assert found is not None
    assert (found.task_id, list(found.differs)) == (None, ["General/lr"])
    assert found.reason == f"no result has this key; against that of task {made}: General/lr"
    assert server.statuses(run_id)["a"] == "queued"
    server.check()


def test_the_first_run_misses_because_nothing_was_kept(server):
    found = gates(server, submit(server)).found
    assert found is not None
    assert (found.reason, list(found.differs)) == ("no result of this step has been kept before", [])
    server.check()


def test_a_run_that_refreshes_runs_and_its_result_is_the_one_from_then_on(server):
    first = run_through(server, submit(server))
    run_id = submit(server, cache="refresh")
    second = run_through(server, run_id)
    assert first != second
    assert server.run(submit(server)).step("a").task_id == second
    server.check()


def test_a_run_without_cache_neither_looks_nor_keeps(server):
    run_through(server, submit(server, cache="off"))
    assert server.rows("cache") == []
    assert gates(server, submit(server, cache="off")).key is None
    server.check()


def test_a_failure_is_not_kept_and_a_retry_by_hand_that_completes_is(server):
    run_id = submit(server)
    server.agent().work(lambda _: "failed")
    assert server.rows("cache") == []
    server.tell(run_id, RetryStep(step="a"))
    made = run_through(server, run_id)
    assert server.run(submit(server)).step("a").task_id == made
    server.check()


def test_what_a_person_marked_as_completed_is_no_result_of_the_code(server):
    run_id = submit(server)
    server.tell(run_id, CompleteStep(step="a", outputs={"x": 1}))
    assert server.statuses(run_id)["a"] == "completed"
    assert server.rows("cache") == []
    server.check()


def test_another_server_finds_what_the_first_one_kept(server):
    made = run_through(server, submit(server))
    other = server.restarted()
    assert other.run(submit(other)).step("a").task_id == made
    server.check()
    other.check()


def test_a_reader_of_the_past_sees_the_cached_step_as_the_live_state_does(server):
    run_through(server, submit(server))
    run_id = submit(server)
    assert Reader(server.store).run(run_id).step("a") == server.run(run_id).step("a")


def test_an_unknown_mode_is_refused(server):
    with pytest.raises(Refused, match="cache is 'use', 'refresh' or 'off', not 'never'"):
        submit(server, cache="never")


# Tasks that a step runs itself


def test_a_draft_that_is_not_cloned_runs_with_the_steps_overrides(server):
    made = server.create("mine")
    server.do(made, TaskEdited(edit=Edit(hyperparameters={"General": {"n": Parameter(3)}})))
    override = {"General/lr": 0.5}
    run_id = server.submit([step("a", base_task_id=made, clone=False, parameter_override=override), step("b", "a")])
    agent = server.agent()
    claim = agent.claim()
    assert claim.task is not None
    assert (claim.task.id, claim.task.run_id, claim.task.name) == (made, run_id, "mine")
    section = claim.content.hyperparameters["General"]
    assert (section["lr"].value, section["n"].value) == (0.5, 3)
    agent.end(claim)
    agent.work()
    assert server.run(run_id).status == "completed"
    server.check()


def test_the_second_run_of_a_draft_gets_a_clone_and_says_why(server):
    made = server.create("mine")
    steps = [step("a", base_task_id=made, clone=False)]
    first, second = server.submit(steps), server.submit(steps)
    assert server.run(first).step("a").task_id == made
    assert server.run(second).step("a").task_id != made
    [refused] = server.events("AdoptionRefused")
    assert f"belongs to run {first}" in refused.data
    server.check()


def test_a_draft_step_waits_and_is_enqueued_by_a_person(server):
    run_id = server.submit([step("a", draft=True), step("b", "a")])
    task_id = server.of_step(run_id, "a").id
    assert server.agent().work() == []
    server.do(task_id, EnqueueTask(queue="default"))
    server.agent("h:1").work()
    assert server.run(run_id).status == "completed"
    server.check()


def aborted_at_once(server: Server, held: StepDefinition) -> str:
    """A run that another step brings down in the append in which `held` asks for something outside of it."""
    bad = step("b", queue="${pipeline.where}")
    return server.submit(pipeline([held, bad], defaults={"where": "nowhere"}, abort_on_failure=True))


def test_a_step_that_is_skipped_in_the_same_append_adopts_nothing(server):
    """Once the user's draft was taken, and belonged to a run that had ended."""
    made = server.create("mine")
    run_id = aborted_at_once(server, step("a", base_task_id=made, clone=False))
    assert server.statuses(run_id) == {"a": "skipped", "b": "failed"}
    assert (server.task(made).run_id, server.run(run_id).step("a").task_id) == (None, None)
    server.check()


def test_nor_does_it_reuse_anything(server):
    run_through(server, submit(server))
    run_id = aborted_at_once(server, step("a", task=CODE, cache=True, parameter_override={"General/lr": 0.1}))
    assert server.statuses(run_id) == {"a": "skipped", "b": "failed"}
    assert server.run(run_id).step("a").task_id is None
    server.check()


def test_only_the_task_of_a_step_that_completed_is_published(server):
    run_id = server.submit(pipeline({"a": [], "b": []}))
    server.agent().work(lambda claim: "failed" if claim.task and claim.task.name == "a" else "completed")
    server.do(server.of_step(run_id, "b").id, PublishTask())
    with pytest.raises(Refused, match="only the task of a completed step can be published"):
        server.do(server.of_step(run_id, "a").id, PublishTask())
    server.check()
