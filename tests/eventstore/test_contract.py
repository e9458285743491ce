"""The promise (eventstore/store.py), on every store, the only shard or one of several: one caller at a time.

Races are in test_storm.
"""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import pytest
from msgspec.structs import replace

from eventstore.appending import told_of
from eventstore.leaf import leaf_hash
from eventstore.store import Delete, NewEvent, Put, Recorded, Store, VersionConflict, append
from tests.eventstore.sharded import MINE, SHARDS, OnShard, store_of

STARTED = NewEvent(
    stream="task-1", type="TaskStarted", data='{"agent":"a1"}', subject="train", from_state="queued", to_state="running"
)


@pytest.fixture(params=[(kind, shards) for shards in (1, SHARDS) for kind in ("memory", "sqlite", "postgres")], ids=str)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    kind, shards = request.param
    with closing(store_of(request, kind, shards)) as store:
        yield store if shards == 1 else OnShard(store)


def event(stream: str, run_id: str | None = None) -> NewEvent:
    return NewEvent(stream=stream, type="Happened", data="{}", run_id=run_id)


def work(task_id: str, **fields: str | int | None) -> Put:
    row = {"task_id": task_id, "shard": 0, "queue": "default", "priority": 0, "position": 1, "run_id": None}
    return Put("work", {**row, **fields})


def decision(run_id: str, first: int, outputs: str = "hash") -> Put:
    return Put(
        "decision",
        {"run_id": run_id, "from_version": first, "upto_version": first, "code": "1", "outputs": outputs},
    )


def content(text: str) -> Put:
    return Put("content", {"digest": sha256(text.encode()).hexdigest(), "data": text})


def positions(events) -> list[int]:
    return [recorded.position for recorded in events]


# Events


def test_an_event_comes_back_as_it_was_given(store: Store):
    given = replace(STARTED, data='{"text": "ä ✓ \\u0000 \'\\""}', meta='{"actor":"ana"}', schema=3, run_id="r1")
    [recorded] = append(store, [given]).result()
    assert store.read() == [recorded]
    assert store.stream("task-1") == [recorded]
    assert {name: getattr(recorded, name) for name in NewEvent.__struct_fields__} == {
        name: getattr(given, name) for name in NewEvent.__struct_fields__
    }
    shard = MINE if isinstance(store, OnShard) else 0
    assert (recorded.shard, recorded.position, recorded.version, recorded.run_version) == (shard, 1, 1, 1)


def test_what_is_not_given_is_none(store: Store):
    append(store, [event("task-1")]).result()
    [recorded] = store.read()
    assert (recorded.run_id, recorded.run_version, recorded.subject, recorded.from_state) == (None, None, None, None)
    assert recorded.meta == "{}"


def test_positions_count_the_shard_and_versions_the_stream(store: Store):
    append(store, [event("task-1"), event("task-2"), event("task-1")]).result()
    append(store, [event("task-2")]).result()
    assert [(e.position, e.stream, e.version) for e in store.read()] == [
        (1, "task-1", 1),
        (2, "task-2", 1),
        (3, "task-1", 2),
        (4, "task-2", 2),
    ]
    assert store.head() == 4


def test_run_versions_count_all_streams_of_a_run(store: Store):
    append(store, [event("run-1", "r1"), event("task-1", "r1"), event("task-9"), event("task-2", "r2")]).result()
    append(store, [event("task-1", "r1"), event("run-1", "r1")]).result()
    assert [(e.stream, e.run_version) for e in store.run("r1")] == [
        ("run-1", 1),
        ("task-1", 2),
        ("task-1", 3),
        ("run-1", 4),
    ]
    assert [e.run_version for e in store.run("r2")] == [1]
    assert store.stream("task-9")[0].run_version is None


def test_an_append_of_nothing_leaves_nothing(store: Store):
    assert append(store, []).result() == []
    assert store.head() == 0


def test_leaf_hashes_are_those_of_the_columns(store: Store):
    append(store, [replace(STARTED, run_id="r1"), event("task-2")]).result()
    for recorded in store.read():
        assert recorded.leaf == leaf_hash(*recorded[:-1])
    assert len({recorded.leaf for recorded in store.read()}) == 2


def test_all_events_of_a_batch_have_its_time(store: Store):
    seen: list[int] = []

    def job(batch):
        seen.append(batch.now)
        return [*batch.add([event("task-1"), event("task-2")]), *batch.add([event("task-1")])]

    recorded = store.append(job).result()
    assert {e.recorded_at for e in recorded} == set(seen)


