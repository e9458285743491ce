"""Waiting without polling: routes sleep until a commit concerns them."""

import asyncio
from collections.abc import Set

from controller.signals import Signals


class Waiter:
    """One waiting request: set when one of its queues got work, its session has something to look at, or it must end."""

    def __init__(self, queues: Set[str], session: str) -> None:
        self.queues, self.session = queues, session
        self.event = asyncio.Event()
        self.ended = False

    async def wait(self, seconds: float) -> bool:
        """False when nothing happened in that time."""
        try:
            await asyncio.wait_for(self.event.wait(), seconds)
        except TimeoutError:
            return False
        self.event.clear()
        return True


class Waiting:
    """The waiting exchanges of this process, one per session: a newer one ends the older one's wait."""

    def __init__(self, signals: Signals) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[str, Waiter] = {}
        self._end = signals.listen(self._signalled)

    def begin(self, queues: Set[str], session: str) -> Waiter:
        self.end_session(session)
        waiter = self._waiters[session] = Waiter(queues, session)
        return waiter

    def end_session(self, session: str) -> None:
        if (older := self._waiters.pop(session, None)) is not None:
            older.ended = True
            older.event.set()

    def done(self, waiter: Waiter) -> None:
        if self._waiters.get(waiter.session) is waiter:
            del self._waiters[waiter.session]

    def close(self) -> None:
        self._end()
        for session in list(self._waiters):
            self.end_session(session)

    def _signalled(self, queues: Set[str], sessions: Set[str]) -> None:
        # Called in whichever thread committed.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, set(queues), set(sessions))

    def _wake(self, queues: Set[str], sessions: Set[str]) -> None:
        for waiter in self._waiters.values():
            if waiter.session in sessions or waiter.queues & queues:
                waiter.event.set()
