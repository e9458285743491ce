"""Whoever owns the database can change it: each such change is named by stream and position."""

from pathlib import Path
from typing import Any

import pytest

from eventstore.audit import proofs
from eventstore.audit.errors import Altered
from eventstore.audit.keys import public_key, public_keys_from
from eventstore.audit.notes import Checkpoint, read
from eventstore.audit.tree import packed
from eventstore.leaf import leaf_of
from eventstore.merkle import WIDTH
from eventstore.schema import EVENT_COLUMNS, checkpoint, event
from eventstore.sql import SqlStore
from tests.eventstore.audited import CONTENT, DIGEST, Log, told

SIXTH = ("changed", 6, "task-1")
OTHER = {
    "stream": "task-x",
    "version": 9,
    "run_id": "another",
    "run_version": 99,
    "type": "TaskFailed",
    "schema": 2,
    "subject": None,
    "from_state": "queued",
    "to_state": "failed",
    "data": "{ }",
    "meta": '{"actor":"bo","command":"ana:key-1"}',
    "recorded_at": 5,
    "leaf": bytes(WIDTH),
    "command_id": "ana:another",
    "ordinal": 7,
}


@pytest.fixture
def log(sql_store: SqlStore, tmp_path: Path) -> Log:
    """12 events that are signed, without the triggers that guard them."""
    log = Log(sql_store, tmp_path)
    log.unguard()
    return log


@pytest.fixture
def sqlite_log(sqlite_url: str, opened: Any, tmp_path: Path) -> Log:
    """The same where what is tried does not depend on the database."""
    log = Log(opened(sqlite_url), tmp_path)
    log.unguard()
    return log


def test_an_untouched_log_is_as_it_was_signed(log: Log):
    log.grow()
    report = log.verify(log.rows("SELECT note FROM checkpoint WHERE start = 4")[0][0])
    assert report.findings == []
    assert (report.events, report.signed, report.unsigned, report.checkpoints) == (16, 12, 4, 3)
    assert (report.contents, report.kept, len(report.keys)) == (1, 1, 1)


def test_every_column_of_an_event(log: Log):
    columns = {column.name for column in event.columns}
    assert {*OTHER, "shard", "position"} == columns
    for column, value in OTHER.items():
        with log.tampered("event", column, value, shard=0, position=6):
            assert log.found() == [SIXTH], column
    assert log.found() == []


def test_an_event_that_was_moved_is_missing_where_it_was_and_named_where_it_is(log: Log):
    for column, value in (("position", 0), ("position", 100), ("shard", 3)):
        with log.tampered("event", column, value, shard=0, position=6):
            findings = log.verify().findings
        assert ("missing", 6, "task-1") in told(findings)
        assert {one.stream for one in findings} <= {"task-1", None}
        place = (3, 6) if column == "shard" else (0, value)
        assert place in {(one.shard, one.position) for one in findings if one.kind != "missing"}


def test_two_events_that_were_swapped(log: Log):
    for position, now in ((6, 1000), (11, 6), (1000, 11)):
        log.tamper("UPDATE event SET position = :now WHERE position = :position", position=position, now=now)
    found = [(one.kind, one.position, one.stream, one.said.split()[-1]) for one in log.verify().findings]
    assert found == [("swapped", 6, "run-1", "0-11"), ("swapped", 11, "task-1", "0-6")]


@pytest.mark.parametrize(("position", "stream"), [(1, "task-0"), (6, "task-1"), (12, "queue-default")])
def test_an_event_that_was_removed(sqlite_log: Log, position: int, stream: str):
    sqlite_log.tamper("DELETE FROM event WHERE position = :position", position=position)
    assert sqlite_log.found() == [("missing", position, stream)]


def test_an_event_that_was_put_in_the_place_of_another(sqlite_log: Log):
    columns = ", ".join(name for name in EVENT_COLUMNS if name not in ("position", "stream", "version"))
    sqlite_log.tamper("DELETE FROM event WHERE position = 6")
    sqlite_log.tamper(
        f"INSERT INTO event (position, stream, version, {columns}, command_id, ordinal)"
        f" SELECT 6, 'task-1', 2, {columns.replace('run_version', '3')}, command_id, 1 FROM event WHERE position = 5"
    )
    assert SIXTH in sqlite_log.found()


