"""Group commit under the controller: who reports at once shares commits, who is alone waits for nobody."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from domain.task import EndTask
from eventstore.appending import Batch
from eventstore.batches import MOST_JOBS
from eventstore.sql import SqlStore
from tests.controller.server import Server, claimed, together

STEPS = 1_000


def test_a_thousand_reports_of_one_run_share_two_commits(
    sqlite_url: str, opened: Callable[[str], SqlStore], commits: list[Batch]
):
    store = opened(sqlite_url)
    server = Server(store)
    run = server.submit({f"s{number}": [] for number in range(STEPS)})
    agent = server.agent()
    claims = agent.ask(free=STEPS).claims
    assert len(claims) == STEPS
    reports = [
        partial(server.do, claimed(claim), EndTask(status="completed", attempt=1, session=agent.session))
        for claim in claims
    ]
    commits.clear()
    answers = together(store, *reports)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert server.run(run).status == "completed"
    assert len(commits) == -(-STEPS // MOST_JOBS)
    assert sum(len(batch.recorded) for batch in commits) == STEPS + 1, "and the run's own end"


def test_a_lone_caller_decides_and_commits_in_its_own_thread(server: Server, monkeypatch: pytest.MonkeyPatch):
    threads: set[threading.Thread] = set()
    confirm = Batch.confirm

    def noted(batch: Batch) -> None:
        threads.add(threading.current_thread())
        confirm(batch)

    monkeypatch.setattr(Batch, "confirm", noted)
    before = threading.active_count()
    run = server.submit({"a": [], "b": ["a"]})
    server.agent().work()
    assert server.run(run).status == "completed"
    assert threads == {threading.current_thread()}
    assert threading.active_count() == before
