"""The promise under racing writers: threads on every store, and on PostgreSQL several stores and processes at once."""

import itertools
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from eventstore.leaf import leaf_hash
from eventstore.memory import MemoryStore
from eventstore.sql import SqlStore
from eventstore.store import Delete, NewEvent, Put, Recorded, Store, VersionConflict, append
from eventstore.subscription import follow
from tests.eventstore.writing import APPENDS, EVENTS, write, write_in_a_process

WRITERS = 8
LIMIT = 60


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, opened: Callable[[str], SqlStore]) -> Sequence[Store]:
    """One store for each writer; where only one process may write it is the same one."""
    if request.param == "memory":
        return [MemoryStore()] * WRITERS
    if request.param == "sqlite":
        return [opened(request.getfixturevalue("sqlite_url"))] * WRITERS
    url = request.getfixturevalue("emptied_postgres_url")
    return [opened(url) for _ in range(WRITERS)]


def all_at_once(stores: Sequence[Store], work: Callable[[Store, int], Any]) -> list[Any]:
    """What `work` came to in a thread for each store, all of them let go together; its VersionConflict included."""
    gate = threading.Barrier(len(stores))

    def run(number: int) -> Any:
        gate.wait(LIMIT)
        try:
            return work(stores[number], number)
        except VersionConflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(stores)) as threads:
        return list(threads.map(run, range(len(stores))))


def event(stream: str, run_id: str | None = None) -> NewEvent:
    return NewEvent(stream=stream, type="Happened", data="{}", run_id=run_id)


def all_events(store: Store) -> list[Recorded]:
    pages = itertools.takewhile(bool, (store.read(after=after, limit=100) for after in itertools.count(0, 100)))
    return [recorded for page in pages for recorded in page]


def assert_whole(events: Sequence[Recorded]) -> None:
    """Positions, stream versions and run versions count without a gap, time never goes back, hashes are true."""
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    assert [e.recorded_at for e in events] == sorted(e.recorded_at for e in events)
    for name in {e.stream for e in events}:
        versions = [e.version for e in events if e.stream == name]
        assert versions == list(range(1, len(versions) + 1))
    for run_id in {e.run_id for e in events if e.run_id}:
        versions = [e.run_version for e in events if e.run_id == run_id]
        assert versions == list(range(1, len(versions) + 1))
    assert all(e.leaf == leaf_hash(*e[:-1]) for e in events)


@pytest.mark.parametrize("version", [0, 1])
def test_one_of_eight_racing_writers_wins(stores: Sequence[Store], version: int):
    for _ in range(version):
        append(stores[0], [event("task-1", "r1")]).result()
    came_to = all_at_once(
        stores,
        lambda store, number: append(
            store, [event("task-1", "r1")], expect={"task-1": version}, expect_runs={"r1": version}
        ).result(),
    )
    assert sum(isinstance(one, VersionConflict) for one in came_to) == WRITERS - 1
    assert len(stores[0].stream("task-1")) == version + 1


def test_one_of_eight_joins_of_a_run_wins(stores: Sequence[Store]):
    """Different streams, one run: only the run's count can tell that the others were too late."""
    append(stores[0], [event("run-1", "r1")]).result()
    came_to = all_at_once(
        stores,
        lambda store, number: append(store, [event(f"task-{number}", "r1")], expect_runs={"r1": 1}).result(),
    )
    assert sum(isinstance(one, VersionConflict) for one in came_to) == WRITERS - 1


def test_a_command_sent_eight_times_is_carried_out_once(stores: Sequence[Store]):
    all_at_once(stores, lambda store, number: append(store, [event(f"task-{number}")], command_id="c1").result())
    assert stores[0].head() == 1
    assert len(stores[0].command("c1")) == 1


def test_one_of_eight_decisions_stands(stores: Sequence[Store]):
    def decide(store: Store, number: int) -> object:
        row = {"run_id": "r1", "from_version": 1, "upto_version": 1, "code": "1", "outputs": str(number)}
        return append(store, [event(f"task-{number}", "r1")], [Put("decision", row)]).result()

    all_at_once(stores, decide)
    [row] = stores[0].select("decision")
    assert [e.stream for e in stores[0].run("r1")] == [f"task-{row['outputs']}"]


def test_one_piece_of_work_is_claimed_once(stores: Sequence[Store]):
    """A claim looks and takes under the lock: what it saw is still so when it commits."""
    row = {"shard": 0, "queue": "default", "priority": 0, "position": 1, "run_id": None}
    append(stores[0], [], [Put("work", {**row, "task_id": str(number)}) for number in range(20)]).result()

    def claim(store: Store, number: int) -> list[str]:
        claimed: list[str] = []

        def job(batch):
            # A neighbour's claim may stand in this batch, not committed: its stream tells.
            free = [r["task_id"] for r in batch.select("work") if not batch.version(f"task-{r['task_id']}")]
            if free:
                batch.add([event(f"task-{free[0]}")], [Delete("work", {"task_id": free[0]})])
            return free[:1]

        while taken := store.append(job).result(LIMIT):
            claimed += taken
        return claimed

    claimed = [task for tasks in all_at_once(stores, claim) for task in tasks]
    assert sorted(claimed, key=int) == [str(number) for number in range(20)]
    assert stores[0].select("work") == []


def test_a_tail_reader_never_misses_an_event(stores: Sequence[Store]):
    stop = threading.Event()

    def tail() -> list[Recorded]:
        events: list[Recorded] = []
        for batch in follow(stores[-1], 0, stop=stop, limit=7):
            events += batch
            if len(events) >= WRITERS * EVENTS:
                return events
        return events

    with ThreadPoolExecutor(1) as reader:
        seen = reader.submit(tail)
        try:
            all_at_once(stores, lambda store, number: write(store, f"w{number}"))
            events = seen.result(LIMIT)
        finally:
            stop.set()
    assert_whole(events)
    assert events == all_events(stores[0])
    assert len(events) == WRITERS * EVENTS


def test_a_tail_reader_misses_nothing_of_two_other_processes(
    emptied_postgres_url: str, opened: Callable[[str], SqlStore]
):
    store, stop = opened(emptied_postgres_url), threading.Event()
    events: list[Recorded] = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        writers = [processes.submit(write_in_a_process, emptied_postgres_url, name) for name in ("a", "b")]
        for batch in follow(store, 0, stop=stop, limit=7):
            events += batch
            if len(events) >= 2 * EVENTS:
                break
        for writer in writers:
            assert writer.result(LIMIT) == APPENDS
    assert_whole(events)
    assert len(events) == store.head() == 2 * EVENTS


def test_without_the_lock_the_same_reader_does_miss_one(emptied_postgres_url: str, opened: Callable[[str], SqlStore]):
    """The control: shows that the tests above would notice."""
    store = opened(emptied_postgres_url)
    insert = (
        "INSERT INTO event (shard, position, stream, version, type, schema, data, meta, recorded_at, leaf)"
        " VALUES (0, %s, 'task-1', %s, 'Happened', 1, '{}', '{}', 1, '')"
    )
    with psycopg.connect(emptied_postgres_url) as slow, psycopg.connect(emptied_postgres_url) as quick:
        slow.execute(insert, (1, 1))
        quick.execute(insert, (2, 2))
        quick.commit()
        seen = [e.position for e in store.read()]
        slow.commit()
        seen += [e.position for e in store.read(after=seen[-1])]
    assert seen == [2]
    assert store.head() == 2
