"""Many rows at once: the same ones come back, whatever is in them and however many they are."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from eventstore.sql import SqlStore
from projections import bulk
from projections.tables import metadata, step_row, task_tag
from tests.projections.rows import rows_of

FEW_AND_MANY = [1, bulk.WORTH_A_COPY + bulk.ROWS_AT_ONCE + 7]
ODD = 'tab\t, line\nline\r, \\N, \\., \\t, "quoted", {braces}, ü, \U0001f600, \x01'


@pytest.fixture(autouse=True)
def _tables(store: SqlStore) -> None:
    with store.database.writing() as connection:
        metadata.create_all(connection, [step_row, task_tag])


def step(number: int, **said: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("run_id", "status", "parents", "artifacts"), "x")
    row: dict[str, Any] = {column.name: None for column in step_row.columns}
    row |= {**texts, "id": f"{number:04}", "number": number, "name": f"s{number}", "reason": "", "attempts": 0}
    row |= {"retries": 0, "timed_out": False, "draft": True, "done": False, "asks_created": False, "was_asked": True}
    return row | said


def steps_in(store: SqlStore) -> list[dict[str, Any]]:
    return list(rows_of(store, step_row).values())


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_what_is_put_in_comes_back(store: SqlStore, count: int):
    rows = [step(number, reason=ODD, stage="", time_limit=0.1) for number in range(count)]
    with store.database.writing() as connection:
        bulk.insert(connection, step_row, rows)
    assert steps_in(store) == rows
    with store.database.reading() as connection:
        wanted = [row["id"] for row in rows[::2]]
        found = bulk.select(connection, step_row, "id", [*wanted, "unknown"])
    assert sorted(found, key=lambda row: row["id"]) == rows[::2]


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_what_is_replaced_is_another_and_what_is_deleted_is_gone(store: SqlStore, count: int):
    with store.database.writing() as connection:
        bulk.insert(connection, step_row, [step(number) for number in range(count)])
    changed = [step(number, reason=ODD, stage="", timed_out=True, started_at=2**62) for number in range(count)]
    with store.database.writing() as connection:
        bulk.replace(connection, step_row, changed)
    assert steps_in(store) == changed
    with store.database.writing() as connection:
        bulk.delete(connection, step_row, [row["id"] for row in changed[1:]])
    assert steps_in(store) == changed[:1]


def test_keys_of_several_columns(store: SqlStore):
    rows = [{"tag": tag, "task_id": task_id} for tag in "ab" for task_id in "cd"]
    with store.database.writing() as connection:
        bulk.insert(connection, task_tag, rows)
        bulk.replace(connection, task_tag, rows)
        bulk.delete(connection, task_tag, [("a", "c"), ("b", "d")])
    assert rows_of(store, task_tag).keys() == {("a", "d"), ("b", "c")}


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_a_row_that_is_there_is_not_put_in_again(store: SqlStore, count: int):
    rows = [step(number) for number in range(count)]
    with store.database.writing() as connection:
        bulk.insert(connection, step_row, rows[-1:])
    with pytest.raises(IntegrityError), store.database.writing() as connection:
        bulk.insert(connection, step_row, rows)
    assert steps_in(store) == rows[-1:]


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_a_table_that_is_not_there_is_told_as_ever(store: SqlStore, count: int):
    with store.database.writing() as connection:
        step_row.drop(connection)
    with pytest.raises((OperationalError, ProgrammingError)), store.database.writing() as connection:
        bulk.insert(connection, step_row, [step(number) for number in range(count)])
