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
