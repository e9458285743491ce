"""Reports on their way: waiting, refused, forked, put into the log alone; and read back from the server."""

import json
import logging
import os
import sys

import pytest

from foldline import Logger, Task
from foldline.client import Client
from foldline.console import Console
from foldline.reports.outbox import Outbox
from tests.sdk.canned import Answer, Canned

PLOTS, LOGS = "tasks/t/plots", "tasks/t/logs"


def test_plots_wait_for_a_server_that_is_away_and_are_dropped_when_refused(
    canned: Canned, caplog: pytest.LogCaptureFixture
):
    canned.on("HEAD", "blobs/*", Answer(200))
    canned.on("POST", PLOTS, Answer(503, {"detail": "starting"}), Answer(422, {"detail": "no"}), Answer(201, {}))
    with Client(canned.url, patience=0) as client:
        logger = Logger(client, "t")
        logger.report_plotly("a", "first", {"data": []})
        assert logger.flush() is False
        logger.report_plotly("a", "second", {"data": []})
        assert logger.flush() is True
    told = [asked.json()["series"] for asked in canned.to("POST", PLOTS)]
    assert told == ["first", "first", "second"]
    assert "plot a/first of task t could not be kept: no" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_waits_is_the_parents_to_send_not_its_childs(canned: Canned):
    with Client(canned.url, patience=0) as client:
        outbox = Outbox(client, "t")
        outbox.every = None
        outbox.add_point("a", "b", 1, 1.0)
        child = os.fork()
        if child == 0:
            os._exit(0 if outbox.send() else 1)  # nothing waits here: nobody is asked
        assert os.waitpid(child, 0)[1] == 0
        assert canned.asked == []


def test_text_goes_to_the_console_or_to_the_log_alone(canned: Canned, capsys: pytest.CaptureFixture[str]):
    canned.on("POST", LOGS, Answer(200, {"offset": 100}))
    with Client(canned.url, patience=0) as client:
        logger = Logger(client, "t")
        logger.report_text("before", print_console=False)
        console = Console(client, "t", 1)
        logger.report_text("%d of %s", logging.INFO, True, 1, "two")
        logger.report_text("quiet", print_console=False)
        with logger.capture_logging():
            print("loud")
        console.close()
    assert capsys.readouterr().out == "before\n1 of two\nloud\n"
    assert b"".join(asked.content for asked in canned.asked) == b"1 of two\nquiet\nloud\n"


def test_a_handler_of_logging_that_was_there_before_writes_into_the_log_too(
    canned: Canned, capsys: pytest.CaptureFixture[str]
):
    canned.on("POST", LOGS, Answer(200, {"offset": 100}))
    handler = logging.StreamHandler(sys.stderr)
    named = logging.getLogger("tests.a.handler")
    named.addHandler(handler)
    try:
        with Client(canned.url, patience=0) as client:
            console = Console(client, "t", 1)
            named.warning("here")
            console.close()
            named.warning("afterwards")
    finally:
        named.removeHandler(handler)
    assert capsys.readouterr().err == "here\nafterwards\n"
    assert b"".join(asked.content for asked in canned.asked) == b"here\n"


def test_what_was_reported_can_be_read_back(server: Client):
    task = Task.create("logger", "reads back")
    logger = task.get_logger()
    for iteration in range(10):
        logger.report_scalar("loss", "train", iteration / 2, iteration)
    logger.report_scalar("Summary", "best", 0.25, 3)
    logger.report_single_value("best", 0.75)
    logger.report_single_value("size", 7)
    for iteration in (1, 12):
        logger.report_plotly("figures", "pie", {"data": [{"type": "pie", "values": [iteration]}]}, iteration)
    logger.report_image("pictures", "gray", 2, image=[[0, 1]])
    assert task.flush()
    assert task.get_last_iteration() == 12
    assert task.get_reported_single_values() == {"best": 0.75, "size": 7.0}
    assert task.get_reported_single_value("none") is None
    curve = task.get_all_reported_scalars()["loss"]["train"]
    assert curve == {"name": "train", "x": list(range(10)), "y": [n / 2 for n in range(10)]}
    assert task.get_reported_scalars(max_samples=2)["loss"]["train"]["y"] == [1.0, 3.5]
    times = task.get_reported_scalars(x_axis="timestamp")["loss"]["train"]["x"]
    assert times == sorted(times)
    assert task.get_reported_scalars(x_axis="iso_time")["loss"]["train"]["x"][0].startswith("20")
    with pytest.raises(ValueError, match="x_axis is one of"):
        task.get_reported_scalars(x_axis="epoch")
    picture, pie = sorted(task.get_reported_plots(), key=lambda plot: plot["type"])
    assert (picture["metric"], picture["variant"], picture["type"]) == ("pictures", "gray", "image")
    assert (pie["iter"], json.loads(pie["plot_str"])["data"]) == (12, [{"type": "pie", "values": [12]}])
    assert [plot["iter"] for plot in task.get_reported_plots(5) if plot["metric"] == "figures"] == [1, 12]


def test_the_last_lines_of_the_console_can_be_read(server: Client):
    task = Task.create("logger", "console")
    assert task.get_reported_console_output() == []
    server.tasks.start(task.id, session="5e" * 16, host="here")
    lines = [f"line {number} {'.' * 100}" for number in range(3000)]
    server.tasks.append_log(task.id, "\n".join(lines).encode(), attempt=1, offset=0)
    assert task.get_reported_console_output() == lines[-1:]
    assert task.get_reported_console_output(2000) == lines[-2000:]
    assert task.get_reported_console_output(number_of_reports=9999) == lines
