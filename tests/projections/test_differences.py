"""One run's rows against its events."""

import pytest
from sqlalchemy import text

from domain.content import Content
from eventstore.sql import SqlStore
from eventstore.store import NewEvent, StoreBroken, append
from projections.differences import Difference, differences
from projections.runner import Runner
from tests.projections.histories import happen
from tests.projections.rows import ON_SQLITE
from tests.projections.world import World, pipeline


@pytest.fixture
def run_id(world: World, runner: Runner) -> str:
    """A run whose first step runs, beside other things; the rows are up to date."""
    world.task("beside", Content(tags=["other"]))
    run_id = world.submit(pipeline({"a": [], "b": ["a"]}), tags=["tagged"])
    world.submit(pipeline({"c": []}))
    world.begin(world.step(run_id, "a"))
    runner.catch_up()
    return run_id


def change(store: SqlStore, statement: str) -> None:
    with store.database.writing() as connection:
        connection.execute(text(statement))


def test_rows_that_were_left_alone_do_not_differ(world: World, store: SqlStore, runner: Runner):
    happen(world, seed=31)
    runner.catch_up()
    assert {run_id: differences(store, run_id) for run_id in world.runs} == {run_id: [] for run_id in world.runs}


PLANTED = [
    ("UPDATE run_row SET status = 'completed'", "run_row", "status", "running", "completed"),
    ("UPDATE run_row SET step_counts = '{}'", "run_row", "step_counts", None, "{}"),
    ("UPDATE run_row SET ended_at = 5", "run_row", "ended_at", None, 5),
    ("UPDATE run_tag SET tag = 'moved'", "run_tag", "", None, None),
    ("UPDATE step_row SET attempts = 7 WHERE name = 'a'", "step_row", "attempts", 1, 7),
    ("DELETE FROM step_row WHERE name = 'b'", "step_row", "", None, None),
    ("UPDATE task_row SET status = 'failed' WHERE name = 'a'", "task_row", "status", "in_progress", "failed"),
    ("UPDATE task_row SET run_id = NULL WHERE name = 'a'", "task_row", "run_id", None, None),
    ("DELETE FROM task_row WHERE name = 'a'", "task_row", "", None, None),
    ("DELETE FROM task_tag WHERE tag = 'template'", "task_tag", "", None, None),
    ("UPDATE timeline SET ended_at = 5 WHERE phase = 'running'", "timeline", "ended_at", None, 5),
    ("DELETE FROM timeline WHERE phase = 'running'", "timeline", "", None, None),
]


@pytest.mark.parametrize(("planted", "table", "column", "expected", "found"), PLANTED, ids=[row[0] for row in PLANTED])
@ON_SQLITE
def test_a_planted_difference_is_named(store: SqlStore, run_id: str, planted, table, column, expected, found):
    change(store, planted)
    named = differences(store, run_id)
    assert {(one.table, one.column) for one in named} == {(table, column)}
    if found is not None:
        assert named[0].found == found
        assert expected is None or named[0].expected == expected


@ON_SQLITE
def test_an_extra_row_is_named(store: SqlStore, run_id: str):
    change(store, "UPDATE step_row SET id = 'planted' WHERE name = 'b'")
    assert {(one.table, one.key, one.column, one.found is None) for one in differences(store, run_id)} == {
        ("step_row", "planted", "", False),
        ("step_row", next(one.key for one in differences(store, run_id) if one.found is None), "", True),
    }


@ON_SQLITE
def test_the_rows_of_others_are_none_of_its_business(store: SqlStore, run_id: str):
    change(store, f"UPDATE run_row SET status = 'failed' WHERE id <> '{run_id}'")
    change(store, "UPDATE task_row SET status = 'failed' WHERE run_id IS NULL")
    assert differences(store, run_id) == []


@ON_SQLITE
def test_rows_that_are_behind_do_not_differ(world: World, store: SqlStore, run_id: str, runner: Runner):
    world.end(world.step(run_id, "a"))
    assert differences(store, run_id) == []
    runner.catch_up()
    assert differences(store, run_id) == []
    change(store, f"UPDATE run_row SET version = version - 1 WHERE id = '{run_id}'")
    assert differences(store, run_id) == [
        Difference("run_row", run_id, "version", world.runs[run_id].version, world.runs[run_id].version - 1)
    ]


@ON_SQLITE
def test_an_event_that_cannot_be_read_is_no_difference(world: World, store: SqlStore, run_id: str):
    append(store, [NewEvent(stream=f"run-{run_id}", type="RunRenamed", data="{}", run_id=run_id)]).result()
    with pytest.raises(StoreBroken, match="RunRenamed"):
        differences(store, run_id)
