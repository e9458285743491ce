"""Who is to be woken when something has happened. Hints only: whoever wakes looks at the state again."""

import threading
from collections.abc import Callable, Set

Listener = Callable[[Set[str], Set[str]], None]


class Signals:
    """Listeners get the names of queues that have work and the sessions that have something to look at."""

    def __init__(self) -> None:
        self._listeners: dict[object, Listener] = {}
        self._mutex = threading.Lock()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each commit that concerns anyone; it must be quick. Returns what ends it."""
        token = object()
        with self._mutex:
            self._listeners[token] = listener

        def end() -> None:
            with self._mutex:
                self._listeners.pop(token, None)

        return end

    def wake(self, queues: Set[str], sessions: Set[str]) -> None:
        if not (queues or sessions):
            return
        with self._mutex:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener(queues, sessions)
