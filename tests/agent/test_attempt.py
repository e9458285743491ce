"""One attempt by itself, where the moment matters."""

import threading

import pytest

from foldline.agent import workspace
from foldline.agent.attempt import Attempt, Ending, Workshop
from foldline.agent.logs import LogShipper
from foldline.agent.spawners import Spawners
from foldline.agent.spool import Spool
from foldline.agent.workspace import shared_environment
from foldline.client import Client
from tests.agent.canned import DEADLINE, inline

SLEEP = "import time; time.sleep(60)"


class Reports:
    def __init__(self):
        self.came = threading.Event()
        self.report = None

    def __call__(self, attempt, report):
        self.report = report
        attempt.put_away()
        self.came.set()


@pytest.fixture
def shop(server, tmp_path):
    environment = shared_environment(server.url, "", "s" * 32)
    with Client(server.url, patience=0.0) as client:
        logs, spawners = LogShipper(client), Spawners(tmp_path, environment)
        yield Workshop(client, Spool(tmp_path / "spool"), logs, spawners, environment, tmp_path / "sources", DEADLINE)
        spawners.close()
        logs.close()


@pytest.fixture
def reports():
    return Reports()


def test_a_stop_while_its_process_is_being_started_ends_that_too(shop, reports, monkeypatch):
    attempt = Attempt(inline(SLEEP), shop, reports)
    sound = workspace.script_command

    def command(*arguments):
        attempt.stop(Ending("enough"))
        return sound(*arguments)

    monkeypatch.setattr(workspace, "script_command", command)
    attempt.start()
    assert reports.came.wait(DEADLINE)
    assert (reports.report["status"], reports.report["reason"]) == ("stopped", "enough")
    assert reports.report["began_at"] is not None


def test_a_stop_before_it_begins_leaves_it_unbegun(shop, reports):
    attempt = Attempt(inline(SLEEP), shop, reports)
    attempt.stop(Ending("enough"))
    attempt.start()
    assert reports.came.wait(DEADLINE)
    assert (reports.report["status"], reports.report["began_at"]) == ("stopped", None)


def test_a_stop_that_comes_too_late_does_not_change_how_it_ended(shop, reports):
    attempt = Attempt(inline("raise SystemExit(3)"), shop, reports)
    attempt.start()
    assert attempt.wait(DEADLINE)
    attempt.stop(Ending("enough"))
    assert reports.came.wait(DEADLINE)
    assert (reports.report["status"], reports.report["reason"]) == ("failed", "exit code 3")


def test_a_stopped_attempt_that_is_lost_before_it_has_ended_is_not_reported(shop, reports):
    attempt = Attempt(
        inline("import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)"), shop, reports
    )
    attempt.start()
    attempt.stop(Ending("enough"))
    attempt.stop(Ending("the agent was silent", status=None))
    attempt.stop(Ending("again"))
    assert reports.came.wait(DEADLINE), "a lost attempt gets no grace"
    assert reports.report is None


def test_an_attempt_without_a_place_on_disk_is_reported_failed(shop, reports, monkeypatch):
    def full(*key):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "attempt", full)
    attempt = Attempt(inline(SLEEP), shop, reports)
    attempt.start()
    assert reports.came.wait(DEADLINE)
    assert reports.report["status"] == "failed"
    assert "No space left on device" in reports.report["reason"]