# Expected versions


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_another_version_than_the_expected_one_is_a_conflict(store: Store, expected: int):
    append(store, [event("task-1"), event("task-1")]).result()
    with pytest.raises(VersionConflict) as refused:
        append(store, [event("task-1")], expect={"task-1": expected}).result()
    assert (refused.value.what, refused.value.expected, refused.value.actual) == ("task-1", expected, 2)
    assert store.head() == 2


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_another_run_version_than_the_expected_one_is_a_conflict(store: Store, expected: int):
    append(store, [event("task-1", "r1"), event("task-2", "r1")]).result()
    with pytest.raises(VersionConflict) as refused:
        append(store, [event("task-3", "r1")], expect_runs={"r1": expected}).result()
    assert (refused.value.what, refused.value.actual) == ("r1", 2)


def test_expected_versions_are_met(store: Store):
    append(store, [event("task-1", "r1")], expect={"task-1": 0}, expect_runs={"r1": 0}).result()
    append(store, [event("task-1", "r1")], expect={"task-1": 1}, expect_runs={"r1": 1}).result()
    assert [e.version for e in store.stream("task-1")] == [1, 2]


@pytest.mark.parametrize("expected", [0, 2])
def test_a_stream_that_is_not_written_can_be_expected_too(store: Store, expected: int):
    append(store, [event("run-1")]).result()
    with pytest.raises(VersionConflict, match="run-1"):
        append(store, [event("task-1")], expect={"run-1": expected}).result()
    append(store, [event("task-1")], expect={"run-1": 1, "task-2": 0}).result()
    assert store.head() == 2


def test_several_streams_are_appended_to_all_or_none(store: Store):
    append(store, [event("task-1")]).result()
    with pytest.raises(VersionConflict):
        append(
            store,
            [event("task-2"), event("task-1")],
            [work("2"), content("text")],
            expect={"task-2": 0, "task-1": 0},
            command_id="c1",
        ).result()
    assert store.head() == 1
    assert store.stream("task-2") == []
    assert store.select("work") == []
    assert store.select("content") == []
    assert store.command("c1") == []


def test_versions_are_known_inside_the_append(store: Store):
    append(store, [event("task-1", "r1")]).result()

    def job(batch):
        before = (batch.head, batch.version("task-1"), batch.version("task-2"), batch.run_version("r1"))
        batch.add([event("task-1", "r1"), event("task-2", "r1")])
        return before, (batch.head, batch.version("task-1"), batch.version("task-2"), batch.run_version("r1"))

    assert store.append(job).result() == ((1, 1, 0, 1), (3, 2, 1, 3))


# Reading


def test_a_page_begins_after_a_position_and_has_a_limit(store: Store):
    append(store, [event("task-1") for _ in range(10)]).result()
    assert positions(store.read(after=3, limit=4)) == [4, 5, 6, 7]
    assert positions(store.read(after=8)) == [9, 10]
    assert store.read(after=10) == []


def test_a_stream_is_read_from_a_version_on(store: Store):
    append(store, [event(f"task-{number % 2}") for number in range(10)]).result()
    assert [e.version for e in store.stream("task-1", after=2)] == [3, 4, 5]
    assert [e.version for e in store.stream("task-1", after=1, limit=2)] == [2, 3]
    assert store.stream("task-7") == []


