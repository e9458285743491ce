"""Who is an agent, for how long, and what it must end: sessions, heartbeats, stops, processes on their own."""

import pytest

from controller.exchange import Held, Superseded
from domain.refused import Invalid, Refused, Unknown
from domain.task import EndTask, StopTask
from tests.controller.server import BY, Server, claimed, ended, step

# Sessions


def test_an_agent_registers_for_queues_that_exist(server):
    with pytest.raises(Invalid, match="no queue 'gpus' to listen to; there are: default, gpu, services") as refused:
        server.agent(queues=("default", "gpus"))
    assert refused.value.where == "queues"
    with pytest.raises(Invalid, match="at least one queue"):
        server.agent(queues=())
    assert not server.events("AgentRegistered")


def test_a_session_registers_once(server):
    agent = server.agent()
    head = server.head
    assert server.agent(session=agent.session).registered == agent.registered
    assert server.head == head


def test_a_new_session_loses_what_the_old_one_held_at_once(store):
    server = Server(store)
    run_id = server.submit({"a": []})
    old = server.agent()
    claim = old.claim()
    new = old.started_anew()
    task = server.task(claimed(claim))
    assert (task.status, task.attempts[-1].status, task.reason) == ("queued", "lost", "agent h:0 started anew")
    again = new.claim()
    assert (claimed(again), again.attempt) == (claimed(claim), 2)
    for ask in (old.ask, old.beat, lambda: server.exchange.leave(old.id, old.session, [ended(claim)])):
        with pytest.raises(Superseded, match="register with a new session"):
            ask()
    new.end(again)
    assert (server.run(run_id).status, server.run(run_id).step("a").attempts) == ("completed", 2)
    server.check()


def test_a_step_that_must_not_overlap_fails_when_its_agent_is_gone(server):
    run_id = server.submit([step("a", on_lost="fail"), step("b", "a")])
    agent = server.agent()
    agent.claim()
    assert agent.started_anew().ask().claims == []
    assert server.statuses(run_id) == {"a": "failed", "b": "skipped"}
    assert (server.run(run_id).status, server.run(run_id).reason) == (
        "failed",
        "step 'a' failed: agent h:0 started anew",
    )
    server.check()


def test_an_attempt_is_lost_as_often_as_allowed(server):
    run_id = server.submit([step("a", max_attempts=2)])
    agent = server.agent()
    assert agent.claim().attempt == 1
    agent = agent.started_anew()
    assert agent.claim().attempt == 2
    assert agent.started_anew().ask().claims == []
    assert "on attempt 2 of 2" in server.run(run_id).reason


def test_an_agent_of_another_name_leaves_others_alone(server):
    server.enqueued()
    claim = server.agent("h:0").claim()
    server.agent("h:1")
    assert server.task(claim.task.id).status == "in_progress"


def test_who_leaves_hands_in_the_last_reports_and_gives_back_the_rest(server):
    server.submit({"a": [], "b": []})
    agent = server.agent()
    first, second = agent.ask(free=2).claims
    [receipt] = server.exchange.leave(agent.id, agent.session, [ended(first)])
    assert receipt.accepted
    assert (server.task(first.task.id).status, server.task(second.task.id).status) == ("completed", "queued")
    assert server.task(second.task.id).reason == "agent h:0 left"
    assert server.rows("lease") == []
    with pytest.raises(Superseded, match=r"over \(left\)"):
        agent.ask()
    server.check()


def test_who_never_registered_is_unknown(server):
    with pytest.raises(Unknown, match="register first"):
        server.exchange.exchange("f" * 32, "s", held=[], reports=[], free=1)
    with pytest.raises(Unknown, match="register first"):
        server.exchange.heartbeat("f" * 32, "s", [])


def test_who_comes_back_with_a_new_session_goes_on(server):
    server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    server.exchange.leave(agent.id, agent.session, [])
    assert agent.started_anew().work() == ["a", "b"]


# Stopping


