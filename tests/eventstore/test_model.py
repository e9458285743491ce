"""Each store against a model in dicts and lists, over whatever a machine thinks of."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Append, Delete, NewEvent, Put, Store, VersionConflict, append

STREAMS = ["task-1", "task-2", "run-ä"]
RUNS = [None, "r1", "r2"]
KEYS = ["a", "b", "A"]

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
    """(position, stream, version, run_id, run_version, data) of all events, rows of `work`, events of commands."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    commands: dict[str, list[int]] = field(default_factory=dict)

    def version(self, stream: str) -> int:
        return sum(event[1] == stream for event in self.events)

    def run_version(self, run_id: str | None) -> int:
        return sum(event[3] == run_id for event in self.events)

    def take(self, events: list[NewEvent], rows: list[tuple[str, int | None]], command_id: str | None) -> None:
        for event in events:
            position, run_version = len(self.events) + 1, None
            if event.run_id is not None:
                run_version = self.run_version(event.run_id) + 1
            version = self.version(event.stream) + 1
            self.events.append((position, event.stream, version, event.run_id, run_version, event.data))
            if command_id is not None:
                self.commands.setdefault(command_id, []).append(position)
        for key, priority in rows:
            self.rows.pop(key, None)
            if priority is not None:
                self.rows[key] = priority


def changes(rows: list[tuple[str, int | None]]) -> list[Put | Delete]:
    other = {"shard": 0, "queue": "default", "position": 1, "run_id": None}
    return [
        Delete("work", {"task_id": key})
        if priority is None
        else Put("work", {**other, "task_id": key, "priority": priority})
        for key, priority in rows
    ]


class Machine(RuleBasedStateMachine):
    reopen: Callable[[Store | None], Store]
    """Opens an empty store, or again the one that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.store, self.model = self.reopen(None), Model()

    def teardown(self) -> None:
        self.store.close()

    @rule(
        events=some_events,
        rows=some_rows,
        off=st.sampled_from([0, 0, 0, 1, -1]),
        command_id=st.sampled_from([None, "c1", "c2"]),
    )
    def appends(
        self, events: list[NewEvent], rows: list[tuple[str, int | None]], off: int, command_id: str | None
    ) -> None:
        """`off` tells by how much the expected version of the first stream is wrong."""
        expect = {event.stream: self.model.version(event.stream) + off for event in events[:1]}
        runs = {event.run_id: self.model.run_version(event.run_id) for event in events if event.run_id}
        done = append(self.store, events, changes(rows), expect=expect, expect_runs=runs, command_id=command_id)
        if (off and events) or (events and command_id in self.model.commands):
            assert isinstance(done.exception(), VersionConflict)
        else:
            self.model.take(events, rows, command_id)
            assert [e.position for e in done.result()] == [
                event[0] for event in self.model.events[-len(events) :] if events
            ]

    @rule(first=some_events, second=some_events, fails=st.booleans())
    def appends_twice_in_one_job(self, first: list[NewEvent], second: list[NewEvent], fails: bool) -> None:
        def job(batch: Append) -> None:
            batch.add(first)
            for event in second:
                assert batch.version(event.stream) == len(batch.stream(event.stream))
            batch.add(second)
            if fails:
                raise LookupError

        with suppress(LookupError):
            self.store.append(job).result()
            self.model.take([*first, *second], [], None)

    @precondition(lambda self: not isinstance(self.store, MemoryStore))
    @rule()
    def is_opened_again(self) -> None:
        self.store = self.reopen(self.store)

    @invariant()
    def holds_the_same_events(self) -> None:
        found = [(e.position, e.stream, e.version, e.run_id, e.run_version, e.data) for e in self.store.read()]
        assert found == self.model.events
        assert self.store.head() == len(found)

    @invariant()
    def tells_the_same_streams_and_runs(self) -> None:
        for stream in STREAMS:
            positions = [event[0] for event in self.model.events if event[1] == stream]
            assert [e.position for e in self.store.stream(stream)] == positions
        for run_id in filter(None, RUNS):
            positions = [event[0] for event in self.model.events if event[3] == run_id]
            assert [e.position for e in self.store.run(run_id)] == positions

    @invariant()
    def holds_the_same_rows_and_commands(self) -> None:
        found = [(row["task_id"], row["priority"]) for row in self.store.select("work")]
        assert found == sorted(self.model.rows.items())
        for command_id in ("c1", "c2"):
            found = [e.position for e in self.store.command(command_id)]
            assert found == self.model.commands.get(command_id, [])


def play(reopen: Callable[[Store | None], Store], examples: int) -> None:
    machine = type("Machine", (Machine,), {"reopen": staticmethod(reopen)})
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


def test_the_memory_store_keeps_to_the_model():
    play(lambda store: MemoryStore(), 40)


def test_the_sqlite_store_keeps_to_the_model(tmp_path: Path):
    numbers = itertools.count()
    place = {}

    def reopen(store: Store | None) -> Store:
        if store is None:
            place["url"] = f"sqlite:///{tmp_path}/{next(numbers)}.db"
        else:
            store.close()
        return open_store(place["url"])

    play(reopen, 25)


def test_the_postgresql_store_keeps_to_the_model(postgres_url: str):
    def reopen(store: Store | None) -> Store:
        if store is None:
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                admin.execute("DROP SCHEMA public CASCADE")
                admin.execute("CREATE SCHEMA public")
        else:
            store.close()
        return open_store(postgres_url)

    play(reopen, 10)
