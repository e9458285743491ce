"""A run that is a step of another run: made, ended and stopped in the same append as the step."""

import pytest
from msgspec.structs import replace

from domain.ids import pipeline_id
from domain.pipeline import Definition, HostDefinition, PipelineParameter, Retry
from domain.refused import Invalid
from domain.run import PauseRun, ResumeRun, RetryStep, StopRun
from domain.task import ArtifactAdded
from tests.controller.server import BY, Server, new_id, pipeline, step


def registered(server: Server, definition: Definition) -> str:
    return server.controller.register_pipeline(definition, BY).id


def inner(server: Server, name: str = "inner", **fields: object) -> str:
    """A pipeline of one step `deep`, whose artifact `data` it puts out."""
    deep = step("deep", monitor_artifacts=[["data", "result"]], **fields)
    typed = [PipelineParameter(name="n", default=1, type="int")]
    return registered(server, replace(pipeline([deep], name=name), parameters=typed))


def nested(server: Server, child: str, **fields: object) -> str:
    return server.submit([step("a", task=None, pipeline_id=child, **fields), step("b", "a")])


def nested_once(server: Server) -> str:
    """A pipeline whose only step is another one."""
    only = step("only", task=None, pipeline_id=inner(server, "deepest"))
    return registered(server, pipeline([only], name="middle"))


def test_parent_and_child_begin_in_one_append(server, commits):
    child = inner(server)
    before = len(commits)
    run_id = nested(server, child, parameter_override={"Args/n": 5})
    assert len(commits) - before == 1
    made = server.run(server.child(run_id, "a"))
    assert (made.parent_run, made.parent_step, made.parameters) == (run_id, "a", {"n": 5})
    assert (made.status, server.statuses(made.id)) == ("running", {"deep": "queued"})
    assert made.id[:2] == run_id[:2], "they share a slot"
    server.check()


def test_the_childs_end_goes_on_with_the_parent_in_one_append(server, commits):
    run_id = nested(server, inner(server))
    agent = server.agent()
    claim = agent.claim()
    assert claim.task is not None
    server.do(claim.task.id, ArtifactAdded(name="data", url="s3://deep", attempt=1))
    before = len(commits)
    [follows] = agent.end(claim, free=1).claims
    assert len(commits) - before == 1
    assert follows.task is not None
    assert follows.task.name == "b"
    assert server.run(run_id).step("a").artifacts["result"].record.url == "s3://deep"
    agent.end(follows)
    assert server.run(run_id).status == "completed"
    server.check()


def test_a_failure_goes_up_and_a_stop_goes_down_three_levels(server):
    middle = registered(server, pipeline([step("m", task=None, pipeline_id=inner(server))], name="middle"))
    run_id = nested(server, middle)
    child = server.child(run_id, "a")
    deepest = server.child(child, "m")
    agent = server.agent()
    claim = agent.claim()
    server.tell(run_id, StopRun(reason="enough"))
    assert [server.run(one).ending for one in (run_id, child, deepest)] == ["stopped"] * 3
    agent.end(claim, "stopped")
    assert {server.run(one).status for one in (run_id, child, deepest)} == {"stopped"}
    other = nested(server, middle)
    agent.end(agent.claim(), "failed", reason="exit code 3")
    said = "step 'a' failed: step 'm' failed: step 'deep' failed: exit code 3"
    assert (server.run(other).status, server.run(other).reason) == ("failed", said)
    server.check()


def test_an_artifact_comes_up_three_levels(server):
    asks = [["result", "result"]]
    m = step("m", task=None, pipeline_id=inner(server), monitor_artifacts=asks)
    middle = registered(server, pipeline([m], name="middle"))
    reads = {"General/x": "${a.artifacts.result.url}"}
    run_id = server.submit([step("a", task=None, pipeline_id=middle), step("b", "a", parameter_override=reads)])
    agent = server.agent()
    claim = agent.claim()
    assert claim.task is not None
    server.do(claim.task.id, ArtifactAdded(name="data", url="s3://deep", attempt=1))
    agent.end(claim)
    overrides = server.of_step(run_id, "b").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/x": "s3://deep"}
    agent.work()
    server.check()


def test_a_child_is_stopped_by_itself(server):
    run_id = nested(server, inner(server))
    server.tell(server.child(run_id, "a"), StopRun(reason="no need"))
    assert server.statuses(run_id) == {"a": "stopped", "b": "skipped"}
    assert server.run(run_id).status == "failed"
    server.check()


def test_a_retry_makes_another_run(server):
    run_id = nested(server, inner(server), retry=Retry(times=1))
    first = server.child(run_id, "a")
    agent = server.agent()
    agent.end(agent.claim(), "failed")
    second = server.child(run_id, "a")
    assert first != second
    agent.work()
    assert [server.run(one).status for one in (first, second, run_id)] == ["failed", "completed", "completed"]
    server.check()