def test_a_run_is_read_in_pages_between_two_run_versions(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eventstore.reads.PAGE", 3)
    append(store, [event(f"task-{number}", "r1" if number % 2 else "r2") for number in range(20)]).result()
    assert [e.run_version for e in store.run("r1")] == list(range(1, 11))
    assert [e.run_version for e in store.run("r1", after=4, upto=9)] == [5, 6, 7, 8, 9]
    assert list(store.run("r1", after=4, upto=4)) == []
    assert list(store.run("r3")) == []


def test_what_is_told_of_a_run_is_what_its_events_say(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eventstore.reads.PAGE", 3)
    append(store, [replace(STARTED, stream=f"task-{number}", run_id="r1") for number in range(10)]).result()
    for after, upto in ((0, None), (4, 9), (4, 4)):
        events = store.run("r1", after=after, upto=upto)
        assert list(store.told("r1", after=after, upto=upto)) == [told_of(e) for e in events]
    assert list(store.told("r2")) == []

    def job(batch):
        batch.add([event("task-1", "r1")])
        return list(batch.told("r1")), [told_of(e) for e in batch.run("r1")]

    told, expected = store.append(job).result()
    assert told == expected
    assert len(told) == 11


def test_streams_are_found_by_their_prefix(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eventstore.reads.PAGE", 2)
    names = ["queue-b", "queue-a", "queue-ä", "queue-B", "queue-", "queue", "queues", "task-1", "run-1"]
    append(store, [event(name) for name in names * 2]).result()
    assert [(e.stream, e.version) for e in store.streams("queue-")] == [
        (name, version) for name in ["queue-", "queue-B", "queue-a", "queue-b", "queue-ä"] for version in (1, 2)
    ]
    assert list(store.streams("agent-")) == []


def test_an_open_append_sees_what_it_has_added(store: Store):
    append(store, [event("task-1", "r1")], [work("1")], command_id="c1").result()

    def job(batch):
        batch.add([event("task-1", "r1"), event("task-2", "r1")], [work("2")], command_id="c2")
        return {
            "stream": [e.version for e in batch.stream("task-1")],
            "run": [e.run_version for e in batch.run("r1")],
            "command": positions(batch.command("c2")),
            "earlier command": positions(batch.command("c1")),
            "committed": positions(batch.read()),
            "committed streams": [e.stream for e in batch.streams("task-")],
            "committed rows": [row["task_id"] for row in batch.select("work")],
        }

    assert store.append(job).result() == {
        "stream": [1, 2],
        "run": [1, 2, 3],
        "command": [2, 3],
        "earlier command": [1],
        "committed": [1],
        "committed streams": ["task-1"],
        "committed rows": ["1"],
    }


# Commands


def test_a_command_is_found_by_its_id(store: Store):
    append(store, [event("task-1")], command_id="other").result()
    recorded = append(store, [event("task-1"), event("task-2")], command_id="c1").result()
    assert store.command("c1") == recorded
    assert store.command("c2") == []


def test_a_command_may_add_more_than_once(store: Store):
    def job(batch):
        batch.add([event("task-1")], command_id="c1")
        batch.add([event("task-2")])
        batch.add([event("task-3"), event("task-4")], command_id="c1")

    store.append(job).result()
    assert [e.stream for e in store.command("c1")] == ["task-1", "task-3", "task-4"]


def test_a_command_is_carried_out_once(store: Store):
    append(store, [event("task-1")], command_id="c1").result()
    with pytest.raises(VersionConflict, match=r"command.* is there already"):
        append(store, [event("task-2")], command_id="c1").result()
    assert store.head() == 1


def test_a_command_that_left_nothing_may_be_tried_again(store: Store):
    with pytest.raises(VersionConflict):
        append(store, [event("task-1")], expect={"task-1": 5}, command_id="c1").result()
    append(store, [event("task-1")], command_id="c1").result()
    assert len(store.command("c1")) == 1


# Inline rows


def test_rows_commit_with_the_events(store: Store):
    append(store, [event("task-1")], [work("b"), work("a", queue="gpu", run_id="r1")]).result()
    assert [dict(row) for row in store.select("work")] == [
        {"task_id": "a", "shard": 0, "queue": "gpu", "priority": 0, "position": 1, "run_id": "r1"},
        {"task_id": "b", "shard": 0, "queue": "default", "priority": 0, "position": 1, "run_id": None},
    ]


def test_rows_are_selected_by_values(store: Store):
    append(store, [], [work("a", queue="gpu"), work("b"), work("c", queue="gpu", run_id="r1")]).result()
    assert [row["task_id"] for row in store.select("work", queue="gpu")] == ["a", "c"]
    assert [row["task_id"] for row in store.select("work", queue="gpu", run_id=None)] == ["a"]
    assert store.select("work", queue="cpu") == []


def test_rows_are_ordered_by_the_bytes_of_their_key(store: Store):
    append(store, [], [work(name) for name in ["b", "ä", "A", "a", "-a", "B"]]).result()
    assert [row["task_id"] for row in store.select("work")] == ["-a", "A", "B", "a", "b", "ä"]


def test_a_row_replaces_the_one_with_its_key(store: Store):
    append(store, [], [work("a", priority=1)]).result()
    append(store, [], [work("a", priority=2), work("a", priority=3)]).result()
    assert [row["priority"] for row in store.select("work")] == [3]


def test_the_last_change_of_a_row_wins(store: Store):
    gone = Delete("work", {"task_id": "a"})
    append(store, [], [work("a"), gone]).result()
    assert store.select("work") == []
    append(store, [], [gone, work("a")]).result()
    assert len(store.select("work")) == 1
    append(store, [], [gone, gone, Delete("work", {"task_id": "unknown"})]).result()
    assert store.select("work") == []


def test_columns_not_given_are_null(store: Store):
    row = {"task_id": "a", "shard": 0, "queue": "default", "priority": 0, "position": 1}
    append(store, [], [Put("work", row)]).result()
    assert store.select("work")[0]["run_id"] is None


def test_leases_keep_their_numbers(store: Store):
    row = {
        "stream": "task-1", "shard": 0, "attempt": 2, "agent_id": "a", "session": "s",
        "seconds": 2.5, "expires_at": 1_900_000_000_000_000,
    }  # fmt: skip
    append(store, [], [Put("lease", row)]).result()
    assert [dict(found) for found in store.select("lease", stream="task-1")] == [row]


def test_a_second_decision_from_the_same_version_is_a_conflict(store: Store):
    append(store, [event("run-1", "r1")], [decision("r1", 1)]).result()
    with pytest.raises(VersionConflict, match=r"decision.* is there already"):
        append(store, [event("run-1", "r1")], [decision("r1", 1, "another")]).result()
    assert [row["outputs"] for row in store.select("decision", run_id="r1")] == ["hash"]
    assert store.head() == 1


def test_two_decisions_from_the_same_version_in_one_append_are_a_conflict(store: Store):
    with pytest.raises(VersionConflict):
        append(store, [event("run-1", "r1")], [decision("r1", 1), decision("r1", 1)]).result()
    assert store.head() == 0


def test_the_same_content_may_be_put_again(store: Store):
    append(store, [], [content('{"a":1}'), content('{"a":1}')]).result()
    append(store, [], [content('{"a":1}'), content("[]")]).result()
    assert len(store.select("content")) == 2
    assert store.content(sha256(b'{"a":1}').hexdigest()) == '{"a":1}'
    assert store.content("unknown") is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (Put("event", {"shard": 0}), "no inline table"),
        (Put("work", {"task_id": "a", "colour": "red"}), "no column colour"),
        (Delete("decision", {"run_id": "r1", "from_version": 1}), "never deleted"),
        (Put("content", {"digest": "d", "data": "a\0b"}), "no NUL"),
    ],
)
def test_a_row_that_cannot_be_is_an_error_of_its_writer(store: Store, row: Put | Delete, says: str):
    with pytest.raises(ValueError, match=says):
        append(store, [event("task-1")], [row]).result()
    assert store.head() == 0


@pytest.mark.parametrize("field", ["stream", "type", "run_id", "subject", "data"])
def test_text_with_a_nul_is_refused(store: Store, field: str):
    with pytest.raises(ValueError, match="no NUL"):
        append(store, [replace(STARTED, **{field: "a\0b"})]).result()
    assert store.head() == 0


def test_an_unknown_table_or_column_cannot_be_selected(store: Store):
    with pytest.raises(ValueError, match="no inline table"):
        store.select("event")
    with pytest.raises(ValueError, match="no column colour"):
        store.select("work", colour="red")


# Jobs


def test_a_job_that_raises_leaves_nothing(store: Store):
    def job(batch):
        batch.add([event("task-1", "r1")], [work("1")], command_id="c1")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        store.append(job).result()
    assert (store.head(), store.select("work"), store.command("c1")) == (0, [], [])
    assert [e.version for e in append(store, [event("task-1", "r1")]).result()] == [1]


def test_a_job_may_go_on_after_a_conflict(store: Store):
    append(store, [event("task-1")]).result()

    def job(batch):
        with pytest.raises(VersionConflict):
            batch.add([event("task-1"), event("task-2")], expect={"task-1": 5})
        return batch.add([event("task-2")])

    assert [(e.stream, e.position) for e in store.append(job).result()] == [("task-2", 2)]


def test_callbacks_run_after_the_commit_and_before_the_answer(store: Store):
    seen: list[tuple[int, bool]] = []

    def job(batch):
        batch.add([event("task-1")])
        batch.on_commit(lambda: seen.append((store.head(), future_is_done())))

    def future_is_done() -> bool:
        return bool(futures) and futures[0].done()

    futures: list = []
    future = store.append(job)
    futures.append(future)
    future.result()
    assert seen == [(1, False)]


def test_callbacks_of_what_did_not_commit_never_run(store: Store):
    seen: list[str] = []

    def job(batch):
        batch.add([event("task-1")])
        batch.on_commit(lambda: seen.append("ran"))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.append(job).result()
    append(store, [event("task-1")]).result()
    assert seen == []


def test_a_callback_that_fails_does_not_unmake_the_commit(store: Store, caplog: pytest.LogCaptureFixture):
    def job(batch) -> list[Recorded]:
        batch.on_commit(lambda: 1 // 0)
        return batch.add([event("task-1")])

    assert positions(store.append(job).result()) == [1]
    assert store.head() == 1
    assert "a callback failed" in caplog.text
