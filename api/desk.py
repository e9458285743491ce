"""Where exchanges are carried out: threads of their own, and one call into the event loop for all that is done."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from eventstore.store import StoreBusy

T = TypeVar("T")

THREADS = 40  # so many exchanges may wait for the database at once, and share a commit
# A second or two of work. Without a bound they would wait until their agents have given up, and be done all the same.
MOST_WAITING = 1_000


class Desk:
    """Of one event loop. What the framework offers for this costs as much as the rest of a request."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="exchange")
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False  # a call that hands over what is done is under way to the loop
        self._waiting = 0

    async def carry_out(self, look: Callable[[], T]) -> T:
        """What `look` comes to, in a thread. Raises what it raises, and StoreBusy when too many wait."""
        if self._waiting >= MOST_WAITING + THREADS:
            raise StoreBusy(f"{MOST_WAITING:,} agents wait already")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        try:
            self._threads.submit(look).add_done_callback(lambda done: self._is_done(answer, done))
            return await answer
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Refuse what comes; what was begun goes on."""
        self._threads.shutdown(wait=False)

    def _is_done(self, answer: "asyncio.Future[Any]", done: "Future[Any]") -> None:
        # Called in whichever thread did it. Those of one commit are done together: the first call takes all along.
        self._done.append((answer, done))
        if not self._called and not self._loop.is_closed():
            self._called = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._called = False
        while self._done:
            answer, done = self._done.popleft()
            if answer.done():
                continue  # who asked is gone
            if (error := done.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())
