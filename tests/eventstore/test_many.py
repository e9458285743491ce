"""An append of many rows, which PostgreSQL gets as arrays: all that can stand in a column, all that is refused."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import postgresql
from eventstore.memory import MemoryStore
from eventstore.store import Append, Delete, NewEvent, Put, Row, Store, VersionConflict, append

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NUMBERS = count()


def whole(store: Store, table: str, **equals: Any) -> list[Row]:
    return in_order(store.append(lambda batch: batch.select(table, **equals)).result())


def in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row.get("task_id") or row["stream"]))


def work(number: int, **fields: Any) -> Row:
    usual = {"task_id": f"t{number}", "shard": 0, "queue": "q", "priority": 0, "position": number, "run_id": None}
    return {**usual, **fields}


def lease(number: int, **fields: Any) -> Row:
    usual = {"shard": 0, "attempt": 1, "agent_id": "a", "session": "s", "seconds": 0.1, "expires_at": 2**60 + number}
    return {"stream": f"task-t{number}", **usual, **fields}


@given(texts=st.lists(TEXTS, min_size=1, max_size=3 * postgresql.FEW), nulls=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_at_once_is_read_as_it_was(sql_store: Store, texts: Sequence[str], nulls: Any):
    run = f"run-{next(NUMBERS)}"
    events = [
        NewEvent(
            stream=f"{run}-{place % 3}",
            type=text or "Happened",
            data=text,
            run_id=run if place % 2 else None,
            subject=None if nulls.random() < 0.5 else text,
            from_state=text if place % 3 else None,
            to_state=None,
            meta=text * 50,
        )
        for place, text in enumerate(texts)
    ]
    written = append(sql_store, events).result()
    assert sql_store.read(after=written[0].position - 1, limit=len(written)) == written
    assert [(row.type, row.data, row.subject, row.meta) for row in written] == [
        (event.type, event.data, event.subject, event.meta) for event in events
    ]


@pytest.mark.parametrize("n", [postgresql.FEW - 1, postgresql.FEW, postgresql.MOST_IN_FLIGHT + postgresql.FEW + 1])
def test_many_rows_are_put_changed_and_taken_away(sql_store: Store, n: int):
    def job(rows: Sequence[Put | Delete]) -> None:
        sql_store.append(lambda batch: [batch.add([], [row]) for row in rows]).result()

    job([Put("work", work(number, priority=-number)) for number in range(n)])
    job([Put("lease", lease(number)) for number in range(n)])
    assert whole(sql_store, "work") == in_order(work(number, priority=-number) for number in range(n))
    job([Put("work", work(number, run_id="r", queue="é'\"\\{},NULL")) for number in range(n)])
    assert whole(sql_store, "work", run_id="r") == whole(sql_store, "work")
    assert {row["queue"] for row in whole(sql_store, "work")} == {"é'\"\\{},NULL"}
    job([Delete("work", {"task_id": f"t{number}"}) for number in range(1, n)])
    assert whole(sql_store, "work") == [work(0, run_id="r", queue="é'\"\\{},NULL")]
    assert whole(sql_store, "lease") == in_order(map(lease, range(n)))


def test_one_that_is_there_already_refuses_them_all(sql_store: Store):
    rows = [{"run_id": "r", "from_version": k, "upto_version": k, "code": "", "outputs": ""} for k in range(20)]
    append(sql_store, [], [Put("decision", rows[7])]).result()
    with pytest.raises(VersionConflict, match="decision"):
        append(sql_store, [], [Put("decision", row) for row in rows]).result()
    events = [NewEvent(stream=f"s-{number}", type="Happened", data="{}") for number in range(20)]
    append(sql_store, [events[7]]).result()
    with pytest.raises(VersionConflict, match="s-7"):
        append(sql_store, events, expect={event.stream: 0 for event in events}).result()
    assert sql_store.head() == 1
    assert len(sql_store.append(lambda batch: batch.select("decision")).result()) == 1
    assert append(sql_store, events[8:]).result()[-1].position == 13


def test_all_stores_come_to_the_same(sql_store: Store):
    def job(batch: Append) -> None:
        for number in range(50):
            event = NewEvent(stream=f"s-{number % 7}", type="Happened", data=f'"{number}"', run_id=f"r{number % 3}")
            batch.add([event], [Put("work", work(number)), Put("content", {"digest": f"d{number % 9}", "data": "x"})])

    memory = MemoryStore()
    for store in (memory, sql_store):
        store.append(job).result()
    both = [[row[:13] for row in store.read(limit=100)] for store in (memory, sql_store)]
    assert both[0] == both[1]
    assert whole(memory, "work") == whole(sql_store, "work")
