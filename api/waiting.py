"""Waiting without polling: routes sleep until a commit concerns them, here or in another process."""

import asyncio
from collections.abc import Generator, Set
from contextlib import contextmanager

import structlog
from starlette.concurrency import run_in_threadpool

from controller.handle import Controller

log = structlog.get_logger()

NOTHING: Set[str] = frozenset()
TROUBLE = 1.0  # seconds to the next attempt when the database does not answer


class Waiter:
    """A sleeping request. What woke it is only a hint: it looks at the state again."""

    def __init__(self, session: str = "", queues: Set[str] | None = NOTHING) -> None:
        """`queues`: those whose work wakes it; None for all there are."""
        self.session, self.queues = session, queues
        self.called = False
        """Whether it was woken for its session's own sake: something it holds is to stop, or the session is over."""
        self.ended = False
        """Whether it must answer with what it has."""
        self.asleep = False
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None) -> bool:
        """Whether it was woken within that time."""
        self.asleep = True
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self.asleep = False
        self._event.clear()
        return True

    def wake(self) -> None:
        self._event.set()

    def end(self) -> None:
        self.ended = True
        self._event.set()


class Waiting:
    """The sleeping requests of this process. All methods but `close` are for its event loop."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._loop = asyncio.get_running_loop()
        self._exchanges: dict[str, Waiter] = {}
        self._told: dict[str, Set[tuple[str, int]]] = {}
        self._others: set[Waiter] = set()
        self._followers: set[Waiter] = set()
        self._closed = False
        self._growing = False  # a look at how far the log has grown is under way to the loop
        self._head = 0
        self._catching_up: asyncio.Task[None] | None = None
        self._unsubscribe = (controller.signals.listen(self._signalled), controller.store.subscribe(self._grown))

    @contextmanager
    def exchange(self, session: str) -> Generator[Waiter]:
        """Begin before the first look, or what happens after it goes unnoticed. Ends the session's older wait."""
        self.end_session(session)
        waiter = self._exchanges[session] = self._new(session, None)
        try:
            yield waiter
        finally:
            if self._exchanges.get(session) is waiter:
                del self._exchanges[session]

    @property
    def asleep(self) -> int:
        """How many sleep until the log has grown."""
        return sum(waiter.asleep for waiter in self._followers)

    def is_asleep(self, session: str) -> bool:
        """Whether an exchange of the session has looked, found nothing and sleeps."""
        waiter = self._exchanges.get(session)
        return waiter is not None and waiter.asleep

    def end_session(self, session: str) -> None:
        """End the wait of the session's exchange: there is a newer one."""
        if (older := self._exchanges.pop(session, None)) is not None:
            older.end()

    def untold(self, agent_id: str, stops: Set[tuple[str, int]]) -> bool:
        """Whether one of these attempts is to stop without the agent having been told by its last answer."""
        return not stops <= self._told.get(agent_id, frozenset())

    def tell(self, agent_id: str, stops: Set[tuple[str, int]]) -> None:
        if stops:
            self._told[agent_id] = stops
        else:
            self._told.pop(agent_id, None)

    @contextmanager
    def following(self) -> Generator[Waiter]:
        """One who is woken each time the log has grown."""
        waiter = self._new()
        self._followers.add(waiter)
        try:
            yield waiter
        finally:
            self._followers.discard(waiter)

    @contextmanager
    def pausing(self) -> Generator[Waiter]:
        """One whom nothing here wakes but the server's end."""
        waiter = self._new()
        self._others.add(waiter)
        try:
            yield waiter
        finally:
            self._others.discard(waiter)

    def close(self) -> None:
        """End all waits, and those that begin from now on. May be called from any thread, and again."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_all)

    def _new(self, session: str = "", queues: Set[str] | None = NOTHING) -> Waiter:
        waiter = Waiter(session, queues)
        if self._closed:
            waiter.end()
        return waiter

    def _end_all(self) -> None:
        self._closed = True
        for waiter in (*self._exchanges.values(), *self._followers, *self._others):
            waiter.end()

    def _signalled(self, queues: Set[str], sessions: Set[str]) -> None:
        # Called in whichever thread committed.
        if self._exchanges and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_exchanges, set(queues), set(sessions))

    def _wake_exchanges(self, queues: Set[str], sessions: Set[str]) -> None:
        for waiter in self._exchanges.values():
            if waiter.session in sessions:
                waiter.called = True
                waiter.wake()
            elif queues and (waiter.queues is None or waiter.queues & queues):
                waiter.wake()

    def _grown(self, shard: int, head: int) -> None:
        # Called in whichever thread saw it. Of what comes while one call is on its way to the loop, it sees the last.
        self._head = max(self._head, head)
        wanted = self._followers or self._controller.state.behind(head)
        if wanted and not self._growing and not self._loop.is_closed():
            self._growing = True
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._growing = False
        for waiter in self._followers:
            waiter.wake()
        idle = self._catching_up is None or self._catching_up.done()
        if idle and not self._closed and self._controller.state.behind(self._head):
            self._catching_up = self._loop.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Another process wrote: read on, so that its work is seen by those who wait here."""
        while self._controller.state.behind(self._head) and not self._closed:
            try:
                await run_in_threadpool(self._controller.catch_up)
            except Exception as error:
                log.warning("cannot read what other processes wrote", position=self._head, error=str(error))
                await asyncio.sleep(TROUBLE)
