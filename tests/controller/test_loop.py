"""Leases: judged only by a server that could have been reached for a whole one, and then at once."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

import controller.loop as loops
from controller.exchange import Superseded
from controller.loop import Loop
from domain import deadlines
from domain.task import EndTask
from eventstore.store import StoreBroken, StoreUnavailable
from tests.controller.server import BY, Clock, Server, ended, new_id, pipeline, step, together
from tests.support.waiting import wait_until


class Round:
    """A loop that makes its rounds when time passes."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self.clock = clock
        self.loop = Loop(server.controller, monotonic=clock.monotonic)

    def for_seconds(self, seconds: float) -> int:
        """Rounds once a second; how many leases were found to have run out."""
        found = 0
        for _ in range(round(seconds)):
            self.clock.passes(1)
            found += self.loop.once()
        return found


@pytest.fixture
def rounds(server: Server, clock: Clock) -> Round:
    """Of a server that has been up for longer than any lease here."""
    found = Round(server, clock)
    found.for_seconds(100)
    return found


def status_of(server: Server, agent: Any) -> str:
    server.controller.catch_up()
    return server.controller.state.agents[agent.id].status


# Who is lost


def test_a_silent_agent_is_lost_with_all_it_held_in_one_round(server, rounds, commits):
    run_id = server.submit([step("a"), step("b", on_lost="fail"), step("c", "a")])
    agent = server.agent()
    agent.ask(free=2)
    assert rounds.for_seconds(10) == 0
    before = len(commits)
    assert rounds.for_seconds(1) == 3
    assert len(commits) - before == 1
    assert server.statuses(run_id) == {"a": "queued", "b": "failed", "c": "pending"}
    said = "agent h:0 was not heard of for 10 s"
    assert (server.run(run_id).step("a").reason, server.run(run_id).step("b").reason) == (said, said)
    assert status_of(server, agent) == "lost"
    assert server.rows("lease") == []
    assert rounds.for_seconds(20) == 0
    server.check()


def test_a_lost_agent_that_comes_back_is_told_so_and_registers_anew(server, rounds):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    rounds.for_seconds(11)
    with pytest.raises(Superseded, match=r"over \(lost\)"):
        agent.ask(ended(claim))
    again = agent.started_anew()
    assert (again.claim().attempt, status_of(server, again)) == (2, "online")


@pytest.mark.parametrize("sign", ["heartbeat", "exchange"])
def test_who_gives_a_sign_in_time_is_never_lost(server, rounds, sign):
    run_id = server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    for _ in range(10):
        assert rounds.for_seconds(9) == 0
        agent.beat() if sign == "heartbeat" else agent.ask()
    agent.end(claim)
    assert (server.run(run_id).status, server.run(run_id).step("a").attempts) == ("completed", 1)


def test_an_attempt_that_its_agent_does_not_name_is_lost_and_the_agent_is_not(server, rounds):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    for _ in range(4):
        rounds.for_seconds(3)
        agent.beat(everything=False)
    assert (server.task(claim.task.id).status, status_of(server, agent)) == ("queued", "online")
    [stop] = agent.beat()
    assert stop.lost
    server.check()


def test_what_a_lost_agent_held_is_lost_with_it_whatever_its_own_lease(server, rounds):
    """A process under an agent may have renewed its attempt for longer, but nobody could report it any more."""
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    server.exchange.heartbeat_task(claim.task.id, agent.session, 1, 60)
    rounds.for_seconds(11)
    assert server.task(claim.task.id).status == "queued"
    server.check()


def test_a_process_that_holds_its_own_task_is_judged_by_its_own_lease(server, rounds):
    task_id = server.create()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    assert rounds.for_seconds(50) == 0
    server.exchange.heartbeat_task(task_id, "s9", 1, 60)
    assert rounds.for_seconds(60) == 0
    assert rounds.for_seconds(1) == 1
    task = server.task(task_id)
    # Nobody had put it into a queue, so nobody else can take it over.
    assert (task.status, task.reason) == ("failed", "the process that ran it was not heard of for 60 s")
    server.check()