def test_a_retry_by_hand_of_the_step_does_too(server):
    run_id = nested(server, inner(server))
    agent = server.agent()
    agent.end(agent.claim(), "failed")
    server.tell(run_id, RetryStep(step="a"))
    agent.work()
    assert server.run(run_id).status == "completed"
    server.check()


def test_a_pause_goes_down_and_so_does_its_end(server):
    run_id = nested(server, nested_once(server))
    middle = server.child(run_id, "a")
    deepest = server.child(middle, "only")
    server.tell(run_id, PauseRun(reason="lunch"))
    assert [server.run(one).status for one in (run_id, middle, deepest)] == ["paused"] * 3
    agent = server.agent()
    assert agent.ask().claims == []
    server.tell(run_id, ResumeRun())
    agent.work()
    assert [server.run(one).status for one in (run_id, middle, deepest)] == ["completed"] * 3
    server.check()


def test_what_runs_in_the_child_of_a_paused_run_goes_on_and_nothing_after_it(server):
    run_id = nested(server, inner(server))
    agent = server.agent()
    claim = agent.claim()
    server.tell(run_id, PauseRun())
    agent.end(claim)
    assert (server.statuses(run_id), server.run(run_id).status) == ({"a": "completed", "b": "pending"}, "paused")
    server.tell(run_id, ResumeRun())
    agent.work()
    assert server.run(run_id).status == "completed"
    server.check()


def test_what_the_child_was_registered_as_later_does_not_change_the_run(server):
    child = inner(server)
    run_id = server.submit([step("x"), step("a", "x", task=None, pipeline_id=child)])
    registered(server, pipeline({"other": []}, name="inner", defaults={"n": 1}))
    agent = server.agent()
    agent.end(agent.claim())
    assert list(server.statuses(server.child(run_id, "a"))) == ["deep"]
    server.check()


def test_a_run_is_a_template_too(server):
    source = server.submit(pipeline([step("deep")], defaults={"n": 1}), parameters={"n": 8})
    server.agent().work()
    run_id = server.submit([step("a", task=None, base_task_id=source)])
    assert server.run(server.child(run_id, "a")).parameters == {"n": 8}
    server.check()


def test_all_that_a_run_has_pinned_stands_in_its_first_event_also_of_a_child(server):
    """Once the pinned definitions below a child were missing in it."""
    middle = registered(server, pipeline([step("m", task=None, pipeline_id=inner(server))], name="middle"))
    run_id = nested(server, middle)
    rows = {row.run_id: row for row in server.events("RunCreated")}
    child = server.child(run_id, "a")
    assert server.run(server.child(child, "m")).definition in rows[child].data
    assert server.run(child).definition in rows[run_id].data


# What is refused


def test_a_pipeline_cannot_be_a_step_of_itself(server):
    own = pipeline_id("examples", "own")
    registered(server, pipeline({"a": []}, name="own"))
    again = pipeline([step("a", task=None, pipeline_id=own)], name="own")
    for refused in (lambda: server.submit(again), lambda: registered(server, again)):
        with pytest.raises(Invalid, match="pipeline 'own' would be a step of itself"):
            refused()


def test_nor_of_one_of_its_steps(server):
    first = registered(server, pipeline({"a": []}, name="first"))
    second = registered(server, pipeline([step("a", task=None, pipeline_id=first)], name="second"))
    with pytest.raises(Invalid, match="would be a step of itself"):
        registered(server, pipeline([step("a", task=None, pipeline_id=second)], name="first"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pipeline_id": "f" * 32}, "there is no pipeline f"),
        ({"parameter_override": {"Args/unknown": 1}}, "pipeline 'inner' has no parameter 'unknown'; it has: n"),
        ({"parameter_override": {"Args/n": "many"}}, "Step 'a': Parameter 'n' takes int, not 'many'"),
    ],
)
def test_a_child_that_is_not_there_or_is_given_what_it_does_not_know(server, fields, said):
    child = inner(server)
    with pytest.raises(Invalid, match=said):
        server.submit([step("a", task=None, **{"pipeline_id": child, **fields})])


def test_a_child_with_callbacks_needs_a_host_of_its_own(server):
    """Once its run waited for an answer for ever."""
    with pytest.raises(Invalid, match="has callbacks but no host that could answer them"):
        nested(server, inner(server, hooks=["pre"]))
    hosted = pipeline([step("deep", hooks=["pre"])], name="hosted", host=HostDefinition())
    run_id = nested(server, registered(server, hosted))
    services = server.agent("s:0", queues=("services",))
    services.claim()
    services.answer(server.child(run_id, "a"), "pre", verdict=True)
    server.agent().work()
    assert server.run(run_id).status == "completed"
    server.check()


def test_a_child_is_cloned_as_a_run_of_its_own(server):
    run_id = nested(server, inner(server), parameter_override={"Args/n": 5})
    clone = server.controller.clone_run(new_id(), server.child(run_id, "a"), BY, parameters={"n": 6}).id
    made = server.run(clone)
    assert (made.status, made.parent_run, made.parameters) == ("created", None, {"n": 6})
    server.check()
