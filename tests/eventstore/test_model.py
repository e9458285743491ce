"""Each store against a model in dicts and lists, over whatever a machine thinks of."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Append, Delete, NewEvent, Put, Store, VersionConflict, append
from tests.support.databases import empty

STREAMS = ["task-1", "task-2", "run-ä"]
RUNS = [None, "r1", "r2"]
KEYS = ["a", "b", "A"]
MOST_SHARDS = 3
ALL = [NewEvent(stream=stream, type="", data="", run_id=run_id) for stream, run_id in zip(STREAMS, RUNS, strict=True)]

some_events = st.lists(
    st.builds(
        NewEvent,
        stream=st.sampled_from(STREAMS),
        type=st.just("Happened"),
        data=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
        run_id=st.sampled_from(RUNS),
        subject=st.sampled_from([None, "train"]),
    ),
    max_size=4,
)
some_rows = st.lists(
    st.tuples(st.sampled_from(KEYS), st.none() | st.integers(-(2**31), 2**31 - 1)), max_size=3
)  # None: the row goes


@dataclass
class Model:
    """(position, stream, version, run_id, run_version, data) of all events of a shard, and what commands left there."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    commands: dict[str, list[int]] = field(default_factory=dict)

    def version(self, stream: str) -> int:
        return sum(event[1] == stream for event in self.events)

    def run_version(self, run_id: str | None) -> int:
        return sum(event[3] == run_id for event in self.events)

    def take(self, events: list[NewEvent], command_id: str | None = None) -> None:
        for event in events:
            position, run_version = len(self.events) + 1, None
            if event.run_id is not None:
                run_version = self.run_version(event.run_id) + 1
            version = self.version(event.stream) + 1
            self.events.append((position, event.stream, version, event.run_id, run_version, event.data))
            if command_id is not None:
                self.commands.setdefault(command_id, []).append(position)


def changes(rows: list[tuple[str, int | None]]) -> list[Put | Delete]:
    other = {"shard": 0, "queue": "default", "position": 1, "run_id": None}
    return [
        Delete("work", {"task_id": key})
        if priority is None
        else Put("work", {**other, "task_id": key, "priority": priority})
        for key, priority in rows
    ]


def on(shard: int, events: list[NewEvent]) -> list[NewEvent]:
    """The same of streams and runs that the shard has for itself."""
    return [
        replace(event, stream=f"{event.stream}-{shard}", run_id=event.run_id and f"{event.run_id}-{shard}")
        for event in events
    ]


