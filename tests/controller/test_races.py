"""Many at once: agents, people and the loop, in threads and on two servers. No attempt is ever handed out twice."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from random import Random
from typing import Any

import pytest

from controller.exchange import Held, Report
from controller.handle import By
from controller.loop import Loop
from domain.agent import AgentRegistered
from domain.refused import Refused
from domain.run import StopRun
from domain.task import ArtifactAdded, StopTask
from eventstore.sql import SqlStore, open_store
from tests.controller.server import BY, Agent, Server, claimed, ended, is_over, new_id, pipeline, race, step
from tests.support.crash_server import Got
from tests.support.crashing import CrashServer, forking
from tests.support.waiting import wait_until

AGENTS = 8
JOINS_AT_ONCE = 20


def works(agent: Agent, *servers: Server, most: int = 3) -> list[tuple[str, int]]:
    """What the agent got, until there was nothing left; it asks one server after the other."""
    got: list[tuple[str, int]] = []
    reports: list[Any] = []
    for turn in range(10_000):
        answer = agent.ask(*reports, free=most, server=servers[turn % len(servers)])
        assert all(receipt.accepted for receipt in answer.receipts)
        got += [(claimed(claim), claim.attempt) for claim in answer.claims]
        reports = [ended(claim) for claim in answer.claims]
        if not reports:
            return got
    raise AssertionError("there is no end to it")


def test_racing_agents_never_get_the_same_attempt(store):
    server, number = Server(store), 240
    run_id = server.submit({f"s{n}": [] for n in range(number)})
    agents = [server.agent(f"h:{n}") for n in range(AGENTS)]
    got = race(*[lambda agent=agent: works(agent, server) for agent in agents])
    claims = [claim for one in got for claim in one]
    assert len(claims) == len(set(claims)) == number
    assert (server.run(run_id).status, {attempt for _, attempt in claims}) == ("completed", {1})
    server.check()


def test_two_servers_on_one_database_never_hand_out_the_same_attempt(postgres_url, opened):
    """Each with its own memory, as two processes have it; the agents ask now this one, now that one."""
    here, there = Server(opened(postgres_url)), Server(opened(postgres_url))
    wide = here.submit({f"s{n}": [] for n in range(120)})
    fan = there.submit({"first": [], **{f"t{n}": ["first"] for n in range(60)}, "join": [f"t{n}" for n in range(60)]})
    agents = [(here if n % 2 else there).agent(f"h:{n}") for n in range(AGENTS)]
    got = race(
        *[lambda agent=agent: works(agent, here, there) for agent in agents[: AGENTS // 2]],
        *[lambda agent=agent: works(agent, there, here) for agent in agents[AGENTS // 2 :]],
    )
    late = [works(agent, here) for agent in agents]  # what came up after the others had gone home
    claims = [claim for one in (*got, *late) for claim in one]
    assert len(claims) == len(set(claims)) == 120 + 62
    assert (here.run(wide).status, there.run(fan).status) == ("completed", "completed")
    here.check()
    there.check()


def test_parents_that_end_on_two_servers_at_once_are_joined_once(postgres_url, opened):
    here, there = Server(opened(postgres_url)), Server(opened(postgres_url))
    for turn in range(10):
        run_id = here.submit({"a": [], "b": [], "join": ["a", "b"]})
        first, second = here.agent("h:0"), there.agent("h:1")
        one, other = first.claim(), second.claim()
        race(lambda agent=first, claim=one: agent.end(claim), lambda agent=second, claim=other: agent.end(claim))
        assert here.statuses(run_id) == {"a": "completed", "b": "completed", "join": "queued"}, turn
        (first if turn % 2 else second).work()
        assert there.run(run_id).status == "completed"
    here.check()
    there.check()


class Side:
    """An agent in a process of its own, whose server is another process than the other side's."""

    def __init__(self, server: CrashServer, queue: str) -> None:
        self._server, self._queue, self._session = server, queue, new_id()
        asked = AgentRegistered(name=queue, session=self._session, queues=[queue], slots=JOINS_AT_ONCE)
        self._id = server.ask("register", asked)
        self.held: dict[str, Got] = {}

    def claims(self) -> None:
        """Get all there is."""
        found = self._server.ask("exchange", self._id, self._session, [], [], JOINS_AT_ONCE)
        self.held = {got.step: got for got in found.claims}

    def ends(self, number: int, both: threading.Barrier) -> list[str]:
        """End one step at the moment in which the other side ends one; why it was refused."""
        got = self.held.pop(f"{self._queue} {number}")
        held = [Held(other.id, other.attempt) for other in self.held.values()]
        report = Report(task_id=got.id, attempt=got.attempt, status="completed")
        both.wait(60)
        return list(self._server.ask("exchange", self._id, self._session, held, [report], 0).refused)