def test_a_process_that_ended_its_task_is_not_missed(server, rounds):
    task_id = server.create()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    server.do(task_id, EndTask(status="completed"))
    assert rounds.for_seconds(100) == 0


# Who may judge


def test_a_server_that_has_just_started_waits_for_a_whole_lease(server, clock):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    clock.passes(3600)
    rounds = Round(server.restarted(), clock)
    assert rounds.for_seconds(10) == 0
    assert server.task(claim.task.id).status == "in_progress"
    assert rounds.for_seconds(1) == 2
    assert server.task(claim.task.id).status == "queued"


def test_a_longer_lease_needs_a_server_that_has_been_up_for_longer(server, clock):
    task_id = server.create()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    clock.passes(3600)
    rounds = Round(server, clock)
    assert rounds.for_seconds(60) == 0
    assert rounds.for_seconds(1) == 1


def test_an_agent_that_finds_the_new_server_in_time_keeps_its_work(server, clock):
    server.submit({"a": []})
    agent = server.agent()
    agent.claim()
    clock.passes(3600)
    rounds = Round(server, clock)
    rounds.for_seconds(8)
    agent.beat()
    assert rounds.for_seconds(9) == 0
    assert agent.ask().stop == []


def pause(clock: Clock) -> None:
    """The process is stopped for a while: nobody could reach it."""
    clock.passes(30)


def step_forward(clock: Clock) -> None:
    clock.is_set_by(3600)


def step_back(clock: Clock) -> None:
    clock.is_set_by(-20)