def test_an_event_that_was_added_before_all_others(sqlite_log: Log):
    sqlite_log.tamper(
        "INSERT INTO event (shard, position, stream, version, type, schema, data, meta, recorded_at, leaf)"
        " SELECT shard, -1, 'task-9', 1, type, schema, data, '{}', recorded_at, leaf FROM event WHERE position = 5"
    )
    assert sqlite_log.found() == [("added", -1, "task-9")]


def rehashed(log: Log, position: int, data: str) -> bytes:
    """Change an event so that it has the hash that it names."""
    [row] = log.rows(f"SELECT {', '.join(EVENT_COLUMNS[:-1])} FROM event WHERE position = {position}")
    columns = [data if name == "data" else value for name, value in zip(EVENT_COLUMNS, row, strict=False)]
    leaf = leaf_of(tuple(columns))
    log.tamper(f"UPDATE event SET data = :data, leaf = :leaf WHERE position = {position}", data=data, leaf=leaf)
    return leaf


def test_an_event_that_was_changed_along_with_its_hash(sqlite_log: Log):
    rehashed(sqlite_log, 6, '{"lr":1}')
    assert sqlite_log.found() == [SIXTH]


def test_an_event_that_was_changed_along_with_both_copies_of_its_hash(sqlite_log: Log):
    """The signature says that something was changed, and between which checkpoints."""
    leaf = rehashed(sqlite_log, 6, '{"lr":1}')
    [(leaves,)] = sqlite_log.rows("SELECT leaves FROM checkpoint WHERE start = 4")
    forged = leaves[:WIDTH] + leaf + leaves[2 * WIDTH :]
    sqlite_log.tamper("UPDATE checkpoint SET leaves = :forged WHERE start = 4", forged=forged)
    [finding] = sqlite_log.verify().findings
    assert (finding.kind, finding.position) == ("tree", 5)
    assert "the events from 5 to 8" in finding.said


def test_a_text_that_is_none_any_more(sqlite_log: Log):
    sqlite_log.tamper("UPDATE event SET data = CAST(x'fffe' AS TEXT) WHERE position = 6")
    assert sqlite_log.found() == [SIXTH]


@pytest.mark.parametrize("column", ["data", "meta", "leaf", "stream"])
def test_a_value_of_a_kind_that_it_never_has(sqlite_log: Log, column: str):
    value = "text" if column == "leaf" else b"\x00\xff"
    with sqlite_log.tampered("event", column, value, position=6):
        assert {position for _, position, _ in sqlite_log.found()} == {6}


# Checkpoints, tree, keys, content


def checkpoint_rows(log: Log) -> dict[str, Any]:
    """Another value for each column of the checkpoint of 8 events."""
    notes = [row[0] for row in log.rows("SELECT note FROM checkpoint ORDER BY start")]
    [(streams,)] = log.rows("SELECT streams FROM checkpoint WHERE start = 4")
    assert streams != packed('["a","b","c","d"]')
    return {
        "shard": 1,
        "start": 5,
        "size": 9,
        "note": notes[1].replace("\n8\n", "\n9\n"),
        "leaves": bytes(4 * WIDTH),
        "streams": packed('["a","b","c","d"]'),
    }


def test_every_column_of_a_checkpoint(log: Log):
    changes = checkpoint_rows(log)
    assert changes.keys() == {column.name for column in checkpoint.columns}
    for column, value in changes.items():
        with log.tampered("checkpoint", column, value, shard=0, start=4):
            found = [one for one in log.verify().findings if one.kind == "checkpoint"]
            assert found, column
            assert any(word in found[0].said for word in ("of 8 events", "of 9 events", "from 5 to")), found[0].said
    assert log.found() == []