def test_a_task_asked_to_stop_is_named_by_exchange_and_heartbeat_until_it_is_reported(server):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    assert (agent.beat(), agent.ask().stop) == ([], [])
    server.do(claim.task.id, StopTask(reason="ana said so"))
    for stops in (agent.beat(), agent.beat(), agent.ask().stop, agent.ask().stop):
        assert [(one.task_id, one.attempt, one.reason, one.lost) for one in stops] == [
            (claim.task.id, 1, "ana said so", False)
        ]
    answer = agent.end(claim, "stopped")
    assert (answer.stop, agent.beat()) == ([], [])
    assert (server.task(claim.task.id).status, server.task(claim.task.id).reason) == ("stopped", "ana said so")
    server.check()


def test_a_task_stopped_now_is_lost_to_its_agent(server):
    server.enqueued()
    agent = server.agent()
    claim = agent.claim()
    server.do(claim.task.id, StopTask(now=True))
    [stop] = agent.beat()
    assert (stop.lost, stop.reason) == (True, "attempt 1 is over: the task is stopped")


@pytest.mark.parametrize(
    ("task_id", "attempt", "reason"),
    [
        ("f" * 32, 1, "there is no such task"),
        (None, 2, "attempt 2 is over: the task is in progress"),
        (None, 0, "attempt 0 is over: the task is in progress"),
    ],
    ids=["no task", "another attempt", "no attempt"],
)
def test_what_an_agent_does_not_hold_it_is_told_to_end(server, task_id, attempt, reason):
    server.enqueued()
    agent = server.agent()
    claim = agent.claim()
    agent.held = {task_id or claim.task.id: attempt}
    [stop] = agent.beat()
    assert (stop.attempt, stop.lost, stop.reason) == (attempt, True, reason)
    assert [one for one in agent.ask().stop if one.lost]


def test_a_heartbeat_renews_what_it_names_and_the_agent_itself(server, clock):
    server.enqueued("a")
    server.enqueued("b")
    agent = server.agent()
    first, second = agent.ask(free=2).claims
    since = clock.database()
    clock.passes(4)
    server.exchange.heartbeat(agent.id, agent.session, [Held(first.task.id, 1)])
    expires = {row["stream"]: (row["expires_at"] - since) / 1_000_000 for row in server.rows("lease")}
    assert expires == {f"agent-{agent.id}": 14.0, f"task-{first.task.id}": 14.0, f"task-{second.task.id}": 10.0}


def test_a_heartbeat_is_no_event(server):
    agent = server.agent()
    head = server.head
    agent.beat()
    agent.ask()
    assert server.head == head


# The caller's own process


def test_a_process_holds_its_task_and_renews_its_lease_by_itself(server, clock):
    task_id = server.create()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    clock.passes(20)
    assert server.exchange.heartbeat_task(task_id, "s9", 1, 60) is None
    [lease] = server.rows("lease")
    assert (lease["expires_at"], lease["seconds"]) == (clock.database() + 60_000_000, 60)
    server.do(task_id, StopTask(reason="enough"))
    stop = server.exchange.heartbeat_task(task_id, "s9", 1, 60)
    assert stop is not None
    assert (stop.task_id, stop.reason, stop.lost) == (task_id, "enough", False)
    server.do(task_id, EndTask(status="stopped"))
    assert server.rows("lease") == []
    with pytest.raises(Refused, match="This process should end"):
        server.exchange.heartbeat_task(task_id, "s9", 1, 60)
    assert server.rows("lease") == []


@pytest.mark.parametrize(("session", "attempt"), [("s8", 1), ("s9", 2)])
def test_another_process_renews_nothing(server, session, attempt):
    task_id = server.create()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    with pytest.raises(Refused, match=r"the task is in progress, attempt 1"):
        server.exchange.heartbeat_task(task_id, session, attempt, 60)


def test_a_process_that_an_agent_runs_may_renew_its_attempt_which_stays_the_agents(server):
    server.enqueued()
    agent = server.agent()
    claim = agent.claim()
    server.exchange.heartbeat_task(claim.task.id, agent.session, 1, 60)
    [lease] = [row for row in server.rows("lease") if row["stream"].startswith("task-")]
    assert lease["agent_id"] == agent.id
