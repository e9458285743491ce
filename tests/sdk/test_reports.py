"""Scalars and console output while the server refuses, forgets or is away."""

import sys

import pytest

from foldline.client import Client
from foldline.console import Console
from foldline.logger import Logger
from tests.sdk.canned import Answer, Canned

SCALARS = "tasks/t/scalars"
LOGS = "tasks/t/logs"


def impatient(canned: Canned) -> Client:
    return Client(canned.url, patience=0)


def test_points_wait_for_a_server_that_is_away_and_keep_their_order(canned: Canned, caplog: pytest.LogCaptureFixture):
    canned.on("POST", SCALARS, Answer(503, {"detail": "starting"}), Answer(204))
    with impatient(canned) as client:
        logger = Logger(client, "t")
        logger.report_scalar("loss", "train", 1, 1)
        assert logger.flush() is False
        assert "wait for the server" in caplog.text
        logger.report_scalar("loss", "train", 2, 2)
        assert logger.flush() is True
    assert [point["iteration"] for point in canned.asked[-1].json()["points"]] == [1, 2]


def test_points_that_are_refused_are_dropped_with_a_warning(canned: Canned, caplog: pytest.LogCaptureFixture):
    canned.on("POST", SCALARS, Answer(422, {"detail": "a control character"}))
    with impatient(canned) as client:
        logger = Logger(client, "t")
        logger.report_scalar("\a", "train", 1, 1)
        assert logger.flush() is True
        assert logger.flush() is True
    assert "1 scalars of task t were refused: a control character" in caplog.text
    assert len(canned.asked) == 1


def test_many_points_go_in_batches(canned: Canned):
    canned.on("POST", SCALARS, Answer(204))
    with impatient(canned) as client:
        logger = Logger(client, "t")
        for step in range(2500):
            logger.report_scalar("loss", "train", step, step)
        assert logger.flush() is True
    sent = [asked.json()["points"] for asked in canned.asked]
    assert [point["iteration"] for batch in sent for point in batch] == list(range(2500))
    assert max(map(len, sent)) <= 1000


def test_the_console_is_shown_and_kept(canned: Canned, capsys: pytest.CaptureFixture[str]):
    canned.on("POST", LOGS, Answer(200, {"offset": 11}))
    with impatient(canned) as client:
        console = Console(client, "t", 3)
        shown = sys.stdout
        print("wörld")
        sys.stdout.writelines(["a", "b"])
        assert shown.isatty() is False
        console.close()
        assert sys.stdout is not shown
        print("afterwards")
    assert capsys.readouterr().out == "wörld\nabafterwards\n"
    assert b"".join(asked.content for asked in canned.asked) == "wörld\nab".encode()
    assert canned.asked[0].query == "attempt=3&offset=0"


def test_a_console_goes_on_where_the_server_stands(canned: Canned, capsys: pytest.CaptureFixture[str]):
    canned.on("POST", LOGS, Answer(409, {"detail": "a gap", "offset": 4}), Answer(200, {"offset": 7}))
    with impatient(canned) as client:
        console = Console(client, "t", 1)
        print("hi")
        console.close()
    assert [asked.query for asked in canned.asked] == ["attempt=1&offset=0", "attempt=1&offset=4"]


def test_a_console_that_nobody_wants_is_still_a_console(canned: Canned, capsys: pytest.CaptureFixture[str]):
    canned.on("POST", LOGS, Answer(409, {"detail": "another attempt"}))
    with impatient(canned) as client:
        console = Console(client, "t", 1)
        print("hi")
        console.close()
        print("there")
    assert capsys.readouterr().out == "hi\nthere\n"
    assert len(canned.asked) == 1
