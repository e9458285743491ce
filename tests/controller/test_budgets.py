"""What a step may cost the database, whatever the machine: commits, statements, round trips."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from eventstore import postgresql, sqlite
from eventstore.pipeline import Pipeline
from eventstore.sql import open_store
from tests.controller.server import Agent, Server, ended

STEPS = 12


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this thread, which commits what it asks for, went to the database on each way; by both dialects."""
    seen: Counter[str] = Counter()
    mine = threading.get_ident()  # others may have servers of other tests

    def noted(owner: type, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def counted(self: Any, *args: Any) -> Any:
            seen[name] += threading.get_ident() == mine
            return plain(self, *args)

        monkeypatch.setattr(owner, method, counted)

    def rows(owner: type) -> None:
        plain = owner.commit  # type: ignore[attr-defined]

        def counted(self: Any, writes: Any) -> None:
            if threading.get_ident() == mine:
                seen["commits"] += 1
                seen["rows"] += sum(len(rows) for _, rows in writes)
            plain(self, writes)

        monkeypatch.setattr(owner, "commit", counted)

    noted(Pipeline, "run", "round trips")
    noted(Pipeline, "fetch", "round trips")
    noted(postgresql.PostgresSession, "fetch", "looks")
    noted(sqlite.SqliteSession, "fetch", "looks")
    rows(postgresql.PostgresSession)
    rows(sqlite.SqliteSession)
    return seen


@pytest.fixture(params=["sqlite", "emptied_postgres"])
def server(request: pytest.FixtureRequest, spent: Counter[str]) -> Iterator[Server]:
    with closing(open_store(request.getfixturevalue(f"{request.param}_url"))) as store:
        yield Server(store)


def chain(server: Server) -> None:
    server.submit({f"s{n}": [f"s{n - 1}"] if n else [] for n in range(STEPS)})


def play(agent: Agent, slots: int, spent: Counter[str]) -> int:
    """Run all there is; the steps that were run, from the first report on."""
    claims, steps = agent.ask(free=slots).claims, 0
    spent.clear()
    while claims:
        steps += len(claims)
        claims = agent.ask(*[ended(claim) for claim in claims], free=slots).claims
    return steps


def test_a_step_of_a_chain_costs_one_commit_two_round_trips_and_seven_rows(server: Server, spent: Counter[str]):
    chain(server)
    steps = play(server.agent(), 1, spent)
    assert steps == STEPS
    assert spent["commits"] <= steps
    assert spent["round trips"] <= 2 * steps
    assert spent["looks"] == 0
    # Its four events, its decision, its lease there and gone. That of the agent is put anew once a second at most.
    assert spent["rows"] <= 7 * steps + 8


@pytest.mark.parametrize("runs", [10, 100])
def test_runs_side_by_side_share_their_commits(server: Server, spent: Counter[str], runs: int):
    for _ in range(runs):
        chain(server)
    steps = play(server.agent(), runs, spent)
    assert steps == runs * STEPS
    assert spent["commits"] / steps <= 4 / runs
    assert spent["looks"] == 0
    assert spent["round trips"] <= 2 * spent["commits"]
