"""Pausing runs and queues, where claims are made; cloned runs; the steps that a run's code adds."""

import pytest

from domain.content import Content, Parameter
from domain.pipeline import HostDefinition
from domain.refused import Invalid, Refused, Unknown
from domain.run import AddStep, Diverged, PauseRun, ResumeRun, StartRun
from domain.task import EnqueueTask
from tests.controller.server import BY, Agent, By, Server, new_id, pipeline, step

# Runs


def test_nothing_of_a_paused_run_is_handed_out_and_all_of_it_comes_back(server):
    run_id = server.submit({"a": [], "b": [], "c": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    server.tell(run_id, PauseRun(actor="ana", reason="budget"))
    assert server.rows("work") == []
    assert agent.end(claim, free=3).claims == []
    assert server.statuses(run_id) == {"a": "completed", "b": "waiting", "c": "pending"}
    server.check()
    server.tell(run_id, ResumeRun(actor="ana"))
    assert sorted(agent.work()) == ["b", "c"]
    assert server.run(run_id).status == "completed"
    server.check()


def test_other_runs_go_on(server):
    paused, other = server.submit({"a": []}), server.submit({"x": []})
    server.tell(paused, PauseRun())
    assert server.agent().work() == ["x"]
    assert server.run(other).status == "completed"
    server.check()


def test_a_step_that_is_lost_while_its_run_is_paused_waits_for_the_run(server):
    run_id = server.submit({"a": []})
    agent = server.agent()
    agent.claim()
    server.tell(run_id, PauseRun())
    again = agent.started_anew()
    assert again.ask().claims == []
    assert server.statuses(run_id) == {"a": "waiting"}
    server.check()
    server.tell(run_id, ResumeRun())
    assert again.claim().attempt == 2
    server.check()


def test_another_server_knows_that_a_run_was_paused(server):
    run_id = server.submit({"a": []})
    other = server.restarted()
    other.follows(run_id)
    server.tell(run_id, PauseRun())
    assert Agent(other, "h:0").ask().claims == []
    other.tell(run_id, ResumeRun())
    assert server.agent("h:1").work() == ["a"]
    server.check()
    other.check()


def test_the_draft_of_a_paused_run_is_not_enqueued(server):
    run_id = server.submit([step("a", draft=True)])
    task_id = server.of_step(run_id, "a").id
    server.tell(run_id, PauseRun())
    with pytest.raises(Refused, match="Run 'iris #1' is paused: resume it first"):
        server.do(task_id, EnqueueTask(queue="default"))
    server.tell(run_id, ResumeRun())
    server.do(task_id, EnqueueTask(queue="default"))
    assert server.agent().work() == ["a"]
    server.check()


# Queues


def test_nothing_is_handed_out_from_a_paused_queue_until_it_is_resumed(server):
    controller = server.controller
    server.enqueued("first")
    server.enqueued("second", queue="gpu")
    controller.pause_queue("default", "maintenance", BY)
    agent = server.agent(queues=("default", "gpu"))
    assert agent.work() == ["second"]
    controller.resume_queue("default", "", BY)
    assert agent.work() == ["first"]
    server.check()


def test_a_paused_queue_gives_nobody_a_reason_to_ask_again_at_once(server):
    """Once an agent's long poll turned round and round while its queue was paused."""
    server.enqueued("first")
    assert server.exchange.has_work(["default"])
    server.controller.pause_queue("default", "", BY)
    assert not server.exchange.has_work(["default"])
    assert not server.exchange.has_work(["default", "gpu"])
    server.enqueued("second", queue="gpu")
    assert server.exchange.has_work(["default", "gpu"])
    server.controller.resume_queue("default", "", BY)
    assert server.exchange.has_work(["default"])


def test_what_runs_from_a_paused_queue_goes_on(server):
    run_id = server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    server.controller.pause_queue("default", "", BY)
    assert agent.end(claim, free=1).claims == []
    assert server.statuses(run_id) == {"a": "completed", "b": "queued"}
    server.check()


def test_a_claim_on_its_way_is_handed_over_again_though_the_queue_is_paused(server):
    server.enqueued("first")
    agent = server.agent()
    agent.ask_in_vain()
    server.controller.pause_queue("default", "", BY)
    assert agent.claim().attempt == 1
    server.check()


def test_a_pause_is_seen_by_other_servers_and_survives_a_restart(server):
    other = server.restarted()
    other.controller.catch_up()
    server.controller.pause_queue("gpu", "maintenance", By(actor="ben"))
    for one in (other, server.restarted()):
        one.controller.catch_up()
        paused = one.controller.state.queues["gpu"].paused
        assert paused is not None
        assert (paused.actor, paused.reason) == ("ben", "maintenance")
    other.check()


def test_it_is_paused_once_and_only_if_it_is_there(server):
    for _ in range(2):
        server.controller.pause_queue("gpu", "", BY)
    for _ in range(2):
        server.controller.resume_queue("gpu", "", BY)
    assert len(server.events("QueuePaused", "QueueResumed")) == 2
    with pytest.raises(Unknown, match="There is no queue 'nowhere'"):
        server.controller.pause_queue("nowhere", "", BY)


# Clones


def test_a_clone_is_a_draft_of_what_ran_with_its_parameters_and_these(server):
    definition = pipeline([step("a")], defaults={"n": 1, "m": 2}, tags=["nightly"])
    source = server.submit(definition, parameters={"n": 5}, tags=["best"])
    server.submit(pipeline({"other": []}))  # what the pipeline has become since
    clone = server.controller.clone_run(new_id(), source, BY, parameters={"m": 7}, name="again", comment="why not").id
    run = server.run(clone)
    assert (run.status, run.name, run.parameters) == ("created", "again", {"n": 5, "m": 7})
    assert (list(server.statuses(clone)), sorted(run.tags), run.number) == (["a"], ["best", "nightly"], 3)
    server.tell(clone, StartRun())
    server.agent().work()
    assert server.run(clone).status == "completed"
    server.check()


def test_a_clone_takes_only_parameters_that_there_are(server):
    source = server.submit(pipeline([step("a")], defaults={"n": 1}))
    with pytest.raises(Invalid, match="has no parameter 'x'; it has: n"):
        server.controller.clone_run(new_id(), source, BY, parameters={"x": 7})
    with pytest.raises(Unknown, match="There is no run"):
        server.controller.clone_run(new_id(), "f" * 32, BY)
    server.check()


def test_the_same_clone_asked_for_twice_is_one(server):
    source = server.submit({"a": []})
    by = By(actor="ana", key="k1", request="r")
    first, second = (server.controller.clone_run(new_id(), source, by).id for _ in range(2))
    assert first == second
    assert len(server.events("RunCreated")) == 2


# Steps that code adds

LR = Content(hyperparameters={"General": {"lr": Parameter(0.1)}})


def dynamic(server: Server) -> tuple[str, Agent]:
    run_id = server.submit(pipeline([], dynamic=True, host=HostDefinition()))
    services = server.agent("s:0", queues=("services",))
    services.claim()
    return run_id, services


def adds(server: Server, run_id: str, host: Agent, call: int, name: str, *parents: str, **fields: str) -> None:
    added = AddStep(
        session=host.session,
        attempt=host.held[run_id],
        call=call,
        step=step(name, *parents, task=LR),
        content="",
        fingerprint=fields.get("fingerprint", name),
    )
    server.tell(run_id, added)


def test_added_steps_run_and_every_server_knows_them(server):
    run_id, host = dynamic(server)
    other = server.restarted()
    other.follows(run_id)
    adds(server, run_id, host, 0, "a")
    adds(other, run_id, host, 1, "b", "a")
    assert server.agent().work() == ["a", "b"]
    claim = host.ask(free=0)
    assert claim.stop == []
    server.controller.end_host(run_id, "completed", "", BY)
    assert server.run(run_id).status == "completed"
    server.check()
    other.check()


def test_a_call_that_is_made_again_adds_nothing_and_one_that_differs_is_refused(server):
    run_id, host = dynamic(server)
    adds(server, run_id, host, 0, "a")
    before = server.head
    adds(server, run_id, host, 0, "a")
    with pytest.raises(Diverged, match="Call 1 of the pipeline was step 'a' when it was recorded, and is now step 'x'"):
        adds(server, run_id, host, 0, "x")
    assert server.head == before
    server.check()


def test_a_host_that_was_replaced_adds_nothing_any_more(server):
    run_id, host = dynamic(server)
    second = host.started_anew()
    second.claim()
    with pytest.raises(Refused, match="is not the host"):
        adds(server, run_id, host, 0, "a")
    adds(server, run_id, second, 0, "a")
    assert list(server.statuses(run_id)) == ["a"]
    server.check()


def test_the_content_of_an_added_step_is_kept_once(server):
    run_id, host = dynamic(server)
    before = len(server.rows("content"))
    for call in range(3):
        adds(server, run_id, host, call, f"s{call}")
    assert len(server.rows("content")) - before == 1
    server.check()