def unavailable(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("the database is away")


@pytest.mark.parametrize("what", [pause, step_forward, step_back], ids=["pause", "step forward", "step back"])
def test_after_a_pause_or_a_step_of_the_clock_the_wait_begins_anew(server, clock, rounds, what):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    rounds.for_seconds(5)
    what(clock)
    assert rounds.for_seconds(9) == 0
    assert (server.task(claim.task.id).status, agent.beat()) == ("in_progress", [])
    rounds.for_seconds(60)
    assert server.task(claim.task.id).status == "queued"


def test_after_an_outage_the_wait_begins_anew(server, clock, rounds, monkeypatch):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    rounds.for_seconds(5)
    with monkeypatch.context() as patch:
        patch.setattr(server.store, "append", unavailable)
        for _ in range(30):
            with pytest.raises(StoreUnavailable):
                rounds.for_seconds(1)
    assert rounds.for_seconds(9) == 0
    assert server.task(claim.task.id).status == "in_progress"
    assert rounds.for_seconds(2) == 2


def test_a_round_that_had_to_wait_for_the_database_judges_nobody(server, clock, rounds, monkeypatch):
    """While it waited, the heartbeats waited as well: behind it."""
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    append = server.store.append

    def slow(job: Any) -> Any:
        clock.passes(30)
        return append(job)

    with monkeypatch.context() as patch:
        patch.setattr(server.store, "append", slow)
        assert rounds.for_seconds(1) == 0
    assert rounds.for_seconds(9) == 0
    assert server.task(claim.task.id).status == "in_progress"
    assert rounds.for_seconds(2) == 2


def test_a_short_hiccup_is_no_pause(server, clock, rounds):
    agent = server.agent()
    rounds.for_seconds(1)
    for _ in range(3):
        clock.passes(3)
        rounds.for_seconds(1)
    assert status_of(server, agent) == "lost"


# What cannot be read


def broken(*_: Any) -> Any:
    raise StoreBroken("it cannot be read")


def test_one_lease_that_cannot_be_judged_keeps_nobody_else_from_being_found(server, rounds, monkeypatch):
    server.submit({"a": [], "b": []})
    bad, other = server.agent("h:0"), server.agent("h:1")
    bad.claim()
    other.claim()
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(loops, "lose_session", lambda unit, session, why: session == bad.session and broken())
        rounds.for_seconds(11)
    assert (status_of(server, bad), status_of(server, other)) == ("online", "lost")
    assert [entry["of"] for entry in logs] == [f"agent-{bad.id}"]
    rounds.for_seconds(1)
    assert status_of(server, bad) == "lost"
    server.check()


def test_a_run_that_cannot_be_read_keeps_nothing_else_from_happening(server, rounds, monkeypatch):
    bad, other = (server.submit(pipeline([step("a", queue="gpu")], time_limit=5)) for _ in range(2))
    agent = server.agent()
    passed = deadlines.passed
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(deadlines, "passed", lambda run, now: broken() if run.id == bad else passed(run, now))
        rounds.for_seconds(11)
    assert {entry["of"] for entry in logs} == {bad}
    assert [server.run(run_id).status for run_id in (bad, other)] == ["running", "failed"]
    assert status_of(server, agent) == "lost"
    rounds.for_seconds(1)
    assert server.run(bad).status == "failed"
    server.check()


# In one batch with those it judges


def test_who_gives_a_sign_in_the_batch_of_the_round_is_not_lost(server, clock, rounds):
    server.submit({"a": []})
    agent = server.agent()
    agent.claim()
    rounds.for_seconds(10)
    clock.passes(1)
    stops, found = together(server.store, agent.beat, rounds.loop.once)
    assert (stops, found) == ([], 0)
    assert agent.beat() == []
    assert rounds.for_seconds(9) == 0
    server.check()


def test_a_new_session_in_the_batch_of_the_round_keeps_its_lease(server, clock, rounds):
    server.submit({"a": []})
    old = server.agent()
    old.claim()
    rounds.for_seconds(10)
    other = server.agent("h:1")
    clock.passes(1)
    new, claim, found = together(server.store, old.started_anew, other.claim, rounds.loop.once)
    assert (claim.attempt, found, server.task(claim.task.id).status) == (2, 0, "in_progress")
    assert {row["session"] for row in server.rows("lease")} == {new.session, other.session}
    rounds.for_seconds(12)
    assert status_of(server, new) == "lost"
    server.check()


# In its thread


@pytest.fixture
def running(server: Server) -> Iterator[Loop]:
    """A loop whose rounds follow each other quickly; the clock is the test's."""
    loop = Loop(server.controller, tick=0.001)
    yield loop
    loop.stop()


def test_the_loop_finds_whom_it_must_by_itself(server, clock, running):
    server.controller.lease = 0.6
    agent = server.agent()
    running.start()
    clock.passes(60)
    wait_until(lambda: status_of(server, agent) == "lost", "the agent is lost")


def test_the_loop_lives_through_an_outage_and_says_so(server, clock, running, monkeypatch):
    server.controller.lease = 0.6
    agent = server.agent()
    append, tries = server.store.append, []

    def away(job: Any) -> Any:
        tries.append(job)
        if len(tries) < 3:
            raise StoreUnavailable("the database is away")
        return append(job)

    monkeypatch.setattr(server.store, "append", away)
    with capture_logs() as logs:
        running.start()
        wait_until(lambda: len(tries) > 3, "the loop goes on")
        clock.passes(60)
        wait_until(lambda: status_of(server, agent) == "lost", "the agent is lost")
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]


def test_a_loop_that_never_started_can_be_stopped(server):
    Loop(server.controller).stop()


def test_an_agent_id_is_a_name_and_not_a_session(server, rounds):
    """Two agents, one of them silent: the other one keeps what it holds."""
    server.submit({"a": [], "b": []})
    silent, other = server.agent("h:0"), server.agent("h:1", session=new_id())
    lost, kept = silent.claim(), other.claim()
    for _ in range(4):
        rounds.for_seconds(3)
        other.beat()
    assert (server.task(lost.task.id).status, server.task(kept.task.id).status) == ("queued", "in_progress")
    assert (status_of(server, silent), status_of(server, other)) == ("lost", "online")
