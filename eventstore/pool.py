"""A few driver connections for reading, used by one thread at a time each."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from eventstore.batches import ShardClosed


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)

MOST_OPEN = 16
MOST_IDLE = 6


class Pool(Generic[C]):
    """At most 16 connections are out at once; who comes later waits. A connection whose use failed is closed."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._idle: deque[C] = deque()
        self._free = threading.BoundedSemaphore(MOST_OPEN)
        self._closed = False

    @contextmanager
    def connection(self) -> Generator[C]:
        with self._free:
            if self._closed:
                raise ShardClosed("the store is closed")
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if self._closed or len(self._idle) >= MOST_IDLE:
                connection.close()
            else:
                self._idle.append(connection)

    def drop_idle(self) -> None:
        """Close what is not in use: after one connection was lost, the others are likely to be."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def close(self) -> None:
        self._closed = True
        self.drop_idle()
