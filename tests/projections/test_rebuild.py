"""Rows made anew from the first event on: the same rows, and none that the log does not know."""

import threading
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import inspect, text, update

from domain.content import Content
from eventstore.sql import SqlStore, open_store
from projections import checkpoints, following
from projections.all import PROJECTIONS
from projections.differences import differences
from projections.runner import RebuildFailed, Runner
from projections.tables import task_row
from projections.tasks import Tasks
from tests.projections.histories import happen
from tests.projections.rows import ON_SQLITE, all_rows, rows_of
from tests.projections.test_runner import Killed, after, lag_of, running
from tests.projections.world import World, pipeline

NAMES = [one.name for one in PROJECTIONS]


def tables_of(store: SqlStore) -> set[str]:
    with store.database.reading() as connection:
        return set(inspect(connection).get_table_names())


def last_events(store: SqlStore) -> dict[str, tuple[int, int]]:
    """{projection: the position of the last event in its rows, and when that was recorded}"""
    with store.database.reading() as connection:
        return {one.name: (one.position, one.updated_at) for one in checkpoints.of(connection)}


def spoil(store: SqlStore, name: str = "wrong") -> None:
    with store.database.writing() as connection:
        connection.execute(update(task_row).values(name=name))


def test_the_rows_are_the_same_byte_for_byte(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr(following, "PAGE", 13)
    happen(world, seed=21)
    runner.catch_up()
    live, checkpoint = all_rows(store), last_events(store)
    assert all(live.values())
    monkeypatch.setattr(following, "REBUILD_PAGE", 50)
    for name in NAMES:
        runner.rebuild(name)
    assert all_rows(store) == live
    assert last_events(store) == checkpoint
    assert not [name for name in tables_of(store) if name.endswith(checkpoints.NEXT)]


def test_a_wrong_row_is_found_and_is_gone_after(world: World, store: SqlStore, runner: Runner):
    run_id = world.submit(pipeline({"a": [], "b": ["a"]}))
    world.begin(world.step(run_id, "a"))
    runner.catch_up()
    before = all_rows(store)
    with store.database.writing() as connection:
        connection.execute(text("UPDATE step_row SET status = 'completed' WHERE name = 'b'"))
    [found] = differences(store, run_id)
    assert (found.table, found.column, found.expected, found.found) == ("step_row", "status", "pending", "completed")
    runner.rebuild("runs")
    assert differences(store, run_id) == []
    assert all_rows(store) == before


@ON_SQLITE
def test_an_extra_and_a_missing_row_are_mended(world: World, store: SqlStore, runner: Runner):
    world.task(content=Content(tags=["kept"]))
    runner.catch_up()
    before = all_rows(store)
    with store.database.writing() as connection:
        connection.execute(text("DELETE FROM task_row"))
        connection.execute(text("INSERT INTO task_tag (tag, task_id) VALUES ('planted', 'nobody')"))
    runner.rebuild("tasks")
    assert all_rows(store) == before


@ON_SQLITE
def test_it_can_be_done_again_and_again(world: World, store: SqlStore, runner: Runner):
    world.task()
    runner.catch_up()
    before = all_rows(store)
    for _ in range(3):
        runner.rebuild("tasks")
    assert all_rows(store) == before
    world.task("later")
    runner.catch_up()
    assert len(rows_of(store, task_row)) == 2


def test_who_asks_meanwhile_sees_the_old_rows(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr(following, "REBUILD_PAGE", 2)
    for _ in range(6):
        world.task("right")
    runner.catch_up()
    spoil(store)
    runner.start_rebuild("tasks")
    for _ in range(2):
        assert runner.step()
        assert {row["name"] for row in rows_of(store, task_row).values()} == {"wrong"}
        assert len(rows_of(store, task_row)) == 6
    runner.catch_up()
    assert {row["name"] for row in rows_of(store, task_row).values()} == {"right"}


@ON_SQLITE
def test_what_happens_meanwhile_is_in_the_new_rows(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr(following, "REBUILD_PAGE", 2)
    for _ in range(4):
        world.task("early")
    runner.catch_up()
    spoil(store)
    runner.start_rebuild("tasks")
    runner.step()
    late = world.task("late")
    runner.catch_up()
    assert rows_of(store, task_row)[late]["name"] == "late"
    assert sorted(row["name"] for row in rows_of(store, task_row).values()) == [*["early"] * 4, "late"]
    assert lag_of(runner, "tasks").lag_events == 0


def test_it_is_done_while_the_log_is_followed(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr(following, "REBUILD_PAGE", 20)
    with running(runner):
        happen(world, seed=22, moves=100)
        runner.rebuild("tasks", timeout=60)
        happen_more = [world.task(f"more {number}") for number in range(5)]
        runner.rebuild("runs", timeout=60)
        assert runner.wait_for(store.head(), timeout=20)
    found = all_rows(store)
    assert {*happen_more} <= {row["id"] for row in found["task_row"]}
    runner = Runner(store)
    for name in NAMES:
        runner.rebuild(name)
    assert all_rows(store) == found


@pytest.mark.parametrize("where", ["rows written", "tables changed over"])
def test_a_crash_in_the_middle_is_harmless(url: str, where: str, monkeypatch):
    monkeypatch.setattr(following, "REBUILD_PAGE", 10)
    with closing(open_store(url)) as store:
        happen(World(store), seed=23, moves=100)
        runner = Runner(store)
        runner.catch_up()
        before = all_rows(store)
        spoil(store)
        method, count = {"rows written": ("put", 3), "tables changed over": ("change_over", 1)}[where]
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, method, after(getattr(checkpoints, method), count))
            with pytest.raises(Killed):
                runner.rebuild("tasks")
        assert {row["name"] for row in rows_of(store, task_row).values()} == {"wrong"}
    with closing(open_store(url)) as store:
        Runner(store).catch_up()  # goes on where it was
        assert all_rows(store) == before


@ON_SQLITE
def test_what_a_crash_left_half_made_is_thrown_away(world: World, store: SqlStore, runner: Runner):
    world.task()
    runner.catch_up()
    before = all_rows(store)
    runner.start_rebuild("tasks")
    with store.database.writing() as connection:
        connection.execute(text("DROP TABLE task_tag_next"))
    again = Runner(store)
    again.rebuild("tasks")
    assert all_rows(store) == before


@ON_SQLITE
def test_new_rows_that_are_behind_the_old_ones_do_not_take_their_place(world: World, store: SqlStore, runner: Runner):
    """Another process may have moved the old ones on in between."""
    world.task()
    runner.catch_up()
    runner.start_rebuild("tasks")
    with store.database.writing() as connection:
        assert not checkpoints.change_over(connection, Tasks())
    assert len(rows_of(store, task_row)) == 1


class Forgetful(Tasks):
    """Cannot take again what it once took."""

    def __init__(self) -> None:
        self.cannot: str | None = None

    def fold(self, page: Any, desk: Any) -> None:
        for entry in page:
            if entry.id == self.cannot:
                raise ValueError("not again")
        super().fold(page, desk)


@ON_SQLITE
def test_a_rebuild_that_fails_keeps_the_old_rows_and_says_why(world: World, store: SqlStore):
    one = Forgetful()
    runner = Runner(store, [one])
    task_id = world.task("old")
    runner.catch_up()
    one.cannot = task_id
    with pytest.raises(RebuildFailed, match=r"tasks keeps its old rows: .* before event 1 \(TaskCreated\): not again"):
        runner.rebuild("tasks")
    assert rows_of(store, task_row).keys() == {task_id}
    assert "task_row_next" not in tables_of(store)
    later = world.task("later")
    runner.catch_up()
    assert rows_of(store, task_row).keys() == {task_id, later}
    one.cannot = None
    runner.rebuild("tasks")


@ON_SQLITE
def test_a_projection_that_stopped_goes_on_after_its_rebuild(world: World, store: SqlStore):
    one = Forgetful()
    runner = Runner(store, [one])
    one.cannot = world.task()
    runner.catch_up()
    assert lag_of(runner, "tasks").error
    one.cannot = None
    runner.rebuild("tasks")
    assert last_events(store)["tasks"] == (1, store.read()[0].recorded_at)
    later = world.task()
    runner.catch_up()
    assert later in rows_of(store, task_row)
    assert lag_of(runner, "tasks").error is None


@ON_SQLITE
def test_a_rebuild_that_takes_too_long_goes_on(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr("projections.runner.TROUBLE", 0.01)
    world.task()
    with running(runner):
        assert runner.wait_for(store.head(), timeout=20)
        spoil(store)
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "change_over", lambda *_: False)
            with pytest.raises(TimeoutError, match="it goes on"):
                runner.rebuild("tasks", timeout=0.1)
        runner.rebuild("tasks", timeout=20)
    assert {row["name"] for row in rows_of(store, task_row).values()} == {"train"}


@ON_SQLITE
def test_nobody_waits_for_a_runner_that_has_stopped(world: World, store: SqlStore, runner: Runner, monkeypatch):
    """Neither for a position nor for a rebuild: a server that closes is not held up."""
    world.task()
    stopped = threading.Event()

    def stop(*_: object) -> bool:
        if not stopped.is_set():
            stopped.set()
            threading.Thread(target=runner.stop).start()
        return False

    monkeypatch.setattr(checkpoints, "change_over", stop)
    runner.start()
    with pytest.raises(TimeoutError):
        runner.rebuild("tasks")
    runner.stop()
    assert not runner.wait_for(store.head() + 1, timeout=3600)


@ON_SQLITE
def test_an_unknown_projection_is_refused(runner: Runner):
    with pytest.raises(KeyError):
        runner.rebuild("tsaks")
