"""Answers that go on while something happens: what their pieces look like, and who is woken when something grows."""

import asyncio
from collections.abc import Generator, Set
from contextlib import contextmanager

from fastapi.sse import KEEPALIVE_COMMENT as PING
from fastapi.sse import format_sse_event

from api.waiting import Waiter
from controller.signals import Signals

__all__ = ["EVENT_STREAM", "HEADERS", "PING", "PING_EVERY", "Bells", "sse", "wants_events"]

EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
PING_EVERY = 15.0  # seconds: proxies cut connections on which nothing is said for longer


def sse(data: str | None, *, id: str | None = None, event: str | None = None) -> bytes:
    """One server-sent event; `data` is JSON text."""
    return format_sse_event(data_str=data, event=event, id=id)


def wants_events(accept: str | None) -> bool:
    """Whether an Accept header asks for server-sent events."""
    return EVENT_STREAM in (accept or "").lower()


class Bells:
    """Who is woken when a log grows or a session has something to look at: names of either, in this process."""

    def __init__(self, signals: Signals) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[str, set[Waiter]] = {}
        self._unsubscribe = signals.listen(self._signalled)

    @contextmanager
    def waking(self, waiter: Waiter, *names: str) -> Generator[None]:
        """Wake `waiter` when one of these is rung. Begin before the first look, or what follows goes unnoticed."""
        for name in names:
            self._waiters.setdefault(name, set()).add(waiter)
        try:
            yield
        finally:
            for name in names:
                self._waiters[name].discard(waiter)
                if not self._waiters[name]:
                    del self._waiters[name]

    def ring(self, *names: str) -> None:
        """May be called in any thread."""
        if any(name in self._waiters for name in names) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, names)

    def close(self) -> None:
        self._unsubscribe()

    def _signalled(self, queues: Set[str], sessions: Set[str]) -> None:
        if self._waiters:
            self.ring(*sessions)

    def _wake(self, names: tuple[str, ...]) -> None:
        for name in names:
            for waiter in self._waiters.get(name, ()):
                waiter.wake()
