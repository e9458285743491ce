"""Several shards in one store: each has an order of its own, and a reader of all keeps a cursor for each."""

import threading
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from eventstore.store import NewEvent, Recorded, Store, VersionConflict, append
from tests.eventstore.sharded import SHARDS, store_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with closing(store_of(request, request.param, SHARDS)) as store:
        yield store


def event(stream: str) -> NewEvent:
    return NewEvent(stream=stream, type="Happened", data="{}")


def filled(store: Store, chance: Random, times: int) -> None:
    for _ in range(times):
        shard = chance.randrange(SHARDS)
        append(store, [event(f"task-{shard}")] * chance.randint(1, 3), shard=shard).result()


def test_positions_count_each_shard_and_versions_each_stream(store: Store):
    filled(store, Random(1), 40)
    for shard in range(SHARDS):
        events = store.read(shard=shard)
        assert [(e.shard, e.stream, e.position, e.version) for e in events] == [
            (shard, f"task-{shard}", number, number) for number in range(1, store.head(shard=shard) + 1)
        ]
        assert store.stream(f"task-{shard}") == events
    assert sum(store.head(shard=shard) for shard in range(SHARDS)) > 40


def test_who_reads_all_shards_with_a_cursor_for_each_misses_nothing(store: Store):
    """It stops and goes on at any moment, while the shards grow at different speeds."""
    chance, cursors, seen = Random(2), [0] * SHARDS, list[Recorded]()
    for _ in range(30):
        filled(store, chance, chance.randrange(4))
        shard = chance.randrange(SHARDS)
        if page := store.read(after=cursors[shard], limit=chance.randint(1, 5), shard=shard):
            seen += page
            cursors[shard] = page[-1].position
    for shard in range(SHARDS):
        seen += store.read(after=cursors[shard], shard=shard)
        assert [e for e in seen if e.shard == shard] == list(store.read(shard=shard))


def test_a_command_is_known_where_it_was_carried_out(store: Store):
    append(store, [event("task-1")], command_id="c1", shard=1).result()
    append(store, [event("task-3")], command_id="c1", shard=3).result()
    assert [len(store.command("c1", shard=shard)) for shard in range(SHARDS)] == [0, 1, 0, 1]
    with pytest.raises(VersionConflict):
        append(store, [event("task-1")], command_id="c1", shard=1).result()


def test_a_stream_that_another_shard_has_cannot_be_begun_anew(store: Store):
    append(store, [event("task-1")], shard=1).result()
    with pytest.raises(VersionConflict) as refused:
        append(store, [event("task-1")], expect={"task-1": 0}, shard=2).result()
    assert (refused.value.what, refused.value.actual) == ("task-1", 1)
    assert store.head(shard=2) == 0


def test_subscribers_are_told_which_shard_has_grown(store: Store):
    heard = list[tuple[int, int]]()
    end = store.subscribe(lambda shard, head: heard.append((shard, head)))
    for shard in (3, 0, 3):
        append(store, [event(f"task-{shard}")], shard=shard).result()
    end()
    assert heard == [(3, 1), (0, 1), (3, 2)]


@pytest.mark.parametrize("store", ["memory", "postgres"], indirect=True)
def test_a_shard_that_is_held_up_holds_up_no_other(store: Store):
    held, go_on = threading.Event(), threading.Event()

    def holds(batch):
        held.set()
        assert go_on.wait(20)
        batch.add([event("task-0")])

    holder = threading.Thread(target=lambda: store.append(holds, shard=0))
    holder.start()
    assert held.wait(20)
    append(store, [event("task-1")], shard=1).result(20)
    assert (store.head(shard=0), store.head(shard=1)) == (0, 1)
    go_on.set()
    holder.join(20)
    assert store.head(shard=0) == 1