@pytest.mark.parametrize(
    ("note", "said"),
    [
        pytest.param("no note", "is no checkpoint", id="not one"),
        pytest.param("the one of 4", "is that of 4 events", id="another's"),
        pytest.param("unsigned", "is not signed by a known key", id="not signed"),
    ],
)
def test_a_note_that_is_not_the_checkpoints(sqlite_log: Log, note: str, said: str):
    notes: dict[int, str] = dict(sqlite_log.rows("SELECT size, note FROM checkpoint"))
    forged = {"no note": note, "the one of 4": notes[4], "unsigned": notes[8].partition("—")[0]}[note]
    with sqlite_log.tampered("checkpoint", "note", forged, start=4):
        [finding] = sqlite_log.verify().findings
    assert said in finding.said


def test_a_checkpoint_that_was_removed(sqlite_log: Log):
    sqlite_log.tamper("DELETE FROM checkpoint WHERE start = 4")
    [finding] = sqlite_log.verify().findings
    assert (finding.kind, finding.position) == ("checkpoint", 5)
    assert "no checkpoint covers the events from 5 to 8" in finding.said


def test_an_event_behind_a_removed_checkpoint_is_named_all_the_same(sqlite_log: Log):
    sqlite_log.tamper("DELETE FROM checkpoint WHERE start = 4")
    sqlite_log.tamper("UPDATE event SET data = '{ }' WHERE position = 6")
    assert sqlite_log.found() == [("checkpoint", 5, None), SIXTH]


def test_hashes_and_event_are_told_apart_by_the_signature(sqlite_log: Log):
    """Both copies of the hashes cannot be right when they differ: the one that leads to the signed root is."""
    with sqlite_log.tampered("checkpoint", "leaves", bytes(4 * WIDTH), start=4):
        assert sqlite_log.found() == [("checkpoint", None, None)]
    with sqlite_log.tampered("event", "data", "{ }", position=6):
        assert sqlite_log.found() == [SIXTH]


def test_a_key_that_was_changed(sqlite_log: Log):
    [(key,)] = sqlite_log.rows("SELECT key FROM signer")
    with sqlite_log.tampered("signer", "key", str(public_key(bytes(32))), key=key):
        assert sqlite_log.found() == [("checkpoint", None, None)] * 3
    with sqlite_log.tampered("signer", "key", "no key", key=key):
        assert sqlite_log.found()[0] == ("key", None, None)


def test_only_trusted_keys_count(sqlite_log: Log):
    [(key,)] = sqlite_log.rows("SELECT key FROM signer")
    assert sqlite_log.verify(keys=public_keys_from([f"{key} since then"])).findings == []
    assert len(sqlite_log.verify(keys=[public_key(bytes(32))]).findings) == 3


def test_a_node_of_the_tree(sqlite_log: Log):
    sqlite_log.grow_to(2_100)
    sqlite_log.seal()
    assert [row[0] for row in sqlite_log.rows("SELECT number FROM tree_node")] == [0, 1]
    with sqlite_log.tampered("tree_node", "root", bytes(WIDTH), number=1):
        assert [one.said for one in sqlite_log.verify().findings] == [
            "node 1 of the stored tree was changed or removed"
        ]
        with pytest.raises(Altered, match="audit verify"):
            proofs.inclusion(sqlite_log.store.database, 5)
    with sqlite_log.tampered("tree_node", "number", 7, number=0):
        assert len(sqlite_log.found()) == 1
        with pytest.raises(Altered, match="is missing"):
            sqlite_log.new_seals().seal()


def test_content_that_was_changed(sqlite_log: Log):
    with sqlite_log.tampered("content", "data", CONTENT.upper(), digest=DIGEST):
        [finding] = sqlite_log.verify().findings
    assert (finding.kind, DIGEST in finding.said) == ("content", True)


# The end of the log


def test_a_log_that_was_cut_short_is_found_by_a_checkpoint_that_was_kept(log: Log):
    [(kept,)] = log.rows("SELECT note FROM checkpoint WHERE start = 8")
    log.tamper("DELETE FROM event WHERE position > 6")
    log.tamper("DELETE FROM checkpoint WHERE start >= 4")
    assert log.found() == []
    [finding] = log.verify(kept).findings
    assert (finding.kind, finding.position) == ("kept", 7)
    assert "the log ends at event 6: the events up to 12" in finding.said


