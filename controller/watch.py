"""For how long this server could have been heard of: whether somebody's silence may be held against him."""

from collections.abc import Callable

# Of a lease, what an agent's heartbeats are apart: who was kept from one of them has two left.
PAUSE = 0.3
# In seconds: by how much the two clocks may part from one look to the next before one of them was set.
STEP = 1.0


class Watch:
    """Counts in seconds of the process's own monotonic clock; for one thread. Somebody looks once a `tick`.

    A start, a pause of the process, a step of the database's clock and whatever the caller notices begin the count
    anew. A pause begins it for those leases in which more than one heartbeat may have been missed.
    """

    def __init__(self, tick: float, monotonic: Callable[[], float]) -> None:
        self._tick, self._monotonic = tick, monotonic
        self._last = monotonic()
        self._began: float | None = None  # None: with the next comparison of the clocks
        self._pauses: list[tuple[float, float]] = []  # (when it ended, how long it was), none longer than one before it
        self._offsets: tuple[float, float] | None = None  # between which the database's clock minus ours lies

    def begin_anew(self) -> None:
        """Nothing that was until now counts, and the clocks are known only from the next comparison on."""
        self._began = self._offsets = None
        self._pauses.clear()

    def look(self) -> float:
        """Now. Where too much time has passed since the last look, nobody could reach this server meanwhile."""
        now = self._monotonic()
        gap, self._last = now - self._last, now
        if gap > self._tick:
            self._pauses = [*(one for one in self._pauses if one[1] > gap), (now, gap)]
        return now

    def rest(self) -> None:
        """A look while there is nobody to judge. Who comes is heard of from then on, and what the clocks did before
        cannot be held against him."""
        self.look()
        self.begin_anew()

    def compare(self, asked: float, database_clock: int) -> None:
        """Take in what the database's clock said (microseconds) at some moment between `asked` and now."""
        now, said = self.look(), database_clock / 1e6
        lowest, highest = said - now, said - asked
        if self._offsets is not None:
            below, above = self._offsets
            if highest < below - STEP or lowest > above + STEP:
                self._began = None
        self._offsets = lowest, highest
        if self._began is None:
            self._began = now

    def may_judge(self, lease: float) -> bool:
        """Whether this server could have been heard of for a whole lease of so many seconds."""
        if self._began is None:
            return False
        too_long = self._tick + PAUSE * lease
        began = max((ended for ended, length in self._pauses if length > too_long), default=self._began)
        return self._last - max(began, self._began) >= lease
