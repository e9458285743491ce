"""Waking up when the log grows, and following it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventstore.memory import MemoryStore
from eventstore.sql import SqlStore
from eventstore.store import Delete, NewEvent, Store, StoreUnavailable, append
from eventstore.subscription import follow
from tests.support.waiting import wait_until

LIMIT = 20


def event(stream: str) -> NewEvent:
    return NewEvent(stream=stream, type="Happened", data="{}")


def test_subscribers_are_told_of_each_commit(store: Store):
    told: list[tuple[int, int]] = []
    store.subscribe(lambda shard, head: told.append((shard, head)))
    append(store, [event("task-1"), event("task-1")]).result()
    append(store, [event("task-1")]).result()
    assert told == [(0, 2), (0, 3)]


def test_what_left_no_event_is_no_news(store: Store):
    told: list[int] = []
    store.subscribe(lambda shard, head: told.append(head))
    append(store, [], [Delete("work", {"task_id": "a"})]).result()
    append(store, [event("task-1")], expect={"task-1": 4}).exception()
    assert told == []


def test_a_subscription_ends(store: Store):
    told: list[int] = []
    end = store.subscribe(lambda shard, head: told.append(head))
    end()
    end()
    append(store, [event("task-1")]).result()
    assert told == []


def failing(shard: int, head: int) -> None:
    raise LookupError(head)


def test_a_subscriber_that_fails_does_no_harm(store: Store, caplog: pytest.LogCaptureFixture):
    told: list[int] = []
    store.subscribe(failing)
    store.subscribe(lambda shard, head: told.append(head))
    append(store, [event("task-1")]).result()
    assert told == [1]
    assert "a subscriber failed" in caplog.text


def test_what_another_process_commits_is_noticed(emptied_postgres_url: str, opened: Callable[[str], SqlStore]):
    store, other = opened(emptied_postgres_url), opened(emptied_postgres_url)
    told: list[int] = []
    store.subscribe(lambda shard, head: told.append(head))
    for number in range(1, 4):
        append(other, [event("task-1")]).result()
        wait_until(lambda number=number: number in told, "the other's commit was noticed")


def test_notice_is_taken_again_after_the_database_was_away(
    emptied_postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr("eventstore.poller.SLOWEST", 0.02)
    store, other = opened(emptied_postgres_url), opened(emptied_postgres_url)
    monkeypatch.setattr(store, "heads", away := Away(store.heads))
    told: list[int] = []
    store.subscribe(lambda shard, head: told.append(head))
    wait_until(lambda: away.asked > 2, "the heads were asked for in vain")
    append(other, [event("task-1")]).result()
    away.over = True
    wait_until(lambda: told == [1], "the other's commit was noticed")
    assert "cannot see what other processes commit" in caplog.text


class Away:
    """The question for the heads while the database is away, and after."""

    def __init__(self, question: Callable[[int], object]) -> None:
        self._question, self.asked, self.over = question, 0, False

    def __call__(self, shards: int) -> object:
        self.asked += 1
        if not self.over:
            raise StoreUnavailable("away")
        return self._question(shards)


def test_following_gives_what_is_there_and_then_what_comes(store: Store):
    append(store, [event("task-1")] * 5).result()
    stop = threading.Event()
    batches = follow(store, 1, stop=stop, limit=3)
    assert [e.position for e in next(batches)] == [2, 3, 4]
    assert [e.position for e in next(batches)] == [5]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches)
        append(store, [event("task-2")] * 2).result()
        assert [e.position for e in coming.result(LIMIT)] == [6, 7]
    stop.set()
    assert list(batches) == []


def test_following_ends_while_it_waits():
    store, stop = MemoryStore(), threading.Event()
    with ThreadPoolExecutor(1) as reader:
        batches = reader.submit(list, follow(store, 0, stop=stop))
        stop.set()
        assert batches.result(LIMIT) == []


def test_following_keeps_to_its_shard():
    store, stop = MemoryStore(shards=2), threading.Event()
    append(store, [event("task-1")], shard=0).result()
    append(store, [event("task-2")], shard=1).result()
    batches = follow(store, 0, shard=1, stop=stop)
    assert [e.stream for e in next(batches)] == ["task-2"]
    batches.close()