class Machine(RuleBasedStateMachine):
    reopen: Callable[[Store | None], Store]
    """Opens an empty store, or again the one that is given."""
    beside: Callable[[], Store] | None = None
    """Opens what is open already, as another process does."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = [self.reopen(None)]
        self.models = [Model() for _ in range(self.stores[0].shards)]
        self.rows: dict[str, int] = {}

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    @initialize()
    def begins(self) -> None:
        if self.beside is not None:
            self.stores.append(self.beside())

    @rule(
        which=st.integers(0, 1),
        shard=st.integers(0, MOST_SHARDS - 1),
        events=some_events,
        rows=some_rows,
        off=st.sampled_from([0, 0, 0, 1, -1]),
        command_id=st.sampled_from([None, "c1", "c2"]),
    )
    def appends(
        self,
        which: int,
        shard: int,
        events: list[NewEvent],
        rows: list[tuple[str, int | None]],
        off: int,
        command_id: str | None,
    ) -> None:
        """`off` tells by how much the expected version of the first stream is wrong."""
        shard, model = self._shard(shard)
        events = on(shard, events)
        expect = {event.stream: model.version(event.stream) + off for event in events[:1]}
        runs = {event.run_id: model.run_version(event.run_id) for event in events if event.run_id}
        done = append(
            self._store(which),
            events,
            changes(rows),
            expect=expect,
            expect_runs=runs,
            command_id=command_id,
            shard=shard,
        )
        if (off and events) or (events and command_id in model.commands):
            assert isinstance(done.exception(), VersionConflict)
        else:
            model.take(events, command_id)
            self._change(rows)
            assert [e.position for e in done.result()] == [event[0] for event in model.events[-len(events) :] if events]

    @rule(which=st.integers(0, 1), shard=st.integers(0, MOST_SHARDS - 1), twice=st.tuples(some_events, some_events))
    def appends_twice_in_one_job(self, which: int, shard: int, twice: tuple[list[NewEvent], list[NewEvent]]) -> None:
        shard, model = self._shard(shard)
        first, second = (on(shard, events) for events in twice)

        def job(batch: Append) -> None:
            batch.add(first)
            for event in second:
                assert batch.version(event.stream) == len(batch.stream(event.stream))
            batch.add(second)

        self._store(which).append(job, shard=shard).result()
        model.take([*first, *second])

    @rule(
        which=st.integers(0, 1),
        shard=st.integers(0, MOST_SHARDS - 1),
        jobs=st.lists(st.tuples(some_events, st.booleans()), min_size=1, max_size=4),
    )
    def appends_of_several_callers_share_a_commit(
        self, which: int, shard: int, jobs: list[tuple[list[NewEvent], bool]]
    ) -> None:
        """Some of them give up after they have added something: it must be as if they had never come."""
        shard, model = self._shard(shard)
        store, held, go_on = self._store(which), threading.Event(), threading.Event()

        def holds(batch: Append) -> None:
            held.set()
            assert go_on.wait(20)

        def job(events: list[NewEvent], gives_up: bool, batch: Append) -> None:
            batch.add(on(shard, events))
            if gives_up:
                raise LookupError

        holder = threading.Thread(target=lambda: store.append(holds, shard=shard))
        holder.start()
        assert held.wait(20)
        futures = [store.append(partial(job, *one), shard=shard) for one in jobs]
        go_on.set()
        holder.join(20)
        for (events, gives_up), future in zip(jobs, futures, strict=True):
            assert isinstance(future.exception(20), LookupError) == gives_up
            if not gives_up:
                model.take(on(shard, events))

    @precondition(lambda self: not isinstance(self.stores[0], MemoryStore))
    @rule(which=st.integers(0, 1))
    def is_opened_again(self, which: int) -> None:
        number = which % len(self.stores)
        self.stores[number] = self.reopen(self.stores[number])

    @invariant()
    def holds_the_same_events(self) -> None:
        for store, (shard, model) in itertools.product(self.stores, enumerate(self.models)):
            events = store.read(shard=shard)
            assert [(e.position, e.stream, e.version, e.run_id, e.run_version, e.data) for e in events] == model.events
            assert store.head(shard=shard) == len(events)

    @invariant()
    def tells_the_same_streams_and_runs(self) -> None:
        for shard, model in enumerate(self.models):
            for event in on(shard, ALL):
                positions = [one[0] for one in model.events if one[1] == event.stream]
                assert [e.position for e in self.stores[0].stream(event.stream)] == positions
                if event.run_id is not None:
                    positions = [one[0] for one in model.events if one[3] == event.run_id]
                    assert [e.position for e in self.stores[0].run(event.run_id)] == positions

    @invariant()
    def holds_the_same_rows_and_commands(self) -> None:
        found = [(row["task_id"], row["priority"]) for row in self.stores[0].select("work")]
        assert found == sorted(self.rows.items())
        for (shard, model), command_id in itertools.product(enumerate(self.models), ("c1", "c2")):
            found = [e.position for e in self.stores[0].command(command_id, shard=shard)]
            assert found == model.commands.get(command_id, [])

    def _store(self, which: int) -> Store:
        return self.stores[which % len(self.stores)]

    def _shard(self, shard: int) -> tuple[int, Model]:
        shard %= len(self.models)
        return shard, self.models[shard]

    def _change(self, rows: list[tuple[str, int | None]]) -> None:
        for key, priority in rows:
            self.rows.pop(key, None)
            if priority is not None:
                self.rows[key] = priority


def play(reopen: Callable[[Store | None], Store], examples: int, beside: Callable[[], Store] | None = None) -> None:
    machine = type(
        "Machine", (Machine,), {"reopen": staticmethod(reopen), "beside": staticmethod(beside) if beside else None}
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


shards_and_examples = pytest.mark.parametrize(
    ("shards", "examples"),
    [(MOST_SHARDS, 1), *(pytest.param(shards, 20, marks=pytest.mark.storm) for shards in (1, MOST_SHARDS))],
)


@shards_and_examples
def test_the_memory_store_keeps_to_the_model(shards: int, examples: int):
    play(lambda store: MemoryStore(shards), 25 * examples)


@shards_and_examples
def test_the_sqlite_store_keeps_to_the_model(tmp_path: Path, shards: int, examples: int):
    numbers = itertools.count()
    place = {}

    def reopen(store: Store | None) -> Store:
        if store is None:
            place["url"] = f"sqlite:///{tmp_path}/{next(numbers)}.db"
        else:
            store.close()
        return open_store(place["url"], shards=shards)

    play(reopen, 12 * examples)


@shards_and_examples
def test_the_postgresql_store_keeps_to_the_model_with_another_process_beside_it(
    emptied_postgres_url: str, shards: int, examples: int
):
    def reopen(store: Store | None) -> Store:
        if store is None:
            empty(emptied_postgres_url)
        else:
            store.close()
        return open_store(emptied_postgres_url, shards=shards)

    play(reopen, 8 * examples, lambda: open_store(emptied_postgres_url, shards=shards))
