"""Nobody is lost by the server's own fault, who is gone is found soon, and what comes too late leaves no trace."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.exchange import Held, Superseded
from controller.loop import Loop
from domain.content import Content, Script
from domain.pipeline import HostDefinition
from domain.refused import Refused
from domain.task import ArtifactAdded, EndTask
from eventstore.memory import MemoryAppend
from eventstore.store import StoreUnavailable
from tests.controller.server import BY, Agent, Clock, Server, claimed, ended, pipeline, step

HOST = HostDefinition(task=Content(script=Script(entry_point="pipe.py")))
LEASE = 10
FOUND_IN = LEASE + 3  # what is promised: the lease and a few seconds


class World:
    """Agents that beat every three seconds, and servers whose loops make a round each second: all by one clock."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self.server, self.clock, self.seconds = server, clock, 0
        self.alive: list[Agent] = []
        self.loops = [self.loop_of(server)]
        self.away = False
        self.passes(100)

    def loop_of(self, server: Server) -> Loop:
        return Loop(server.controller, monotonic=self.clock.monotonic)

    def passes(self, seconds: int, *, paused: bool = False) -> None:
        """`paused`: neither loops nor agents do anything."""
        for _ in range(seconds):
            self.clock.passes(1)
            self.seconds += 1
            if not paused:
                self.happens()

    def happens(self) -> None:
        for agent in self.alive if self.seconds % 3 == 0 else []:
            self.tries(agent.beat)
        for loop in self.loops:
            self.tries(loop.once)

    def tries(self, what: Callable[[], Any]) -> None:
        if not self.away:
            what()
            return
        with pytest.raises(StoreUnavailable):
            what()

    def lost(self) -> list[str]:
        """The names of the agents that were found to be gone."""
        rows = self.server.events("AgentLost")
        self.server.controller.catch_up()
        return [self.server.controller.state.agents[row.stream.removeprefix("agent-")].name for row in rows]


@pytest.fixture
def world(server: Server, clock: Clock) -> World:
    return World(server, clock)


@pytest.fixture
def alive(world: World) -> Agent:
    """An agent at work, which gives its signs of life."""
    world.server.submit({"kept": []})
    agent = world.server.agent("h:alive")
    agent.claim()
    world.alive.append(agent)
    return agent


@pytest.fixture
def gone(world: World, alive: Agent) -> Agent:
    """An agent with a step that has given its last sign of life."""
    world.server.submit({"left": []})
    agent = world.server.agent("h:gone")
    agent.claim()
    return agent


def nothing(_: World, __: pytest.MonkeyPatch) -> None:
    """All is well."""


def server_away(world: World, _: pytest.MonkeyPatch) -> None:
    world.passes(60, paused=True)
    world.loops = [world.loop_of(world.server.restarted())]


def server_paused(world: World, _: pytest.MonkeyPatch) -> None:
    world.passes(60, paused=True)


def paused_again_and_again(world: World, _: pytest.MonkeyPatch) -> None:
    for _again in range(10):
        world.passes(6, paused=True)
        world.passes(1)


def clock_forward(world: World, _: pytest.MonkeyPatch) -> None:
    world.clock.is_set_by(3600)


def clock_back(world: World, _: pytest.MonkeyPatch) -> None:
    world.clock.is_set_by(-3600)


def clock_back_a_little(world: World, _: pytest.MonkeyPatch) -> None:
    world.clock.is_set_by(-LEASE / 2)


