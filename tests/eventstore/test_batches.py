"""Group commit: who waits together shares one transaction, and nobody pays for another's mistake."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import pytest

import eventstore.batches
from eventstore.appending import Batch, Heads
from eventstore.batches import LONGEST_GATHER, MOST_JOBS, Batcher, Gathering, ShardClosed
from eventstore.memory import MemoryStore
from eventstore.store import Append, NewEvent, StoreBusy, StoreUnavailable
from tests.support.waiting import wait_until

LIMIT = 20


class Shard:
    """A batcher over a memory store's appends, which counts its commits and can be held up or made to fail."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.sizes: list[int] = []
        self.threads: list[int] = []
        self.failures: list[Exception] = []
        self.batcher = Batcher(self.begin, "test")

    @contextmanager
    def begin(self) -> Iterator[Any]:
        batch = CountedBatch(self)
        yield batch

    def submit(self, job: Callable[[Append], Any]) -> "Future[Any]":
        return self.batcher.submit(job)


class CountedBatch(Batch):
    def __init__(self, shard: Shard) -> None:
        super().__init__(shard.store, Heads(), shard=0, clock=1, last=0, head=0)
        self._shard = shard

    def commit(self) -> None:
        if self._shard.failures:
            raise self._shard.failures.pop()
        self._shard.sizes.append(len(self.recorded))
        self._shard.threads.append(threading.get_ident())
        self.confirm()


@pytest.fixture
def shard() -> Iterator[Shard]:
    shard = Shard()
    yield shard
    shard.batcher.close()


def adds(name: str) -> Callable[[Append], str]:
    def job(batch: Append) -> str:
        batch.add([NewEvent(stream=name, type="Happened", data="{}")])
        return name

    return job


