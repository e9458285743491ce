"""What the store counts about itself: plain numbers, cheap to add to, read by whoever shows them.

Each is added to by one thread at a time (who holds the shard), and read without a lock: a reader may find a count
that is one ahead of its sum, which no figure made of thousands shows.
"""

from bisect import bisect_left
from collections.abc import Sequence

# Upper bounds in seconds, from a commit to a fast disk up to one that waits for a lock.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOBS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Histogram:
    """How many values fell up to each bound, those beyond the last one in the last count; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Measures:
    """Of one shard, since it was opened. Times are in seconds."""

    __slots__ = ("append", "commit", "decide", "events", "failed", "jobs", "turned_away")

    def __init__(self) -> None:
        self.append = Histogram()
        """Of each job that was taken to its end: from the call to the durable answer."""
        self.decide = Histogram()
        """Of each transaction: the running of its jobs, under the lock."""
        self.commit = Histogram()
        """Of each transaction: from the asking for the lock to the durable end."""
        self.jobs = Histogram(JOBS)
        """Of each transaction: how many jobs shared it."""
        self.events = 0
        self.failed = 0
        """Transactions that did not become durable."""
        self.turned_away = 0
        """Jobs that were not taken because too many waited."""

    def committed(
        self, came: Sequence[float], began: float, locked: float, decided: float, ended: float, events: int
    ) -> None:
        """A transaction has come to its durable end; `came` says when each of its jobs was asked for.

        All are moments of one clock, in seconds.
        """
        self.decide.add(decided - locked)
        self.commit.add(ended - began)
        self.jobs.add(len(came))
        for moment in came:
            self.append.add(ended - moment)
        self.events += events
