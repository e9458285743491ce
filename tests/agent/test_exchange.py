"""The conversation itself, where the server's answers are out of the ordinary."""

import threading
from typing import Any

import pytest

from foldline.agent import exchange
from foldline.agent.exchange import Exchange
from foldline.agent.roster import Roster
from foldline.agent.spool import Spool
from foldline.client import Client
from tests.agent.canned import DEADLINE, inline
from tests.support.waiting import wait_until


@pytest.fixture
def answers(server, monkeypatch):
    """Let a function answer exchanges; it calls the next argument for the ordinary answer."""
    ordinary = server.exchange

    def use(answer):
        monkeypatch.setattr(server, "exchange", lambda body: answer(body, ordinary))

    return use


def test_a_report_the_server_cannot_take_does_not_keep_others_from_it(server, start_agent, answers, tmp_path):
    go = tmp_path / "go"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"
    good, bad = inline(wait, name="good"), inline(wait, name="bad")
    refused = []

    def answer(body, ordinary):
        if any(report["task_id"] == bad["task_id"] for report in body["reports"]):
            refused.append(body["reports"])
            return 422, {"code": "invalid", "detail": "a report that cannot be"}
        return ordinary(body)

    answers(answer)
    server.give(good, bad)
    agent = start_agent(slots=2)
    wait_until(lambda: len(server.handed) == 2, "both claims", DEADLINE)
    go.touch()
    [report] = server.wait_for_reports()
    assert report["task_id"] == good["task_id"]
    wait_until(lambda: refused, "the refusal", DEADLINE)
    agent.requests.ask()
    assert agent.ended() == 0, "it does not wait for what will never be taken"


def test_a_server_that_answers_503_is_asked_again(server, start_agent, answers):
    turned_away = []

    def answer(body, ordinary):
        if body["reports"] and len(turned_away) < 3:
            turned_away.append(body)
            return 503, {"code": "not-ready", "detail": "starting"}
        return ordinary(body)

    answers(answer)
    server.give(inline("print(1)"))
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed"
    assert len(turned_away) == 3
    assert len({str(body["reports"]) for body in turned_away}) == 1


def test_an_answer_that_makes_no_sense_does_not_end_the_agent(server, start_agent, answers):
    confused = []

    def answer(body, ordinary):
        if not confused:
            confused.append(body)
            return 200, {"who": "a proxy"}
        return ordinary(body)

    answers(answer)
    server.give(inline("print(1)"))
    start_agent()
    server.wait_for_reports()


def test_a_claim_whose_answer_was_lost_is_taken_from_the_next(server, start_agent, answers):
    lost = []

    def answer(body, ordinary):
        status, said = ordinary(body)
        if said.get("claims") and not lost:
            lost.append(said["claims"])
            return 502, {"detail": "the proxy gave up"}
        return status, said

    answers(answer)
    server.give(inline("print(1)"))
    start_agent()
    [report] = server.wait_for_reports()
    assert lost
    assert report["status"] == "completed"


def test_a_report_that_comes_too_late_is_dropped(server, start_agent, answers):
    def answer(body, ordinary):
        status, said = ordinary(body)
        for receipt in said["reports"]:
            receipt |= {"accepted": False, "reason": "attempt 1 was lost"}
        return status, said

    answers(answer)
    server.give(inline("print(1)"))
    agent = start_agent()
    server.wait_for_reports()
    agent.requests.ask()
    assert agent.ended() == 0
    assert len(server.reports) == 1


def test_a_server_that_has_forgotten_the_agent_gets_a_new_registration(server, start_agent, answers):
    forgotten = []

    def answer(body, ordinary):
        if not forgotten:
            forgotten.append(body["session"])
            return 404, {"code": "not-found", "detail": "no such agent"}
        return ordinary(body)

    answers(answer)
    server.give(inline("print(1)"))
    start_agent()
    server.wait_for_reports()
    assert [each["session"] for each in server.sessions][:1] == forgotten
    assert len(server.sessions) == 2


class Ended:
    """An attempt that has nothing left but its report."""

    def __init__(self, claim):
        self.key = (claim["task_id"], claim["attempt"])
        self.delivered = threading.Event()

    def start(self):
        pass

    def put_away(self):
        self.delivered.set()


def test_reports_that_wait_together_travel_together(server, tmp_path):
    claims = [inline("", name=str(n)) for n in range(3)]
    session = {"session": "s" * 32}
    server.sessions.append(session)
    roster = Roster(3, Ended)  # pyright: ignore[reportArgumentType]
    attempts: Any = roster.settle(roster.offer(), claims)
    with Client(server.url, patience=0.0) as client:
        registration = session | {"id": "a" * 32, "heartbeat": 60.0}
        exchange = Exchange(client, registration, roster, Spool(tmp_path), lambda: None)
        for attempt in attempts:
            exchange.report(attempt, {"task_id": attempt.key[0], "attempt": 1, "status": "completed"})
        exchange.start()
        assert all(attempt.delivered.wait(DEADLINE) for attempt in attempts)
        exchange.end("the test has seen enough")
        server.supersede()
        exchange.join(DEADLINE)
    assert [(len(each["reports"]), each["free"]) for each in server.exchanges if each["reports"]] == [(3, 3)]


@pytest.mark.parametrize(
    ("pace", "has_free", "seconds"),
    [
        pytest.param(0.004, True, exchange.LINGER, id="steps end quickly"),
        pytest.param(0.1, True, 0.2, id="the next one is expected soon"),
        pytest.param(10.0, True, exchange.LINGER, id="nothing is expected, and other work may wait for the slot"),
        pytest.param(10.0, False, exchange.LINGER_WHEN_FULL, id="no slot is free"),
    ],
)
def test_a_poll_is_sent_when_no_report_is_to_be_expected(pace, has_free, seconds):
    assert exchange.linger(pace, has_free) == pytest.approx(seconds)