@contextmanager
def held_up(shard: Shard) -> Iterator["Future[Any]"]:
    """While another thread's commit is under way."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(batch: Append) -> None:
        inside.set()
        assert go_on.wait(LIMIT)

    with ThreadPoolExecutor(1) as other:
        first = other.submit(shard.submit, slow)
        assert inside.wait(LIMIT)
        try:
            yield first
        finally:
            go_on.set()


def test_a_lone_caller_commits_in_its_own_thread(shard: Shard):
    future = shard.submit(adds("a"))
    assert future.done()
    assert shard.threads == [threading.get_ident()]


def test_who_waits_together_shares_one_commit(shard: Shard):
    with held_up(shard):
        futures = [shard.submit(adds(f"s-{number}")) for number in range(8)]
        assert not any(future.done() for future in futures)
    assert [future.result(LIMIT) for future in futures] == [f"s-{number}" for number in range(8)]
    assert shard.sizes == [0, 8]


def test_who_waits_does_not_keep_the_first_caller(shard: Shard):
    with held_up(shard) as first:
        later = shard.submit(adds("a"))
    assert first.result(LIMIT).done()
    later.result(LIMIT)
    assert shard.threads[1] != shard.threads[0]


def test_a_commit_takes_only_so_many(shard: Shard):
    with held_up(shard):
        futures = [shard.submit(adds(f"s-{number}")) for number in range(MOST_JOBS + 20)]
    wait(futures, LIMIT)
    assert shard.sizes == [0, MOST_JOBS, 20]


def test_jobs_run_in_the_order_of_their_arrival(shard: Shard):
    seen: list[int] = []
    with held_up(shard):
        futures = [shard.submit(lambda _, number=number: seen.append(number)) for number in range(50)]
    wait(futures, LIMIT)
    assert seen == list(range(50))


def test_a_refused_job_drops_out_alone(shard: Shard):
    def refused(batch: Append) -> None:
        raise LookupError("no such task")

    with held_up(shard):
        before, wrong, after = shard.submit(adds("a")), shard.submit(refused), shard.submit(adds("b"))
    assert (before.result(LIMIT), after.result(LIMIT)) == ("a", "b")
    with pytest.raises(LookupError):
        wrong.result(LIMIT)
    assert shard.sizes == [0, 2]


def test_a_job_that_fails_after_adding_breaks_only_itself(shard: Shard):
    def half_done(batch: Append) -> None:
        adds("half")(batch)
        raise LookupError("and now this")

    with held_up(shard):
        before, wrong, after = shard.submit(adds("a")), shard.submit(half_done), shard.submit(adds("b"))
    assert (before.result(LIMIT), after.result(LIMIT)) == ("a", "b")
    with pytest.raises(LookupError):
        wrong.result(LIMIT)
    assert shard.sizes == [0, 1, 1]


def test_a_commit_that_fails_is_tried_with_each_job_alone(shard: Shard):
    with held_up(shard):
        futures = [shard.submit(adds("a")), shard.submit(adds("b"))]
        shard.failures = [ValueError("second"), ValueError("both"), ValueError("the slow one")]
    assert isinstance(futures[0].exception(LIMIT), ValueError)
    assert futures[1].result(LIMIT) == "b"


def test_a_database_that_is_away_fails_all_who_wait_at_once(shard: Shard):
    runs: list[str] = []
    with held_up(shard):
        futures = [shard.submit(lambda _, name=name: runs.append(name)) for name in ("a", "b")]
        shard.failures = [StoreUnavailable("gone"), StoreUnavailable("the slow one")]
    for future in futures:
        assert isinstance(future.exception(LIMIT), StoreUnavailable)
    assert runs == ["a", "b"]
    assert shard.submit(adds("c")).result(LIMIT) == "c"


def test_a_job_cancelled_while_it_waits_never_runs(shard: Shard):
    with held_up(shard):
        cancelled, kept = shard.submit(adds("a")), shard.submit(adds("b"))
        assert cancelled.cancel()
    assert kept.result(LIMIT) == "b"
    assert shard.sizes == [0, 1]


def test_a_job_that_has_begun_cannot_be_cancelled(shard: Shard):
    futures: list[Future[str]] = []
    verdicts: list[bool] = []
    with held_up(shard):
        futures.append(shard.submit(lambda batch: verdicts.append(futures[0].cancel()) or "done"))
    assert futures[0].result(LIMIT) == "done"
    assert verdicts == [False]


def test_closing_waits_for_those_who_were_taken_and_refuses_the_rest(shard: Shard):
    with ThreadPoolExecutor(1) as other:
        with held_up(shard):
            waiting = shard.submit(adds("a"))
            closing = other.submit(shard.batcher.close)
            wait_until(lambda: refuses(shard), "new jobs are refused")
            assert not closing.done()
        closing.result(LIMIT)
    assert waiting.result(0) == "a"


def test_only_so_many_may_wait_and_who_is_turned_away_has_done_nothing(shard: Shard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eventstore.batches, "MOST_WAITING", 3)
    with held_up(shard):
        taken = [shard.submit(adds(name)) for name in "abc"]
        with pytest.raises(StoreBusy, match="3 commands wait"):
            shard.submit(adds("d"))
        assert (shard.batcher.waiting, shard.batcher.measures.turned_away) == (3, 1)
    wait(taken, LIMIT)
    assert shard.submit(adds("d")).result(LIMIT) == "d"
    assert shard.sizes == [0, 3, 1]


def test_what_was_done_is_counted(shard: Shard):
    with held_up(shard):
        futures = [shard.submit(adds(name)) for name in "ab"]
        futures.append(shard.submit(lambda batch: [adds("x")(batch), adds("y")(batch)]))
    wait(futures, LIMIT)
    shard.failures = [StoreUnavailable("gone")]
    assert isinstance(shard.submit(adds("c")).exception(LIMIT), StoreUnavailable)
    measures = shard.batcher.measures
    assert (measures.events, measures.failed) == (4, 1)
    assert (measures.append.count, measures.commit.count, measures.decide.count) == (4, 2, 2)
    assert (measures.jobs.counts[0], measures.jobs.counts[2], measures.jobs.total) == (1, 1, 4), "of 1 and of 3"
    assert 0 < measures.decide.total <= measures.commit.total <= measures.append.total


def refuses(shard: Shard) -> bool:
    try:
        shard.submit(lambda batch: None)
    except ShardClosed:
        return True
    return False


def test_no_job_is_lost_among_many_callers(shard: Shard):
    def caller(name: str) -> int:
        return sum(shard.submit(adds(f"{name}-{number}")).result(LIMIT) == f"{name}-{number}" for number in range(50))

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(caller, "abcdefgh")) == [50] * 8
    assert sum(shard.sizes) == 400


def test_callers_that_come_back_at_once_share_every_commit(shard: Shard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eventstore.batches, "LONGEST_GATHER", LIMIT)
    monkeypatch.setattr(eventstore.batches, "SHARE_OF_COMMIT", 1e9)
    begin, rounds = threading.Barrier(4), 25

    def caller(name: str) -> None:
        begin.wait(LIMIT)
        for _ in range(rounds):
            shard.submit(adds(name)).result(LIMIT)

    with held_up(shard):
        callers = [threading.Thread(target=caller, args=(name,)) for name in "abcd"]
        for each in callers:
            each.start()
        wait_until(lambda: shard.batcher.waiting == 4, "all four wait")
    # The last commit waits for callers that are through: closing ends that.
    wait_until(lambda: sum(shard.sizes) == 4 * rounds, "all is committed")
    shard.batcher.close()
    for each in callers:
        each.join(LIMIT)
    assert shard.sizes == [0, *[4] * rounds]


def test_nobody_is_waited_for_after_a_lone_caller(shard: Shard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eventstore.batches.Gathering, "patience", None)  # not to be called
    for name in "abc":
        shard.submit(adds(name)).result(LIMIT)
    with held_up(shard):
        later = shard.submit(adds("d"))
    later.result(LIMIT)
    wait_until(lambda: shard.submit(adds("e")).done(), "the shard is at rest again")
    assert shard.threads[-1] == threading.get_ident()


def test_who_does_not_come_back_is_not_waited_for_long():
    gathering, took = Gathering(), 0.004
    waits = 0
    for _ in range(1_000):
        if patience := gathering.patience(took):
            assert patience == took / 4
            waits += 1
            gathering.learn(0.0)
    assert waits < 120
    for _ in range(40):
        if gathering.patience(took):
            gathering.learn(1.0)
    assert gathering.patience(took), "they do come back now"
    assert gathering.patience(60.0) == LONGEST_GATHER