def unavailable(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("the database is away")


def database_away(world: World, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as away:
        away.setattr(world.server.store, "append", unavailable)
        world.away = True
        world.passes(60)
        world.away = False


def disk_full(world: World, patch: pytest.MonkeyPatch) -> None:
    """Who only reads notices nothing; it ends before anybody's lease does."""
    commit = MemoryAppend.commit

    def full(batch: MemoryAppend) -> None:
        if batch.added:
            raise StoreUnavailable("the disk is full")
        commit(batch)

    with patch.context() as away:
        away.setattr(MemoryAppend, "commit", full)
        for _ in range(LEASE - 1):
            world.passes(1, paused=True)
            for loop in world.loops:
                loop.once()
            for agent in world.alive:
                with pytest.raises(StoreUnavailable):
                    agent.beat()
    for _ in range(3):  # the agents wait for their next heartbeat
        world.passes(1, paused=True)
        for loop in world.loops:
            loop.once()


TROUBLES = [
    nothing, server_away, server_paused, paused_again_and_again, clock_forward, clock_back, clock_back_a_little,
    database_away, disk_full,
]  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_after_it_who_is_alive_keeps_his_work_and_who_is_gone_is_found(
    world: World, alive: Agent, gone: Agent, trouble: Callable[[World, pytest.MonkeyPatch], None], monkeypatch
):
    world.passes(5)
    trouble(world, monkeypatch)
    assert world.lost() == []
    world.passes(FOUND_IN)
    assert world.lost() == ["h:gone"]
    assert [server_status(world, agent) for agent in (alive, gone)] == ["in_progress", "queued"]
    world.passes(60)
    assert world.lost() == ["h:gone"]
    assert alive.ask().stop == []
    world.server.check()


def server_status(world: World, agent: Agent) -> str:
    [task_id] = agent.held
    return world.server.task(task_id).status


@pytest.mark.parametrize("trouble", [clock_forward, clock_back, clock_back_a_little])
def test_who_falls_silent_after_the_clock_was_set_is_found(world: World, alive: Agent, trouble, monkeypatch):
    trouble(world, monkeypatch)
    world.passes(30)
    world.alive.clear()
    world.passes(FOUND_IN)
    assert world.lost() == ["h:alive"]


def test_an_agent_that_was_paused_for_less_than_its_lease_keeps_its_work(world: World, alive: Agent):
    world.alive.clear()
    world.passes(LEASE - 1)
    world.alive.append(alive)
    world.passes(60)
    assert world.lost() == []
    [task_id] = alive.held
    assert world.server.task(task_id).attempt == 1


# Several servers on one database


@pytest.fixture
def second(world: World) -> Server:
    """Another server that has been up for as long."""
    server = world.server.restarted()
    world.loops.append(world.loop_of(server))
    world.passes(100)
    return server


def beats_at(agent: Agent, server: Server) -> None:
    server.exchange.heartbeat(agent.id, agent.session, agent.holds())


def test_a_server_that_was_paused_beside_another_one_judges_by_what_the_other_was_told(
    world: World, alive: Agent, second: Server
):
    [mine, _] = world.loops
    world.loops.remove(mine)
    world.alive.clear()
    for _ in range(20):
        world.passes(3)
        beats_at(alive, second)
    world.loops = [mine]  # the other way round: it goes on, and the other one does nothing any more
    world.passes(2)
    assert world.lost() == []
    for _again in range(10):
        beats_at(alive, second)
        world.passes(3)
    assert world.lost() == []
    world.server.check()


def test_a_server_that_was_up_all_the_time_finds_who_is_gone_though_another_was_not(
    world: World, gone: Agent, second: Server
):
    del world.loops[0]
    world.passes(FOUND_IN)
    assert world.lost() == ["h:gone"]


def test_of_two_servers_one_finds_who_is_gone(world: World, second: Server):
    world.server.submit({"left": []})
    world.server.agent("h:gone").claim()
    world.passes(60)
    assert world.lost() == ["h:gone"]
    world.server.check()


# What comes too late


Late = Callable[[Agent, Any], Any]


def reports(agent: Agent, claim: Any) -> Any:
    agent.ask(ended(claim))


def leaves(agent: Agent, claim: Any) -> Any:
    agent.server.exchange.leave(agent.id, agent.session, [ended(claim)])


def beats(agent: Agent, claim: Any) -> Any:
    agent.server.exchange.heartbeat(agent.id, agent.session, [Held(claimed(claim), 1)])


def beats_for_the_task(agent: Agent, claim: Any) -> Any:
    agent.server.exchange.heartbeat_task(claimed(claim), agent.session, 1, 60)


def ends_the_task(agent: Agent, claim: Any) -> Any:
    agent.server.do(claimed(claim), EndTask(status="completed", attempt=1, session=agent.session))


def adds_an_artifact(agent: Agent, claim: Any) -> Any:
    agent.server.do(claimed(claim), ArtifactAdded(name="model", url="file:///m", attempt=1))


def all_that_is_kept(server: Server) -> tuple[Any, ...]:
    return server.head, *(server.rows(table) for table in ("work", "lease", "timer", "decision", "content"))


@pytest.mark.parametrize("late", [reports, leaves, beats, beats_for_the_task, ends_the_task, adds_an_artifact])
@pytest.mark.parametrize("taken", [True, False], ids=["while attempt 2 runs", "while attempt 2 waits"])
def test_what_an_attempt_says_after_it_was_lost_is_refused_and_leaves_no_trace(world: World, late: Late, taken: bool):
    server = world.server
    run_id = server.submit({"a": [], "b": ["a"]})
    agent = server.agent("h:0")
    claim = agent.claim()
    world.passes(FOUND_IN)
    other = server.agent("h:1")
    second = other.claim() if taken else None
    before = all_that_is_kept(server)
    with pytest.raises(Refused) as refused:
        late(agent, claim)
    assert isinstance(refused.value, Superseded) == (late in (reports, leaves, beats))
    assert all_that_is_kept(server) == before
    other.end(second or other.claim())
    assert server.statuses(run_id) == {"a": "completed", "b": "queued"}
    server.check()


def test_a_new_session_that_names_what_the_old_one_lost_is_told_so_and_nothing_else_happens(world: World):
    server = world.server
    server.submit({"a": []})
    agent = server.agent("h:0")
    claim = agent.claim()
    world.passes(FOUND_IN)
    again = agent.started_anew()
    before = all_that_is_kept(server)
    answer = server.exchange.exchange(
        again.id, again.session, held=[Held(claimed(claim), 1)], reports=[ended(claim)], free=0
    )
    assert [(receipt.accepted, receipt.attempt) for receipt in answer.receipts] == [(False, 1)]
    assert all_that_is_kept(server) == before


def test_the_host_of_a_run_that_was_lost_answers_nothing_any_more(world: World):
    server = world.server
    run_id = server.submit(pipeline([step("a", hooks=["pre"])], host=HOST))
    host = server.agent("h:0", queues=("services",))
    host.claim()
    [_] = server.asked(run_id, "pre")
    world.passes(FOUND_IN)
    before = all_that_is_kept(server)
    with pytest.raises(Refused):
        host.answer(run_id, "pre")
    for status in ("completed", "failed", "stopped"):
        with pytest.raises(Refused, match="not the host of run"):
            server.controller.end_host(run_id, status, "late", BY, attempt=1)
    assert all_that_is_kept(server) == before


# Signs of life that are told twice


def test_a_hundred_signs_of_life_in_a_second_are_one_row(server: Server, clock: Clock, commits: list[Any]):
    agent = server.agent()
    clock.passes(5)
    commits.clear()
    for _ in range(100):
        agent.ask()
        clock.passes(0.009)
    assert len(commits) == 1
    clock.passes(1)
    agent.ask()
    assert len(commits) == 2
    [lease] = server.rows("lease")
    assert lease["expires_at"] == clock.database() + LEASE * 1_000_000


def test_a_renewal_that_failed_is_tried_again(server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    agent = server.agent()
    clock.passes(5)
    with monkeypatch.context() as away:
        away.setattr(MemoryAppend, "commit", unavailable)
        with pytest.raises(StoreUnavailable):
            agent.beat()
    agent.beat()
    [lease] = server.rows("lease")
    assert lease["expires_at"] == clock.database() + LEASE * 1_000_000
