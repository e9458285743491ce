"""A run folded at once is the run that its events make one by one, wherever the fold begins and ends."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from controller.folding import fold_on, fold_run
from controller.reading import Reader
from domain.content import Edit
from domain.ids import step_task_id
from domain.run import RetryStep
from domain.task import ArtifactAdded, TaskEdited
from eventstore import reads
from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Store
from tests.controller.server import Server, claimed, evolved, pipeline, plain, step


@pytest.fixture
def store() -> Iterator[Store]:
    with closing(MemoryStore()) as store:
        yield store


@pytest.fixture
def run_id(server: Server) -> str:
    """Plain steps that meet, beside one with a time limit; one of them fails, is run again, and ends a second time."""
    steps = [
        step("a"),
        step("b", "a", parameter_override={"General/lr": "${pipeline.lr}", "General/like": {"overrides": None}}),
        step("c", "a", time_limit=60.0),
        step("d", "b", "c"),
    ]
    run_id = server.submit(pipeline(steps, defaults={"lr": 0.1}))
    agent = server.agent()
    agent.end(agent.claim(), reason="as good as it gets")
    claim = agent.claim()
    server.do(claimed(claim), ArtifactAdded(name="data", url="s3://data", attempt=1))
    agent.end(claim, "failed", reason="no space left")
    agent.work()
    server.tell(run_id, RetryStep(step="b"))
    agent.work()
    server.do(step_task_id(run_id, "a"), TaskEdited(edit=Edit(comment="the best")))
    assert server.statuses(run_id) == dict.fromkeys("abcd", "completed")
    return run_id


def test_it_does_not_matter_where_a_fold_ends(server, run_id):
    for row, _, run in server.reader.states(run_id):
        folded = fold_run(run_id, server.store.told(run_id, upto=row.run_version), server.reader.text)
        assert plain(folded) == plain(run), row


def test_it_does_not_matter_where_a_fold_goes_on(server, run_id):
    last = plain(evolved(server.store, run_id))
    for _, _, run in server.reader.states(run_id):
        assert plain(fold_on(run, server.store.told(run_id, after=run.version))) == last


def test_a_step_that_ends_twice_is_counted_twice_and_its_children_wait_for_none(server, run_id):
    run = server.run(run_id)
    assert (run.open, run.counts["completed"]) == (0, 4)
    assert {name: run.blocked[name] for name in "bcd"} == {"b": 0, "c": 0, "d": 0}
    assert run.step("a").reason == "as good as it gets"
    assert (run.step("b").attempts, list(run.step("b").artifacts)) == (2, [])
    assert len(run.step("a").edits) == 1


def test_runs_of_one_definition_share_its_plan(server):
    first, second, other = server.submit({"a": []}), server.submit({"a": []}), server.submit({"b": []})
    reader = Reader(server.store)
    assert reader.run(first).plan is reader.run(second).plan
    assert reader.run(first).plan is not reader.run(other).plan


def test_a_run_is_the_same_in_however_many_pages_it_is_read(sqlite_url, monkeypatch):
    with closing(open_store(sqlite_url)) as store:
        server = Server(store)
        run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
        server.agent().work()
        whole = server.run(run_id)
        assert whole.version == 15
        for size in (1, 4, 5, 14, 15, 16):
            monkeypatch.setattr(reads, "PAGE", size)
            assert plain(Reader(store).run(run_id)) == plain(whole)
            assert len(list(store.told(run_id, after=2, upto=13))) == 11
