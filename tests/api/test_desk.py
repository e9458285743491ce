"""Exchanges in threads of their own: each gets its answer, those done together at once, and not too many wait."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import api.desk
from api.desk import Desk
from eventstore.store import StoreBusy


def at_a_desk(play: Callable[[Desk], Any]) -> Any:
    async def opened() -> Any:
        desk = Desk()
        try:
            async with asyncio.timeout(20):
                return await play(desk)
        finally:
            desk.close()

    return asyncio.run(opened())


def test_each_gets_its_own_answer():
    async def play(desk: Desk) -> list[int]:
        return await asyncio.gather(*(desk.carry_out(lambda number=number: number) for number in range(200)))

    assert at_a_desk(play) == list(range(200))


def test_what_is_raised_is_raised_to_who_asked():
    def fails() -> None:
        raise ValueError("no")

    async def play(desk: Desk) -> list[Any]:
        return [*await asyncio.gather(desk.carry_out(fails), desk.carry_out(lambda: 1), return_exceptions=True)]

    [failed, answered] = at_a_desk(play)
    assert (repr(failed), answered) == ("ValueError('no')", 1)


def test_the_event_loop_is_called_once_for_all_that_is_done_by_then(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.desk, "THREADS", 1)
    last = threading.Event()

    async def play(desk: Desk) -> int:
        loop, calls = asyncio.get_running_loop(), list[Any]()
        call = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *asked: calls.append(asked) or call(*asked))
        asked = [asyncio.ensure_future(desk.carry_out(look)) for look in (*[dict] * 8, last.set)]
        await asyncio.sleep(0)  # they are at the desk now
        assert last.wait(10)  # the loop is busy; meanwhile the one thread has done the eight before the last
        called = len(calls)
        await asyncio.gather(*asked)
        return called

    assert at_a_desk(play) == 1


def test_who_would_only_wait_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.desk, "THREADS", 1)
    monkeypatch.setattr(api.desk, "MOST_WAITING", 2)
    go_on = threading.Event()

    async def play(desk: Desk) -> list[bool]:
        let_in = [asyncio.ensure_future(desk.carry_out(lambda: go_on.wait(10))) for _ in range(3)]
        await asyncio.sleep(0)  # they are at the desk now
        with pytest.raises(StoreBusy):
            await desk.carry_out(lambda: True)
        go_on.set()
        answers = await asyncio.gather(*let_in)
        return [*answers, await desk.carry_out(lambda: True)]

    assert at_a_desk(play) == [True] * 4


def test_who_is_gone_is_given_nothing():
    go_on, done = threading.Event(), threading.Event()

    def look() -> None:
        go_on.wait(10)
        done.set()

    async def play(desk: Desk) -> int:
        leaves = asyncio.ensure_future(desk.carry_out(look))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        go_on.set()
        return await desk.carry_out(lambda: 1)

    assert at_a_desk(play) == 1
    assert done.wait(10)
