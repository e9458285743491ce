"""The host of a run: claimed through the exchange like any attempt, leased, replaced, and asked."""

import pytest

from controller.exchange import Held, Report, Superseded
from controller.handle import HeldHost
from controller.loop import Loop
from domain.content import Content, Script
from domain.pipeline import HostDefinition
from domain.refused import Refused
from domain.run import AnswerHook, StopRun
from tests.controller.server import BY, Agent, Clock, Server, ended, new_id, pipeline, step

HOST = HostDefinition(task=Content(script=Script(entry_point="pipe.py")))


def hooked(server: Server, *hooks: str) -> str:
    return server.submit(pipeline([step("a", hooks=hooks), step("b", "a")], host=HOST))


@pytest.fixture
def loop(server: Server, clock: Clock) -> Loop:
    found = Loop(server.controller, monotonic=clock.monotonic)
    passes(found, clock, 20)
    return found


@pytest.fixture
def services(server: Server, loop: Loop) -> Agent:
    """Registered with a server that has been up for a while."""
    assert loop
    return server.agent("s:0", queues=("services",))


def passes(loop: Loop, clock: Clock, seconds: int, *alive: Agent) -> None:
    for _ in range(seconds):
        clock.passes(1)
        for agent in alive:
            agent.beat()
        loop.once()


def test_a_host_is_claimed_with_what_it_runs_and_answers(server, services):
    run_id = hooked(server, "pre")
    claim = services.claim()
    assert (claim.task, claim.attempt, claim.content.script.entry_point) == (None, 1, "pipe.py")
    assert claim.run is not None
    assert claim.run.id == run_id
    services.answer(run_id, "pre", verdict=True)
    server.agent().work()
    assert server.run(run_id).status == "completed"
    services.end(claim)
    assert server.run(run_id).host.status == "ended"
    server.check()


def test_a_claim_that_was_lost_on_the_way_is_handed_over_again(server, services):
    run_id = hooked(server, "pre")
    services.ask_in_vain()
    claim = services.claim()
    assert (claim.attempt, len(server.events("HostStarted"))) == (1, 1)
    services.answer(run_id, "pre")
    server.check()


def test_a_host_of_an_agent_that_is_lost_is_replaced_and_asked_again(server, services, clock, loop):
    run_id = hooked(server, "pre")
    services.claim()
    passes(loop, clock, 12)
    assert server.run(run_id).host.status == "queued"
    second = server.agent("s:1", queues=("services",))
    assert second.claim().attempt == 2
    second.answer(run_id, "pre", verdict=True)
    assert server.statuses(run_id)["a"] == "queued"
    server.check()


def test_a_host_that_a_signal_killed_is_replaced_and_asked_again(server, services):
    run_id = hooked(server, "pre")
    killed = services.claim()
    report = Report(task_id=run_id, attempt=1, status="failed", reason="killed by SIGKILL", began_at=1)
    [receipt] = services.ask(report, free=0).receipts
    assert receipt.accepted
    assert server.run(run_id).status == "running"
    again = services.claim()
    assert (killed.attempt, again.attempt) == (1, 2)
    services.answer(run_id, "pre", verdict=True)
    server.agent().work()
    assert server.run(run_id).status == "completed"
    server.check()


@pytest.mark.parametrize("said", [{"exit_code": 1, "began_at": 1}, {"exit_code": None, "began_at": None}])
def test_a_host_whose_code_failed_or_could_not_begin_is_not(server, services, said):
    run_id = hooked(server, "pre")
    services.claim()
    services.ask(Report(task_id=run_id, attempt=1, status="failed", reason="no such file", **said), free=0)
    assert server.run(run_id).status == "failed"


def test_a_new_session_of_the_same_agent_loses_the_host_at_once(server, services):
    run_id = hooked(server, "pre")
    services.claim()
    again = services.started_anew()
    assert again.claim().attempt == 2
    with pytest.raises(Superseded):
        services.ask()
    hook = server.asked(run_id, "pre")[0].asked.id
    with pytest.raises(Refused, match="is not the host"):
        server.tell(run_id, AnswerHook(hook_id=hook, session=services.session, attempt=1, verdict=False))
    again.answer(run_id, "pre", verdict=True)
    server.check()