@pytest.mark.parametrize("joins", [100, pytest.param(5_000, marks=pytest.mark.storm)])
def test_parents_that_end_in_two_processes_at_once_are_joined_once(postgres_url, opened, joins: int):
    numbers = range(JOINS_AT_ONCE)
    steps = [
        *(step(f"{side} {n}", queue=side) for n in numbers for side in ("left", "right")),
        *(step(f"join {n}", f"left {n}", f"right {n}", queue="joins") for n in numbers),
    ]
    both = threading.Barrier(2)
    with forking() as forker, ThreadPoolExecutor(2) as threads:
        servers = [forker.serve(postgres_url), forker.serve(postgres_url)]
        for queue in ("left", "right", "joins"):
            servers[0].ask("create_queue", queue, queue)
        left, right = Side(servers[0], "left"), Side(servers[1], "right")
        for turn in range(joins // JOINS_AT_ONCE):
            servers[turn % 2].ask("submit", f"turn {turn}", pipeline(steps))
            left.claims()
            right.claims()
            for n in numbers:
                ends = [threads.submit(side.ends, n, both) for side in (left, right)]
                assert [end.result(60) for end in ends] == [[], []]
        for server in servers:
            assert server.end() == 0
    server = Server(opened(postgres_url), queues=())
    of_joins = [row for row in server.events("TaskCreated", "TaskEnqueued") if (row.subject or "").startswith("join")]
    assert set(Counter((row.stream, row.type) for row in of_joins).values()) == {1}
    assert len(of_joins) == 2 * joins == 2 * len(server.rows("work"))
    server.check()


def test_of_racing_reports_for_one_attempt_one_counts(store):
    """An agent and those who stop, lose or end its task at the same moment."""
    server = Server(store)
    for turn in range(10):
        run_id = server.submit({"a": [], "b": ["a"]})
        agent = server.agent(f"h:{turn}")
        claim = agent.claim()
        race(
            lambda agent=agent, claim=claim: agent.end(claim),
            lambda run_id=run_id: server.controller.run(run_id, StopRun(), BY),
            lambda claim=claim: server.do(claimed(claim), StopTask(now=True)),
            agent.started_anew,
        )
        ends = [row.type for row in server.store.run(run_id) if row.subject == "a" and row.to_state != row.from_state]
        assert len([kind for kind in ends if kind in ("TaskCompleted", "TaskStopped", "TaskFailed")]) <= 1
        server.controller.run(run_id, StopRun(), BY) if not is_over(server.run(run_id)) else None
        agent.started_anew()  # what is still held is lost, and a run that is told to stop ends with it
        assert is_over(server.run(run_id))
    server.check()


# Everything at once


@pytest.fixture
def busy(sqlite_url: str) -> Iterator[Server]:
    with closing(open_store(sqlite_url)) as store:
        yield Server(store)


class Crash(Exception):
    pass


def submits(server: Server, random: Random, times: int) -> list[str]:
    """A person who submits pipelines of many shapes, sometimes twice under one key, and stops some of them."""
    runs: list[str] = []
    for _ in range(times):
        names = [f"s{n}" for n in range(random.randint(1, 12))]
        steps = [
            step(name, *random.sample(names[:n], min(n, 2)), on_lost=random.choice(["requeue", "fail"]))
            for n, name in enumerate(names)
        ]
        key = By(actor="ana", key=new_id(), request="r")
        run_id = server.submit(steps, by=key)
        assert random.random() < 0.7 or server.submit(steps, by=key) == run_id
        runs.append(run_id)
        if random.random() < 0.15:
            with suppress(Refused):  # it has ended already
                server.controller.run(random.choice(runs), StopRun(reason="enough"), BY)
    return runs


def serves(server: Server, random: Random, name: str, over: threading.Event) -> list[tuple[str, int]]:
    """An agent that fails, loses answers, adds artifacts, beats, and now and then dies with what it holds."""
    agent, got, reports = server.agent(name), list[tuple[str, int]](), list[Any]()
    while not over.is_set():
        ask = agent.ask_in_vain if random.random() < 0.1 else agent.ask
        answer = ask(*reports, free=random.randint(1, 4))
        if ask == agent.ask_in_vain:
            continue  # the reports are said again, and the claims handed over again
        reports = []
        got += [(claimed(claim), claim.attempt) for claim in answer.claims]
        if not answer.claims:
            over.wait(0.005)
        if random.random() < 0.05:
            agent = agent.started_anew()
            continue
        for claim in answer.claims:
            if random.random() < 0.2:
                server.do(claimed(claim), ArtifactAdded(name="x", url="u", attempt=claim.attempt))
            reports.append(ended(claim, random.choices(["completed", "failed", "stopped"], [9, 1, 1])[0]))
        agent.beat()
    server.exchange.leave(agent.id, agent.session, [])
    return got


def disturbs(server: Server, over: threading.Event) -> None:
    """Jobs that break the batch they are in, and rounds of the loop that wait at the same door."""
    loop = Loop(server.controller)

    def crash(append: Any) -> None:
        append.add([], [])
        raise Crash

    while not over.wait(0.02):
        with pytest.raises(Crash):
            server.store.append(crash).result()
        loop.once()


def test_whatever_happens_at_once_the_log_and_all_that_is_made_of_it_agree(busy):
    over = threading.Event()

    def people() -> list[str]:
        try:
            submitted = race(*[lambda seed=seed: submits(busy, Random(seed), 12) for seed in range(4)])
            runs = [run_id for one in submitted for run_id in one]
            wait_until(lambda: all(is_over(busy.run(run_id)) for run_id in runs), "all runs are over", seconds=60)
            return runs
        finally:
            over.set()

    agents = [lambda n=n: serves(busy, Random(100 + n), f"h:{n}", over) for n in range(4)]
    runs, *got, disturbed = race(people, *agents, lambda: disturbs(busy, over))
    assert disturbed is None
    assert len(runs) == 48
    claims = [claim for one in got for claim in one]
    assert len(claims) == len(set(claims))
    assert isinstance(busy.store, SqlStore)
    busy.check()
