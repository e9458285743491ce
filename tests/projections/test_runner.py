"""Following the log: pages and checkpoints, trouble and crashes, waiting and lag."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import Table, text

from domain.queue import QueueCreated
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent, StoreUnavailable, append
from projections import checkpoints, following
from projections.all import PROJECTIONS
from projections.differences import differences
from projections.projection import Page
from projections.queues import Queues
from projections.runner import LINGER, LONGEST_LINGER, Lag, Runner, linger
from projections.sheet import Desk, Sheet
from projections.tables import queue_row, task_row
from tests.projections.histories import happen
from tests.projections.rows import ON_SQLITE, all_rows, rows_of
from tests.projections.world import World
from tests.support.waiting import wait_until


class Killed(BaseException):
    """The process ends here."""


class Broken:
    """A projection of queues that cannot take one of them."""

    name = "broken"
    version = 1
    tables: Sequence[Table] = (queue_row,)
    reads = frozenset[type]((QueueCreated,))

    def __init__(self, cannot: str) -> None:
        self.cannot = cannot

    def fold(self, page: Page, desk: Desk) -> None:
        for entry in page:
            assert isinstance(entry.event, QueueCreated)
            if entry.event.name == self.cannot:
                raise ValueError(f"no room for {entry.event.name}")
            row = {"name": entry.event.name, "position": entry.position, "created_at": entry.at}
            desk.sheet(queue_row).put({**row, "paused_at": None, "paused_by": "", "pause_reason": ""})


def lag_of(runner: Runner, name: str) -> Lag:
    [lag] = [lag for lag in runner.lag() if lag.name == name]
    return lag


@contextmanager
def running(runner: Runner) -> Iterator[Runner]:
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()


def test_it_makes_the_tables_and_follows_what_is_appended(world: World, store: SqlStore, runner: Runner):
    world.task("first")
    with running(runner):
        task_id = world.task("second")
        assert runner.wait_for(store.head(), timeout=20)
        assert rows_of(store, task_row)[task_id]["name"] == "second"


@ON_SQLITE
def test_it_looks_again_although_nobody_called(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr(store, "subscribe", lambda call: lambda: None)
    monkeypatch.setattr("projections.runner.FALLBACK", 0.05)
    with running(runner):
        world.task()
        wait_until(lambda: rows_of(store, task_row), "the row of the task")


def test_it_lingers_the_longer_the_longer_a_round_takes():
    assert linger(0.0) == linger(0.001) == LINGER
    assert linger(0.01) == pytest.approx(0.1)
    assert linger(0.1) == LONGEST_LINGER
    assert linger(2.0) == 2.0  # at least half of the time is the commands'


@ON_SQLITE
def test_who_waits_for_a_position_does_not_wait_for_it_to_linger(
    world: World, store: SqlStore, runner: Runner, monkeypatch
):
    monkeypatch.setattr("projections.runner.linger", lambda took: 3600)
    with running(runner):
        world.task()
        assert runner.wait_for(store.head(), timeout=20)
        world.task()
        assert runner.wait_for(store.head(), timeout=20)


@ON_SQLITE
def test_waiting_ends_without_success_when_nobody_follows(world: World, store: SqlStore, runner: Runner):
    world.task()
    assert not runner.wait_for(store.head(), timeout=0.01)
    runner.catch_up()
    assert runner.wait_for(store.head(), timeout=0)
    assert not runner.wait_for(store.head() + 1, timeout=0.01, names=["tasks"])


@ON_SQLITE
def test_it_can_be_waited_for_one_projection_while_another_has_stopped(world: World, store: SqlStore):
    runner = Runner(store, [Broken("bad"), PROJECTIONS[0]])
    world.queue("bad")
    world.task()
    runner.catch_up()
    assert runner.wait_for(store.head(), timeout=0, names=["tasks"])
    assert runner.stopped(["tasks"]) is None
    # At once: nobody would wake who waits for it.
    assert not runner.wait_for(store.head(), timeout=3600)
    assert runner.stopped(["tasks", "broken"]) == "broken stopped before event 1 (QueueCreated): no room for bad"


@pytest.mark.parametrize("page", [1, 7])
def test_how_the_log_is_cut_into_pages_does_not_matter(sqlite_url: str, page: int, monkeypatch):
    with closing(open_store(sqlite_url)) as store:
        happen(World(store), seed=11, moves=160)
        Runner(store).catch_up()
        whole = all_rows(store)
        with store.database.writing() as connection:
            connection.execute(text("DELETE FROM projection"))
        monkeypatch.setattr(following, "PAGE", page)
        Runner(store).catch_up()
        assert all_rows(store) == whole


# Lag


@ON_SQLITE
def test_lag_is_visible(world: World, store: SqlStore, runner: Runner):
    world.task()
    world.task()
    behind = lag_of(runner, "tasks")
    assert (behind.position, behind.head, behind.lag_events, behind.error) == (0, 2, 2, None)
    assert behind.lag_seconds > 0
    runner.catch_up()
    assert [(lag.position, lag.lag_events, lag.lag_seconds) for lag in runner.lag()] == [(2, 0, 0.0)] * len(PROJECTIONS)
    assert [lag.name for lag in runner.lag()] == [one.name for one in PROJECTIONS]


# Trouble


@ON_SQLITE
def test_a_broken_projection_stops_before_the_event_and_the_others_go_on(world: World, store: SqlStore):
    runner = Runner(store, [Broken("bad"), PROJECTIONS[0]])
    for name in ("good", "bad", "later"):
        world.queue(name)
    task_id = world.task()
    runner.catch_up()
    assert rows_of(store, queue_row).keys() == {"good"}
    assert lag_of(runner, "broken").position == 1
    assert lag_of(runner, "broken").error == "stopped before event 2 (QueueCreated): no room for bad"
    assert lag_of(runner, "tasks").lag_events == 0
    assert task_id in rows_of(store, task_row)


@ON_SQLITE
def test_a_stopped_projection_stays_where_it_is_until_the_program_starts_anew(world: World, store: SqlStore):
    broken = Broken("bad")
    runner = Runner(store, [broken])
    world.queue("bad")
    runner.catch_up()
    broken.cannot = ""
    world.queue("later")
    runner.catch_up()
    assert lag_of(runner, "broken").position == 0
    mended = Runner(store, [broken])
    mended.catch_up()
    assert rows_of(store, queue_row).keys() == {"bad", "later"}
    assert lag_of(mended, "broken").error is None


def test_rows_that_the_database_refuses_stop_their_projection_only(world: World, store: SqlStore, monkeypatch):
    def put_nothing(sheet: Sheet, row: dict[str, Any]) -> None:
        put(sheet, {**row, "created_at": None})  # against NOT NULL

    put = Sheet.put
    runner = Runner(store, [PROJECTIONS[0], Queues()])
    world.queue("good")
    runner.catch_up()
    monkeypatch.setattr(Sheet, "put", put_nothing)
    world.queue("bad")
    runner.catch_up()
    monkeypatch.undo()
    assert lag_of(runner, "queues").position == 1
    assert "stopped before event 2" in (lag_of(runner, "queues").error or "")
    assert lag_of(runner, "tasks").lag_events == 0
    assert rows_of(store, queue_row).keys() == {"good"}


@ON_SQLITE
def test_an_event_of_no_known_kind_stops_them_all(world: World, store: SqlStore, runner: Runner):
    world.queue("before")
    append(store, [NewEvent(stream="queue-x", type="QueueRenamed", data="{}")]).result()
    world.queue("after")
    runner.catch_up()
    assert rows_of(store, queue_row).keys() == {"before"}
    for lag in runner.lag():
        assert (lag.position, lag.lag_events) == (1, 2)
        assert lag.error is not None
        assert "stopped before event 2 (QueueRenamed)" in lag.error


@ON_SQLITE
@pytest.mark.parametrize(("data", "schema"), [("{}", 1), ('{"name": "q"}', 2)], ids=["field missing", "newer schema"])
def test_an_event_that_cannot_be_read_stops_those_that_read_its_kind(
    world: World, store: SqlStore, runner: Runner, data: str, schema: int
):
    append(store, [NewEvent(stream="queue-x", type="QueueCreated", data=data, schema=schema)]).result()
    world.task()
    runner.catch_up()
    assert {lag.name for lag in runner.lag() if lag.error} == {"queues"}
    assert lag_of(runner, "tasks").lag_events == 0


@ON_SQLITE
def test_a_task_that_was_never_created_stops_those_that_would_show_it(world: World, store: SqlStore, runner: Runner):
    append(store, [NewEvent(stream="task-x", type="TaskReset", data="{}")]).result()
    runner.catch_up()
    assert lag_of(runner, "tasks").error == (
        "stopped before event 1 (TaskReset): task x has a TaskReset but was never created"
    )


@ON_SQLITE
def test_a_content_that_is_missing_is_named(store: SqlStore, runner: Runner):
    data = '{"name": "train", "project": "iris", "content": "abc"}'
    append(store, [NewEvent(stream="task-x", type="TaskCreated", data=data)]).result()
    runner.catch_up()
    assert lag_of(runner, "tasks").error == "stopped before event 1 (TaskCreated): content abc is missing"


@ON_SQLITE
def test_it_goes_on_when_the_database_was_away(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr("projections.runner.TROUBLE", 0.01)
    away = True
    reading = store.database.reading

    def unreachable() -> Any:
        if away:
            raise StoreUnavailable("the database does not answer")
        return reading()

    with running(runner):
        monkeypatch.setattr(store.database, "reading", unreachable)
        world.task()
        wait_until(lambda: runner._trouble, "it has noticed")  # pyright: ignore[reportPrivateUsage]
        away = False
        assert runner.wait_for(store.head(), timeout=20)
        assert lag_of(runner, "tasks").error is None


def test_a_table_that_was_dropped_is_made_again(world: World, store: SqlStore, runner: Runner, monkeypatch):
    monkeypatch.setattr("projections.runner.TROUBLE", 0.01)
    first = world.task()
    with running(runner):
        assert runner.wait_for(store.head(), timeout=20)
        with store.database.writing() as connection:
            connection.execute(text("DROP TABLE task_row"))
        second = world.task()
        assert runner.wait_for(store.head(), timeout=20)
    assert rows_of(store, task_row).keys() == {first, second}


# Crashes


def after(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    """`method`, and the end of the process after its `count`th call."""
    calls = iter(range(1, count + 1))

    def killed(*arguments: Any, **named: Any) -> Any:
        answer = method(*arguments, **named)
        if next(calls) == count:
            raise Killed
        return answer

    return killed


@pytest.mark.parametrize(
    ("where", "count"),
    [("tables made", 3), ("page read", 4), ("rows written", 1), ("rows written", 9), ("checkpoint moved", 4)],
)
def test_a_crash_is_harmless(url: str, where: str, count: int, monkeypatch):
    with closing(open_store(url)) as store:
        world = World(store)
        happen(world, seed=5, moves=100)
        monkeypatch.setattr(following, "PAGE", 10)
        targets: dict[str, tuple[Any, str]] = {
            "rows written": (Sheet, "write"),
            "checkpoint moved": (checkpoints, "put"),
            "page read": (following, "read"),
            "tables made": (checkpoints, "_make"),
        }
        target, method = targets[where]
        with monkeypatch.context() as patched:
            patched.setattr(target, method, after(getattr(target, method), count))
            with pytest.raises(Killed):
                Runner(store).catch_up()
    with closing(open_store(url)) as store:
        if where != "tables made":
            # Whatever rows there are, they are those of the position that stands beside them.
            assert [found for run_id in world.runs for found in differences(store, run_id)] == []
        Runner(store).catch_up()
        found = all_rows(store)
        with store.database.writing() as connection:
            connection.execute(text("DELETE FROM projection"))
        Runner(store).catch_up()
        assert found == all_rows(store)


# Versions and other processes


@ON_SQLITE
def test_rows_that_other_code_made_are_made_anew(world: World, store: SqlStore, runner: Runner):
    world.queue("default")
    runner.catch_up()
    with store.database.writing() as connection:
        connection.execute(text("UPDATE queue_row SET created_at = 1"))
        connection.execute(text("UPDATE projection SET version = 0 WHERE name = 'queues'"))
    newer = Runner(store)
    newer.catch_up()
    assert rows_of(store, queue_row)["default"]["created_at"] > 1
    assert lag_of(newer, "queues").lag_events == 0


@ON_SQLITE
def test_a_projection_leaves_its_rows_to_a_newer_version_of_it(world: World, store: SqlStore, runner: Runner):
    world.queue("first")
    runner.catch_up()
    newer = Broken("")
    newer.name, newer.version = "queues", Queues.version + 1
    Runner(store, [newer]).catch_up()
    world.queue("second")
    for _ in range(3):  # it has to notice first
        runner.step()
    assert rows_of(store, queue_row).keys() == {"first"}


@pytest.mark.postgres
def test_two_processes_follow_the_same_log(postgres_url: str, monkeypatch):
    monkeypatch.setattr(following, "PAGE", 10)
    with closing(open_store(postgres_url)) as store, closing(open_store(postgres_url)) as other:
        world = World(store)
        first, second = Runner(store), Runner(other)
        with running(first), running(second):
            happen(world, seed=6, moves=100)
            assert first.wait_for(store.head(), timeout=20)
            assert second.wait_for(store.head(), timeout=20)
        found = all_rows(store)
        for one in PROJECTIONS:
            second.rebuild(one.name)
        assert all_rows(store) == found
