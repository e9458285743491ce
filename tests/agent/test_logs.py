"""Output on its way to a server that is slow, away, or has lost a piece."""

import threading
from io import BytesIO

import pytest

from foldline.agent.logs import PIECE, LogShipper
from foldline.client import Client
from tests.agent.canned import DEADLINE
from tests.support.waiting import wait_until

TASK = "a" * 32


@pytest.fixture
def shipper(server):
    with Client(server.url, patience=0.0, timeout=10) as client:
        shipper = LogShipper(client)
        yield shipper
        shipper.close()
        assert shipper.wait(DEADLINE)


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_a_log_is_sent_as_it_grows(server, shipper, tmp_path):
    shipped = shipper.follow(TASK, 1, tmp_path / "log")
    for said in (b"one\n", b"two\n"):
        append(tmp_path / "log", said)
        wait_until(lambda said=said: bytes(server.logs.get((TASK, 1), b"")).endswith(said), "the line", DEADLINE)
    assert not shipped.settled.is_set(), "more may come"
    shipper.finish(shipped, DEADLINE)
    assert shipped.settled.is_set()


def test_a_long_log_goes_in_pieces_and_lets_others_through(server, shipper, tmp_path):
    long, short = tmp_path / "long", tmp_path / "short"
    long.write_bytes(b"x" * (5 * PIECE + 1))
    short.write_bytes(b"y")
    logs = [shipper.follow(TASK, 1, long), shipper.follow(TASK, 2, short)]
    for each in logs:
        shipper.finish(each)
    assert shipper.wait(DEADLINE)
    assert server.logs[TASK, 1] == b"x" * (5 * PIECE + 1)
    assert max(size for _, size in server.log_requests) == PIECE
    order = [size for _, size in server.log_requests]
    assert order.index(1) < len(order) - 1, "the short one did not wait for all of the long one"


def test_a_log_that_stayed_empty_is_not_spoken_of(server, shipper, tmp_path):
    (tmp_path / "log").touch()
    shipped, called = shipper.follow(TASK, 1, tmp_path / "log"), threading.Event()
    shipped.when_settled(called.set)
    assert shipper.finish(shipped)
    assert called.is_set()
    assert server.log_requests == []


def test_an_end_does_not_wait_for_a_log_that_the_server_has_already(server, shipper, tmp_path):
    shipped = shipper.follow(TASK, 1, tmp_path / "log")
    append(tmp_path / "log", b"said")
    wait_until(lambda: shipped.offset == 4, "the answer to the piece", DEADLINE)
    assert shipper.finish(shipped)


class Ear(BytesIO):
    """Hears the first piece, and is gone."""

    def write(self, piece, /):
        if self.getvalue():
            raise BrokenPipeError
        return super().write(piece)


def test_what_was_sent_is_shown_as_long_as_somebody_looks(server, tmp_path):
    ear = Ear()
    with Client(server.url, patience=0.0, timeout=10) as client:
        shipper = LogShipper(client, ear)
        for number, said in enumerate((b"one", b"two", b"three"), 1):
            (tmp_path / str(number)).write_bytes(said)
            shipper.finish(shipper.follow(TASK, number, tmp_path / str(number)), DEADLINE)
        shipper.close()
    assert ear.getvalue() == b"one"
    assert [bytes(log) for log in server.logs.values()] == [b"one", b"two", b"three"]


def test_it_resumes_where_the_server_stands_after_an_outage(server, shipper, tmp_path):
    log = tmp_path / "log"
    shipped = shipper.follow(TASK, 1, log)
    append(log, b"before ")
    wait_until(lambda: server.logs.get((TASK, 1)) == b"before ", "the first piece", DEADLINE)
    server.away = True
    append(log, b"meanwhile ")
    finish = threading.Thread(target=shipper.finish, args=(shipped, threading.TIMEOUT_MAX), daemon=True)
    finish.start()
    finish.join(DEADLINE)
    assert not finish.is_alive(), "the end of an attempt does not wait for a server that is away"
    assert not shipped.settled.is_set()
    del server.logs[TASK, 1][3:]  # it came back without what it had not synced
    server.away = False
    assert shipped.settled.wait(DEADLINE)
    assert server.logs[TASK, 1] == b"before meanwhile "


def test_a_log_the_server_will_not_have_is_given_up_and_holds_up_nothing(server, shipper, tmp_path, monkeypatch):
    sound = server.append_log
    refusal = (413, {"code": "too-large", "detail": "logs may have 1 GB"})
    monkeypatch.setattr(server, "append_log", lambda task, *rest: refusal if task == TASK else sound(task, *rest))
    (tmp_path / "log").write_bytes(b"x")
    refused, other = shipper.follow(TASK, 1, tmp_path / "log"), shipper.follow("b" * 32, 1, tmp_path / "log")
    assert refused.settled.wait(DEADLINE)
    shipper.finish(other, DEADLINE)
    assert server.logs == {("b" * 32, 1): b"x"}
