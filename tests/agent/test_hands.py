"""Who does what, and when."""

import threading

import pytest

from foldline.agent.hands import Hands
from tests.agent.canned import DEADLINE
from tests.support.waiting import wait_until


@pytest.fixture
def hands():
    return Hands()


def test_work_that_lasts_keeps_no_other_from_being_done(hands):
    together = threading.Barrier(4)
    for _ in range(3):
        hands.do(lambda: together.wait(DEADLINE))
    together.wait(DEADLINE)


def test_a_thread_is_kept_for_the_next_work(hands):
    threads = []
    for number in range(5):
        hands.do(lambda: threads.append(threading.get_ident()))
        wait_until(lambda number=number: len(threads) > number and hands._idle == 1, "a thread at rest", DEADLINE)
    assert len(set(threads)) == 1


def test_work_that_fails_keeps_no_other_from_being_done(hands, caplog):
    done = threading.Event()
    hands.do(lambda: 1 / 0)
    wait_until(lambda: hands._idle == 1, "a thread at rest", DEADLINE)
    hands.do(done.set)
    assert done.wait(DEADLINE)
    assert "work of the agent failed" in caplog.text


def test_what_can_wait_is_done_when_a_thread_has_done_something_else(hands):
    go, order = threading.Event(), []
    hands.do(lambda: (go.wait(DEADLINE), order.append("urgent")))
    hands.do_later(lambda: order.append("later"))
    assert order == []
    go.set()
    wait_until(lambda: order == ["urgent", "later"], "both", DEADLINE)


def test_what_can_wait_is_done_at_once_when_nobody_is_busy(hands):
    done = threading.Event()
    hands.do_later(done.set)
    assert done.wait(DEADLINE)


def test_what_was_put_off_need_not_wait_for_work_that_lasts(hands):
    go, done = threading.Event(), threading.Event()
    hands.do(lambda: go.wait(DEADLINE))
    hands.do_later(done.set)
    hands.hurry()
    assert done.wait(DEADLINE)
    go.set()
