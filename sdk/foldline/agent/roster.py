"""The attempts an agent holds, and how many more it may be given."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from foldline.agent.attempt import Attempt

Json = dict[str, Any]
Key = tuple[str, int]

REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Offer:
    """What one exchange says of us."""

    free: int
    held: list[Json]


class Roster:
    """Bookkeeping for exchanges that overlap: two answers may bring the same claim, and no slot is offered twice.

    An attempt is held from its claim until its report was answered. It takes a slot until that report goes out, so that
    to the server too there are never more of them than slots.
    """

    def __init__(self, slots: int, make: Callable[[Json], "Attempt"]) -> None:
        self._slots = slots
        self._make = make
        self._lock = threading.Lock()
        self._running: dict[Key, Attempt] = {}
        self._ended: dict[Key, Attempt] = {}
        # A claim may still arrive, on an answer that was long on its way, after the attempt is over.
        self._over: dict[Key, None] = {}
        self._promised = 0
        self._draining = False
        self._closed = False

    def offer(self, reports: Sequence[Json] = ()) -> Offer:
        """What to say beside `reports`: the slots that no other exchange offers already. `settle` must follow."""
        with self._lock:
            taken = len(self._running) + len(self._ended) - len(reports) + self._promised
            free = 0 if self._draining else max(0, self._slots - taken)
            self._promised += free
            held = [{"task_id": task_id, "attempt": number} for task_id, number in (*self._running, *self._ended)]
            return Offer(free, held)

    def settle(self, offer: Offer, claims: Iterable[Json] = ()) -> list["Attempt"]:
        """The exchange is over. Returns the attempts to start: of `claims`, those not seen before."""
        with self._lock:
            self._promised -= offer.free
            if self._closed:
                return []
            fresh: list[Attempt] = []
            for claim in claims:
                key = (str(claim["task_id"]), int(claim["attempt"]))
                if key not in self._running and key not in self._ended and key not in self._over:
                    self._running[key] = self._make(claim)
                    fresh.append(self._running[key])
            return fresh

    def ended(self, key: Key) -> None:
        """Its process is gone; its report is still to be delivered."""
        with self._lock:
            if key in self._running:
                self._ended[key] = self._running.pop(key)

    def forget(self, key: Key) -> "Attempt | None":
        """Its report was answered, or nobody wants one."""
        with self._lock:
            attempt = self._running.pop(key, None) or self._ended.pop(key, None)
            self._over[key] = None
            if len(self._over) > REMEMBERED:
                del self._over[next(iter(self._over))]
            return attempt

    def drain(self) -> None:
        """Offer nothing from now on."""
        with self._lock:
            self._draining = True

    def close(self) -> list["Attempt"]:
        """Take nothing from now on, not even what was offered. Returns all that is held."""
        with self._lock:
            self._closed = self._draining = True
            return [*self._running.values(), *self._ended.values()]

    def running(self) -> dict[Key, "Attempt"]:
        with self._lock:
            return dict(self._running)

    def held(self) -> list[Json]:
        with self._lock:
            return [{"task_id": task_id, "attempt": number} for task_id, number in (*self._running, *self._ended)]

    def has_free(self) -> bool:
        with self._lock:
            return not self._draining and len(self._running) + len(self._ended) < self._slots

    def has_promised(self) -> bool:
        """Whether an answer under way may bring work."""
        with self._lock:
            return self._promised > 0

    def is_idle(self) -> bool:
        """Whether nothing runs and everything was reported."""
        with self._lock:
            return not self._running and not self._ended and not self._promised
