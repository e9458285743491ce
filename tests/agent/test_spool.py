import logging
import os

import pytest

from foldline.agent import spool
from foldline.agent.spool import Spool

REPORT = {"task_id": "a" * 32, "attempt": 2, "status": "failed", "reason": "exit code 3"}


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, logger="foldline.agent")
    return caplog


def test_a_report_is_synced_before_anybody_tries_to_deliver_it(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_size)

    kept = Spool(tmp_path / "s")
    monkeypatch.setattr(os, "fsync", fsync)
    kept.keep([REPORT, REPORT])
    [size] = synced
    assert size == (tmp_path / "s" / spool.REPORTS).stat().st_size > 0
    kept.close()


def test_a_session_that_has_delivered_all_leaves_nothing(tmp_path):
    kept = Spool(tmp_path / "s")
    kept.attempt("a" * 32, 1).joinpath("log").write_text("said")
    kept.keep([REPORT])
    kept.forget()
    kept.close()
    assert spool.old_sessions(tmp_path) == []


def test_an_outcome_that_nobody_was_told_is_told_of_when_it_is_dropped(tmp_path, told):
    kept = Spool(tmp_path / "s")
    kept.keep([REPORT])
    kept.close()
    assert spool.old_sessions(tmp_path) == ["s"]
    spool.clear(tmp_path, "s")
    assert "attempt 2 of task aaaa" in told.text
    assert "ended failed (exit code 3)" in told.text
    assert spool.old_sessions(tmp_path) == []


def test_what_was_delivered_before_a_crash_is_not_told_of(tmp_path, told):
    kept = Spool(tmp_path / "s")
    kept.keep([REPORT])
    kept.forget()
    kept.keep([REPORT | {"attempt": 3}])
    spool.clear(tmp_path, "s")
    assert told.text.count("dropped:") == 1
    assert "attempt 3" in told.text
    kept.close()


def test_delivered_reports_do_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "LARGE", 1000)
    kept, sizes = Spool(tmp_path / "s"), []
    for _ in range(50):
        kept.keep([REPORT])
        sizes.append((tmp_path / "s" / spool.REPORTS).stat().st_size)
        kept.forget()
    assert max(sizes) < 1500
    kept.close()


def test_a_disk_without_room_for_a_line_more_forgets_too(tmp_path, told, monkeypatch):
    kept = Spool(tmp_path / "s")
    kept.keep([REPORT])

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_write_all", full)
    kept.forget()
    spool.clear(tmp_path, "s")
    assert "dropped:" not in told.text
    kept.close()


def test_a_line_cut_off_by_a_crash_does_not_hide_those_before_it(tmp_path, told):
    kept = Spool(tmp_path / "s")
    kept.keep([REPORT])
    kept.close()
    with (tmp_path / "s" / spool.REPORTS).open("a") as file:
        file.write('{"task_id": "bbb')
    spool.clear(tmp_path, "s")
    assert told.text.count("dropped:") == 1


def test_an_agent_without_a_past_has_no_old_sessions(tmp_path):
    assert spool.old_sessions(tmp_path / "new") == []