def test_events_whose_checkpoints_were_not_removed_are_missing(sqlite_log: Log):
    sqlite_log.tamper("DELETE FROM event WHERE position > 10")
    report = sqlite_log.verify()
    assert told(report.findings) == [("missing", 11, "run-1"), ("missing", 12, "queue-default")]
    with pytest.raises(Altered, match="ends at event 10, but 12 were signed"):
        sqlite_log.seals.seal()


def test_a_log_that_was_written_anew_is_found_by_a_checkpoint_that_was_kept(sqlite_log: Log):
    """With the key at hand everything can be made to fit, but for what lies elsewhere."""
    [(kept,)] = sqlite_log.rows("SELECT note FROM checkpoint WHERE start = 8")
    rehashed(sqlite_log, 6, '{"lr":1}')
    sqlite_log.tamper("DELETE FROM checkpoint")
    sqlite_log.seals = sqlite_log.new_seals()
    sqlite_log.seal()
    assert sqlite_log.found() == []
    [finding] = sqlite_log.verify(kept).findings
    assert (finding.kind, finding.said) == ("kept", "the first 12 events are not those of the kept checkpoint")


def test_a_checkpoint_of_another_log_is_told_apart(sqlite_log: Log, tmp_path: Path):
    signer = sqlite_log.new_seals()._signer()
    origin = "foldline/" + 32 * "0" + "/0"
    [finding] = sqlite_log.verify(signer.sign(Checkpoint(origin, 0, 4, bytes(WIDTH), 5))).findings
    assert f"is of another log, {origin}" in finding.said


def test_a_kept_checkpoint_that_nobody_signed(sqlite_log: Log):
    [(kept,)] = sqlite_log.rows("SELECT note FROM checkpoint WHERE start = 8")
    [finding] = sqlite_log.verify(read(kept).checkpoint.text + "\n").findings
    assert "the kept checkpoint of 12 events is not signed by a known key" in finding.said


# What is not signed yet


def test_events_that_are_not_signed_yet_are_checked_by_their_hashes(sqlite_log: Log):
    sqlite_log.grow()
    for column in ("data", "leaf", "stream"):
        with sqlite_log.tampered("event", column, OTHER[column], position=15):
            assert ("changed", 15, "task-x" if column == "stream" else "run-1") in sqlite_log.found()
    assert sqlite_log.found() == []


@pytest.mark.parametrize("column", ["version", "run_version"])
def test_events_that_are_not_signed_yet_follow_on_those_before_them(log: Log, column: str):
    log.grow()
    columns = ", ".join(EVENT_COLUMNS[:-1])
    log.tamper(f"UPDATE event SET {column} = 9 WHERE position = 15")
    [row] = log.rows(f"SELECT {columns} FROM event WHERE position = 15")
    log.tamper("UPDATE event SET leaf = :leaf WHERE position = 15", leaf=leaf_of(tuple(row)))
    [finding] = log.verify().findings
    assert (finding.position, finding.stream) == (15, "run-1")
    assert f"its {column.replace('_', ' ')} is 9, and 8 is not before it" in finding.said


def test_a_gap_among_events_that_are_not_signed_yet(sqlite_log: Log):
    sqlite_log.grow()
    sqlite_log.grow()
    sqlite_log.tamper("DELETE FROM event WHERE position IN (14, 15, 17)")
    found = [one.said for one in sqlite_log.verify().findings if one.kind == "missing"]
    assert len(found) == 2
    assert found[0].endswith("and so are all up to 15")


def test_an_archived_event_is_not_missing(log: Log):
    log.tamper("INSERT INTO archived SELECT shard, position, leaf FROM event WHERE position = 6")
    log.tamper("DELETE FROM event WHERE position = 6")
    report = log.verify()
    assert (report.findings, report.archived, report.events, report.signed) == ([], 1, 11, 12)
    log.tamper("UPDATE archived SET leaf = :leaf", leaf=bytes(WIDTH))
    assert log.found() == [("missing", 6, "task-1")]


def test_findings_beyond_a_thousand_are_counted(sqlite_log: Log):
    sqlite_log.grow_to(1_050)
    sqlite_log.seal()
    sqlite_log.tamper("UPDATE event SET subject = 'another'")
    report = sqlite_log.verify()
    assert (len(report.findings), report.untold) == (1_000, 50)
