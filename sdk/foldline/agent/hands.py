"""Threads for what may take its time: as many as there is work at once, kept a while for the next."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

KEPT: Final = 10.0  # seconds that a thread without work waits for more

Work = Callable[[], None]

log = logging.getLogger("foldline.agent")


class Hands:
    """Does what it is told at once, however much is under way; what can wait, when a thread has done something else."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: deque[Work] = deque()
        self._later: deque[Work] = deque()
        self._idle = 0
        self._busy = 0

    def do(self, work: Work) -> None:
        with self._changed:
            self._urgent.append(work)
            if len(self._urgent) <= self._idle:
                self._changed.notify()
                return
            self._busy += 1
        threading.Thread(target=self._serve, name="hand", daemon=True).start()

    def do_later(self, work: Work) -> None:
        """When a thread has done something else, or at `hurry`: for what nobody waits for."""
        with self._changed:
            if self._busy or self._urgent:
                self._later.append(work)
                return
        self.do(work)

    def hurry(self) -> None:
        """Do what was put off: every thread may have work that lasts for hours."""
        with self._changed:
            works, self._later = self._later, deque[Work]()
        for work in works:
            self.do(work)

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:
                log.exception("work of the agent failed")

    def _next(self) -> Work | None:
        with self._changed:
            self._busy -= 1
            if not self._urgent and not self._later:
                self._idle += 1
                self._changed.wait_for(lambda: self._urgent, KEPT)
                self._idle -= 1
            works = self._urgent or self._later
            if not works:
                return None
            self._busy += 1
            return works.popleft()