def test_a_report_of_a_host_said_twice_is_accepted_twice_and_taken_once(server, services):
    """Once the repeat was told that there is no such task."""
    hooked(server, "post")
    claim = services.claim()
    server.agent().work()
    for _ in range(2):
        [receipt] = services.ask_in_vain(ended(claim), free=0).receipts
        assert receipt.accepted
    assert len(server.events("HostEnded")) == 1
    server.check()


def test_a_report_of_another_attempt_is_not_taken(server, services):
    run_id = hooked(server, "post")
    services.claim()
    services.started_anew().claim()
    other = server.agent("s:9", queues=("services",))
    [receipt] = other.ask(Report(task_id=run_id, attempt=1, status="completed"), free=0).receipts
    assert (receipt.accepted, "is not the host" in receipt.reason) == (False, True)
    server.check()


def test_an_agent_is_told_that_a_host_is_not_its_own_any_more(server, services):
    run_id = hooked(server, "pre")
    services.claim()
    server.controller.end_host(run_id, "failed", "by hand", BY)
    [stop] = services.ask(free=0).stop
    assert (stop.task_id, stop.lost) == (run_id, True)
    assert "not the host of the run any more" in stop.reason
    server.check()


def test_the_code_of_a_dynamic_run_is_told_to_stop_and_the_run_ends_with_it(server, services):
    run_id = server.submit(pipeline([], dynamic=True, host=HOST))
    claim = services.claim()
    server.tell(run_id, StopRun(reason="enough"))
    assert server.run(run_id).status == "running"
    [stop] = services.beat()
    assert (stop.task_id, stop.reason, stop.lost) == (run_id, "enough", False)
    services.end(claim, "stopped")
    assert server.run(run_id).status == "stopped"
    server.check()


def test_a_run_that_ends_takes_its_host_out_of_the_queue(server, services):
    run_id = server.submit(pipeline({"a": []}, host=HOST))
    server.agent().work()
    assert server.run(run_id).status == "completed"
    assert services.ask().claims == []
    server.check()


# The caller's own process


def held(server: Server, session: str) -> str:
    host = HeldHost(session=session, host="laptop", lease=10.0)
    return server.submit(pipeline([step("a", hooks=["pre"])]), host=host)


def test_the_callers_process_answers_and_beats(server, clock, loop):
    session = new_id()
    run_id = held(server, session)
    for _ in range(5):
        passes(loop, clock, 5)
        assert server.exchange.heartbeat_task(run_id, session, 1, 10.0) is None
    hook = server.asked(run_id, "pre")[0].asked.id
    server.tell(run_id, AnswerHook(hook_id=hook, session=session, attempt=1, verdict=True))
    server.agent().work()
    assert server.run(run_id).status == "completed"
    server.check()


def test_when_it_is_gone_the_run_fails_and_it_is_told_so_when_it_comes_back(server, clock, loop):
    session = new_id()
    run_id = held(server, session)
    passes(loop, clock, 12)
    assert server.run(run_id).status == "failed"
    assert "the process that ran the pipeline is gone" in server.run(run_id).reason
    with pytest.raises(Refused, match="is not the host of run 'iris #1' any more: end this process"):
        server.exchange.heartbeat_task(run_id, session, 1, 10.0)
    server.check()


def test_two_controllers_replace_a_lost_host_once(server, services, clock, loop):
    run_id = hooked(server, "pre")
    services.claim()
    other = server.restarted()
    second = Loop(other.controller, monotonic=clock.monotonic)
    for _ in range(25):
        clock.passes(1)
        loop.once()
        second.once()
    assert (len(server.events("HostLost")), len(server.events("HostEnqueued"))) == (1, 2)
    claim = Agent(other, "s:1", queues=("services",)).claim()
    assert claim.attempt == 2
    assert server.run(run_id).host.attempt == 2
    server.check()
    other.check()


def test_a_heartbeat_keeps_a_host(server, services, clock, loop):
    run_id = hooked(server, "pre")
    claim = services.claim()
    passes(loop, clock, 60, services)
    assert server.run(run_id).host.held_by(services.session, claim.attempt)
    assert server.exchange.heartbeat(services.id, services.session, [Held(run_id, 1)]) == []
    server.check()
