"""Deadlines: fired by the loop when they are due, once, whichever server does it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from controller.loop import Loop
from controller.verify import verify_run
from domain.pipeline import Approval, Retry
from domain.run import ApproveStep
from eventstore.sql import open_store
from tests.controller.server import Clock, Server, pipeline, step
from tests.controller.test_verify import named, tampered


def waits(server: Server, deadline: float = 60.0) -> str:
    return server.submit([step("a", approval=Approval(deadline=deadline)), step("b", "a")])


def loop_of(server: Server, clock: Clock) -> Loop:
    return Loop(server.controller, monotonic=clock.monotonic)


def test_a_deadline_is_fired_when_it_is_due_and_not_before(server, clock):
    run_id = waits(server)
    loop = loop_of(server, clock)
    clock.passes(59)
    loop.once()
    assert server.statuses(run_id)["a"] == "waiting"
    clock.passes(1)
    loop.once()
    assert server.statuses(run_id) == {"a": "failed", "b": "skipped"}
    server.check()


def test_two_servers_fire_it_once(server, clock):
    waits(server)
    other = server.restarted()
    loops = [loop_of(server, clock), loop_of(other, clock)]
    clock.passes(61)
    for loop in [*loops, *loops]:
        loop.once()
    assert len(server.events("DeadlinePassed")) == 1
    server.check()
    other.check()


def test_a_server_learns_of_deadlines_that_another_one_set_and_took_away(server, clock):
    other = server.restarted()
    other.controller.catch_up()
    run_id, second = waits(server), waits(server, 30.0)
    other.controller.catch_up()
    assert sorted(other.controller.state.timers) == sorted([run_id, second])
    server.tell(run_id, ApproveStep(step="a"))
    other.controller.catch_up()
    assert list(other.controller.state.timers) == [second]
    clock.passes(31)
    loop_of(other, clock).once()
    assert (server.statuses(second)["a"], server.statuses(run_id)["a"]) == ("failed", "queued")
    server.check()
    other.check()


def test_a_deadline_that_passed_while_no_server_was_up_is_fired_by_the_next_one(server, clock):
    run_id = waits(server)
    clock.passes(5000)
    again = server.restarted()
    loop_of(again, clock).once()
    assert again.statuses(run_id)["a"] == "failed"
    again.check()


def test_one_round_fires_all_that_is_due_in_one_append(server, clock, commits):
    runs = [waits(server) for _ in range(5)]
    clock.passes(61)
    before = len(commits)
    loop_of(server, clock).once()
    assert {server.run(run_id).status for run_id in runs} == {"failed"}
    assert len(commits) - before == 1
    server.check()


def test_a_chain_of_deadlines_fires_one_after_the_other(server, clock):
    """A retry's delay, then the run's own limit."""
    definition = pipeline([step("a", retry=Retry(times=9, delay=10))], time_limit=35)
    run_id = server.submit(definition)
    loop, agent = loop_of(server, clock), server.agent()
    for _ in range(40):
        clock.passes(1)
        agent.beat()
        loop.once()
        agent.work(lambda _: "failed")
    assert (server.run(run_id).status, server.run(run_id).reason) == (
        "failed",
        "it ran longer than its time limit of 35 s",
    )
    assert len(server.events("StepRetryScheduled")) == 4
    assert server.rows("timer") == []
    server.check()


def test_a_time_limit_asks_the_agent_to_stop(server, clock):
    run_id = server.submit([step("a", time_limit=20)])
    agent, loop = server.agent(), loop_of(server, clock)
    claim = agent.claim()
    clock.passes(21)
    loop.once()
    [stop] = agent.beat()
    assert stop.reason == "it ran longer than its time limit of 20 s"
    agent.end(claim, "stopped")
    assert server.statuses(run_id) == {"a": "failed"}
    server.check()


def test_every_look_at_a_run_that_has_no_deadline_writes_nothing(server, clock, commits):
    server.submit({"a": []})
    before = len(commits)
    loop = loop_of(server, clock)
    for _ in range(10):
        clock.passes(1)
        loop.once()
    assert len(commits) == before


# Whether the record is true


@pytest.fixture
def on_file(sqlite_url: str, clock: Clock) -> Iterator[Server]:
    with closing(open_store(sqlite_url)) as store:
        yield Server(store)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE timer SET due_at = due_at + 1 WHERE run_id = ?",
        "DELETE FROM timer WHERE run_id = ?",
    ],
    ids=["another time", "gone"],
)
def test_a_changed_deadline_is_named(on_file, sql):
    run_id = waits(on_file)
    assert verify_run(on_file.store, run_id).ok
    tampered(on_file, sql, run_id)
    found = verify_run(on_file.store, run_id)
    assert named(found) == [("work", "timer of the run")]


def test_a_deadline_too_many_is_named(on_file):
    run_id = on_file.submit({"a": []})
    tampered(on_file, "INSERT INTO timer (run_id, shard, due_at) VALUES (?, 0, 1)", run_id)
    assert named(verify_run(on_file.store, run_id)) == [("work", "timer of the run")]


def test_a_server_that_is_started_again_loads_the_deadlines(on_file):
    run_id = waits(on_file)
    again = on_file.restarted()
    again.controller.catch_up()
    assert again.controller.state.timers == on_file.controller.state.timers
    assert list(again.controller.state.timers) == [run_id]
