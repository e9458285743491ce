"""What only a store with a database under it promises: it lasts, it is guarded, and it outlives that being away."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from eventstore.batches import ShardClosed
from eventstore.errors import CannotOpen, DatabaseInUse, NotADatabase
from eventstore.memory import MemoryStore
from eventstore.pipeline import Pipeline
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent, Put, Store, StoreBroken, StoreUnavailable, VersionConflict, append

LIMIT = 30
ROOT = Path(__file__).parents[2]
INSERT = (
    "INSERT INTO event (shard, position, stream, version, type, schema, data, meta, recorded_at, leaf)"
    " VALUES (0, :position, :stream, :version, 'Happened', 1, '{}', '{}', :at, '')"
)


def event(stream: str, run_id: str | None = None) -> NewEvent:
    return NewEvent(stream=stream, type="Happened", data="{}", run_id=run_id)


def decision() -> Put:
    return Put("decision", {"run_id": "r1", "from_version": 1, "upto_version": 1, "code": "1", "outputs": "hash"})


def insert(store: SqlStore, **fields: object) -> None:
    """An event that went past the store."""
    with store.database.writing() as connection:
        connection.execute(text(INSERT), {"stream": "task-0", "version": 1, "at": 1, **fields})


# It lasts


def test_a_store_opened_again_holds_what_it_held(database_url: str):
    with closing(open_store(database_url)) as store:
        append(store, [event("task-1", "r1")], [decision()], command_id="c1").result()
        events, rows = store.read(), store.select("decision")
    with closing(open_store(database_url)) as store:
        assert (store.read(), store.select("decision"), store.command("c1")) == (events, rows, events)
        with pytest.raises(VersionConflict):
            append(store, [event("task-1", "r1")], expect={"task-1": 0}).result()
        [recorded] = append(store, [event("task-1", "r1")], expect={"task-1": 1}, expect_runs={"r1": 1}).result()
        assert (recorded.position, recorded.version, recorded.run_version) == (2, 2, 2)


def test_a_conflict_found_by_the_index_names_the_stream(database_url: str):
    with closing(open_store(database_url)) as store:
        append(store, [event("task-1", "r1"), event("task-1", "r1")]).result()
    with closing(open_store(database_url)) as store:  # knows no versions yet, so it believes what is expected
        with pytest.raises(VersionConflict) as refused:
            append(store, [event("task-2"), event("task-1")], expect={"task-2": 0, "task-1": 0}).result()
        assert (refused.value.what, refused.value.expected, refused.value.actual) == ("task-1", 0, 2)
        with pytest.raises(VersionConflict) as refused:
            append(store, [event("task-3", "r1")], expect={"task-3": 0}, expect_runs={"r1": 0}).result()
        assert (refused.value.what, refused.value.actual) == ("r1", 2)


def test_a_neighbour_is_not_touched_by_a_conflict_found_at_the_commit(database_url: str):
    with closing(open_store(database_url)) as store:
        append(store, [event("task-1")]).result()
    with closing(open_store(database_url)) as store:
        inside, go_on = threading.Event(), threading.Event()

        def slow(batch) -> None:
            inside.set()
            assert go_on.wait(LIMIT)

        with ThreadPoolExecutor(1) as other:
            other.submit(store.append, slow)
            assert inside.wait(LIMIT)
            futures = [append(store, [event(name)], expect={name: 0}) for name in ("task-0", "task-1", "task-2")]
            go_on.set()
            assert [e.position for e in futures[0].result(LIMIT)] == [2]
            assert isinstance(futures[1].exception(LIMIT), VersionConflict)
            assert [e.position for e in futures[2].result(LIMIT)] == [3]


def test_a_large_append_is_one_transaction(sql_store: SqlStore):
    names = [f"task-{number}" for number in range(5_000)]
    recorded = append(
        sql_store,
        [event(name, "r1") for name in names],
        [Put("content", {"digest": name, "data": "x" * 500}) for name in names],
        expect=dict.fromkeys(names, 0),
    ).result()
    assert sql_store.head() == 5_000
    assert list(sql_store.run("r1")) == recorded
    assert len(sql_store.select("content")) == 5_000


def test_time_never_goes_back(sql_store: SqlStore):
    ahead = 4_000_000_000_000_000
    insert(sql_store, position=1, at=ahead)
    assert [append(sql_store, [event("task-1")]).result()[0].recorded_at for _ in range(2)] == [ahead, ahead]


def test_time_never_goes_back_in_memory():
    times = iter([50, 40, 60])
    store = MemoryStore(clock=lambda: next(times))
    assert [append(store, [event("task-1")]).result()[0].recorded_at for _ in range(3)] == [50, 50, 60]


def test_shards_count_for_themselves(database_url: str):
    with closing(open_store(database_url, shards=3)) as store:
        for shard in (0, 2, 2):
            append(store, [event(f"task-{shard}")], shard=shard).result()
        assert [store.head(shard=shard) for shard in range(3)] == [1, 0, 2]
        assert [(e.shard, e.position) for e in store.read(shard=2)] == [(2, 1), (2, 2)]
        assert store.heads(3) == {0: 1, 1: 0, 2: 2}


# What it costs


def test_an_append_takes_two_round_trips_on_postgresql(
    postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch
):
    store = opened(postgres_url)
    append(store, [event("task-1", "r1")]).result()
    trips: list[str] = []
    for name in ("run", "fetch"):
        monkeypatch.setattr(Pipeline, name, counted(trips, getattr(Pipeline, name)))
    events = [event(stream, "r1") for stream in ("task-1", "task-2", "task-3")]
    expect = {"task-1": 1, "task-2": 0, "task-3": 0}
    append(store, events, [decision()], expect=expect, expect_runs={"r1": 1}, command_id="c1").result()
    assert trips == ["run", "run"]


def counted(trips: list[str], method: Callable[..., object]) -> Callable[..., object]:
    def call(*args: object) -> object:
        trips.append(method.__name__)
        return method(*args)

    return call


def test_an_append_to_known_streams_asks_for_nothing_but_the_head_on_sqlite(
    sqlite_url: str, opened: Callable[[str], SqlStore]
):
    store = opened(sqlite_url)
    append(store, [event("task-1", "r1")]).result()
    said: list[str] = []
    with store.database.writing() as connection:
        raw = connection.connection.driver_connection
    assert raw is not None
    raw.set_trace_callback(lambda statement: said.append(statement.split(" ")[0]))
    append(store, [event("task-1", "r1"), event("task-2", "r1")], expect={"task-1": 1, "task-2": 0}).result()
    raw.set_trace_callback(None)
    assert said == ["BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]


def test_who_runs_on_sqlite_pays_for_no_other_driver_and_for_no_migrations(sqlite_url: str):
    program = (
        "import sys; from eventstore.sql import open_store;"
        f"[open_store({sqlite_url!r}).close() for _ in range(2)];"
        "print(sorted({'psycopg', 'alembic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# It is guarded


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET data = 'x'",
        "UPDATE event SET position = position",
        "DELETE FROM event",
        "UPDATE decision SET outputs = 'x'",
        "DELETE FROM decision",
        "UPDATE content SET data = 'x'",
        "DELETE FROM content",
        "UPDATE archived SET position = 9",
        "DELETE FROM archived",
    ],
)
def test_what_has_happened_cannot_be_changed(sql_store: SqlStore, statement: str):
    append(sql_store, [event("task-1")] * 3, [decision(), Put("content", {"digest": "d", "data": "x"})]).result()
    with sql_store.database.writing() as connection:
        connection.execute(text("INSERT INTO archived (shard, position, leaf) VALUES (0, 7, '')"))
    with pytest.raises(DBAPIError, match="append-only"), sql_store.database.writing() as connection:
        connection.execute(text(statement))
    assert sql_store.head() == 3


def test_sqlite_replaces_no_event(sqlite_url: str, opened: Callable[[str], SqlStore]):
    store = opened(sqlite_url)
    append(store, [event("task-1")]).result()
    statement = INSERT.replace("INSERT", "INSERT OR REPLACE")
    with pytest.raises(DBAPIError, match="append-only"), store.database.writing() as connection:
        connection.execute(text(statement), {"position": 1, "stream": "task-9", "version": 9, "at": 1})


@pytest.mark.parametrize("table", ["event", "archived", "decision", "content"])
def test_postgresql_tables_cannot_be_emptied(postgres_url: str, opened: Callable[[str], SqlStore], table: str):
    store = opened(postgres_url)
    with pytest.raises(DBAPIError, match="append-only"), store.database.writing() as connection:
        connection.execute(text(f"TRUNCATE {table}"))


def test_an_archived_event_may_go_but_not_the_last(sql_store: SqlStore):
    append(sql_store, [event("task-1")] * 3).result()
    with sql_store.database.writing() as connection:
        connection.execute(text("INSERT INTO archived SELECT shard, position, leaf FROM event WHERE position <> 2"))
        connection.execute(text("DELETE FROM event WHERE position = 1"))
    for position in (2, 3):
        with pytest.raises(DBAPIError, match="append-only"), sql_store.database.writing() as connection:
            connection.execute(text(f"DELETE FROM event WHERE position = {position}"))
    assert [e.position for e in sql_store.read()] == [2, 3]


def test_a_writer_without_the_lock_is_found_out(postgres_url: str, opened: Callable[[str], SqlStore]):
    store = opened(postgres_url)

    def job(batch) -> None:
        if not store.head():
            insert(store, position=1)
        batch.add([event("task-1")])

    with pytest.raises(StoreBroken, match="does not hold its lock"):
        store.append(job).result(LIMIT)


def test_a_second_process_cannot_open_a_sqlite_file(sqlite_url: str, tmp_path: Path):
    with closing(open_store(sqlite_url, owner="http://127.0.0.1:8420")):
        with pytest.raises(DatabaseInUse) as refused:
            open_store(sqlite_url)
        assert str(os.getpid()) in str(refused.value)
        assert "http://127.0.0.1:8420" in str(refused.value)
        assert "stop that process" in str(refused.value)
    open_store(sqlite_url).close()


def test_the_hold_on_a_sqlite_file_dies_with_its_process(sqlite_url: str):
    program = (
        "import os, sys; from eventstore.sql import open_store; from eventstore.store import *;"
        f"store = open_store({sqlite_url!r});"
        "append(store, [NewEvent(stream='task-1', type='Happened', data='{}')]).result();"
        "print('ready', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(DatabaseInUse, match=str(holder.pid)):
            open_store(sqlite_url)
    finally:
        holder.kill()
        holder.wait(LIMIT)
        holder.stdin.close()
        holder.stdout.close()
    with closing(open_store(sqlite_url)) as store:
        assert [e.stream for e in store.read()] == ["task-1"]


def test_several_processes_may_open_a_postgresql_database(postgres_url: str, opened: Callable[[str], SqlStore]):
    one, other = opened(postgres_url), opened(postgres_url)
    append(one, [event("task-1", "r1")], expect={"task-1": 0}, expect_runs={"r1": 0}).result()
    append(other, [event("task-1", "r1")], expect={"task-1": 1}, expect_runs={"r1": 1}).result()
    # What `one` remembers of the versions is two commits old, and it takes notice.
    append(other, [event("task-2", "r1")], expect={"task-2": 0}, expect_runs={"r1": 2}).result()
    with pytest.raises(VersionConflict) as refused:
        append(one, [event("task-1", "r1")], expect={"task-1": 1}).result()
    assert refused.value.actual == 2
    [recorded] = append(one, [event("task-1", "r1")], expect={"task-1": 2}, expect_runs={"r1": 3}).result()
    assert (recorded.position, recorded.version, recorded.run_version) == (4, 3, 4)


def test_a_store_that_was_left_far_behind_takes_notice(
    postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("eventstore.sql.MOST_TO_CATCH_UP", 5)
    one, other = opened(postgres_url), opened(postgres_url)
    append(one, [event("task-1")]).result()
    append(other, [event("task-1")] * 10).result()
    [recorded] = append(one, [event("task-1")], expect={"task-1": 11}).result()
    assert (recorded.position, recorded.version) == (12, 12)


# Opening


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("no address", "no database address"),
        ("sqlite:///relative.db", "absolute/path"),
        ("sqlite://", "absolute/path"),
        ("mysql://localhost/db", "absolute/path"),
        ("sqlite:////proc/foldline.db", "choose a file"),
    ],
)
def test_an_address_that_cannot_be_is_named_with_its_cure(url: str, says: str):
    with pytest.raises(CannotOpen, match=says):
        open_store(url)


@pytest.mark.parametrize("url", ["mysql://ana:secret@localhost/db", "postgresql:/ana:secret@localhost/db"])
def test_a_password_is_never_named(url: str):
    with pytest.raises(CannotOpen) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_a_missing_folder_is_made(tmp_path: Path):
    open_store(f"sqlite:///{tmp_path}/deep/down ä #%/log.db").close()
    assert (tmp_path / "deep/down ä #%/log.db").exists()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1000)
    for _ in range(2):  # the lock is free again after a refusal
        with pytest.raises(NotADatabase, match=r"notes\.txt.*choose another file"):
            open_store(f"sqlite:///{path}")
    assert path.read_text() == "dear diary, " * 1000


def test_tables_of_another_program_are_left_alone(database_url: str):
    with closing(open_store(database_url)) as store, store.database.writing() as connection:
        connection.execute(text("DROP TABLE eventstore_version"))
    with pytest.raises(NotADatabase, match="of another program"):
        open_store(database_url)


def test_a_postgresql_server_that_is_away_is_said_to_be():
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        open_store("postgresql://ana@127.0.0.1:1/nothing?connect_timeout=3")


# Beside the log


def test_others_write_and_read_through_the_same_database(sql_store: SqlStore):
    database = sql_store.database
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE seen (position INTEGER)"))
    with database.writing(durable=False) as connection:
        connection.execute(text("INSERT INTO seen VALUES (1)"))
    with database.reading() as connection:
        assert connection.execute(text("SELECT position FROM seen")).scalar() == 1


def test_a_transaction_that_fails_is_undone(sql_store: SqlStore):
    with sql_store.database.writing() as connection:
        connection.execute(text("CREATE TABLE seen (position INTEGER)"))
    with contextlib.suppress(LookupError), sql_store.database.writing() as connection:
        connection.execute(text("INSERT INTO seen VALUES (1)"))
        raise LookupError
    append(sql_store, [event("task-1")]).result()
    with sql_store.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM seen")).scalar() == 0


def test_a_reader_cannot_write(sql_store: SqlStore):
    with pytest.raises(DBAPIError), sql_store.database.reading() as connection:
        connection.execute(text("CREATE TABLE mine (position INTEGER)"))


def test_a_reader_sees_one_moment(sql_store: SqlStore):
    append(sql_store, [event("task-1")]).result()
    count = text("SELECT count(*) FROM event")
    with sql_store.database.reading() as connection:
        assert connection.execute(count).scalar() == 1
        append(sql_store, [event("task-1")]).result()
        assert connection.execute(count).scalar() == 1
    with sql_store.database.reading() as connection:
        assert connection.execute(count).scalar() == 2


def test_a_wrong_statement_is_no_absence_of_the_database(sql_store: SqlStore):
    with pytest.raises((OperationalError, ProgrammingError)), sql_store.database.reading() as connection:
        connection.execute(text("SELECT * FROM unheard_of"))


def test_a_closed_store_says_so(sql_store: SqlStore):
    sql_store.close()
    questions: list[Callable[[], object]] = [
        lambda: append(sql_store, [event("task-1")]),
        sql_store.head,
        sql_store.read,
        lambda: sql_store.stream("task-1"),
        lambda: list(sql_store.run("r1")),
        lambda: sql_store.database.reading().__enter__(),
        lambda: sql_store.database.writing().__enter__(),
    ]
    for question in questions:
        with pytest.raises(ShardClosed, match="the store is closed"):
            question()
    sql_store.close()  # once more does no harm


def test_a_closed_memory_store_says_so():
    store: Store = MemoryStore()
    store.close()
    for question in (store.head, store.read, lambda: append(store, [event("task-1")])):
        with pytest.raises(ShardClosed):
            question()


# Its database goes away and comes back


def connections_cut(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_after_all_connections_were_cut_the_next_call_is_answered(postgres_url: str, opened: Callable[[str], SqlStore]):
    store = opened(postgres_url)
    append(store, [event("task-1")]).result()
    with store.database.reading() as connection:
        connection.execute(text("SELECT 1"))
    for expected in (2, 3):
        connections_cut(postgres_url)
        assert [e.position for e in append(store, [event("task-1")]).result()] == [expected]
        connections_cut(postgres_url)
        assert store.head() == expected
        with store.database.reading() as connection:
            assert connection.execute(text("SELECT count(*) FROM event")).scalar() == expected


def test_a_connection_cut_inside_an_append_fails_it_and_the_next_one_works(
    postgres_url: str, opened: Callable[[str], SqlStore]
):
    store = opened(postgres_url)

    def job(batch) -> None:
        batch.add([event("task-1")])
        connections_cut(postgres_url)

    with pytest.raises(StoreUnavailable):
        store.append(job).result()
    assert store.head() == 0
    assert [e.position for e in append(store, [event("task-1")]).result()] == [1]


def test_a_database_that_is_away_is_said_to_be_and_found_again(postgres_url: str, opened: Callable[[str], SqlStore]):
    store = opened(postgres_url)
    append(store, [event("task-1")]).result()
    name = urlsplit(postgres_url).path.removeprefix("/")
    admin_url, database = postgres_url.replace(f"/{name}", "/postgres"), Identifier(name)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for question in (lambda: append(store, [event("task-1")]).result(), store.head):
            with pytest.raises(StoreUnavailable):
                question()
        with pytest.raises(StoreUnavailable), store.database.reading():
            pass
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))
    assert [e.position for e in append(store, [event("task-1")]).result()] == [2]
    assert store.head() == 2


def test_who_waits_too_long_for_the_lock_is_told(
    postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("eventstore.postgresql.LOCK_TIMEOUT", "50ms")
    one, other = opened(postgres_url), opened(postgres_url)

    def job(batch) -> None:
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            append(other, [event("task-1")]).result(LIMIT)
        batch.add([event("task-1")])

    one.append(job).result(LIMIT)
    assert [e.position for e in append(other, [event("task-1")]).result()] == [2]


def test_a_holder_that_hangs_loses_the_lock(
    postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("eventstore.postgresql.IDLE_TIMEOUT", "50ms")
    one, other = opened(postgres_url), opened(postgres_url)

    def job(batch) -> None:
        batch.add([event("task-1")])
        # As long as this job runs it says nothing to the database: the other one gets the lock nevertheless.
        append(other, [event("task-1")]).result(LIMIT)

    with pytest.raises(StoreUnavailable):
        one.append(job).result(LIMIT)
    assert one.head() == 1
