"""The moments at which a crash would hurt most, each with a name: tests end the process there, or lose an answer.

In service `reach` is an empty call. `arm` makes one of the points go off, once; docs/testing.md says how it is used.
"""

import os
import threading
from collections.abc import Callable, Mapping

from eventstore.store import StoreUnavailable

VARIABLE = "FOLDLINE_CRASH_AT"
EXIT_CODE = 97  # of a process that ended at its point
WAYS = ("exit", "lost")

POINTS: Mapping[str, str] = {
    # The append, in the order of its steps
    "batch.taken": "jobs are taken out of the waiting line, nothing has been asked of the database",
    "lock.wanted": "the shard's lock is about to be asked for",
    "lock.held": "the shard is locked and its head read, no job has run",
    "report.taken": "the end of an attempt is on the open append, and what follows from it",
    "decision.wanted": "an event of a run is on the open append, what follows from it is not decided",
    "decision.made": "what follows from an event of a run is on the open append",
    "decision.recorded": "the decision records are on the open append",
    "lease.renewed": "leases are put anew on the open append",
    "lease.judged": "a lease has run out and its holder is about to be declared lost",
    "deadline.passed": "a deadline of a run is about to be recorded",
    "claim.chosen": "an attempt is about to be handed to an agent",
    "claim.taken": "the start of an attempt is on the open append",
    "insert.wanted": "all is decided, nothing of it has been written",
    "insert.done": "rows are written and not committed (on PostgreSQL: when they need more than one round trip)",
    "pipeline.sent": "statements are under way to PostgreSQL, their answers are not read: a commit may go either way",
    "commit.done": "it is durable, and nothing in this process knows",
    "commit.known": "the memory of this process is true to it, its subscribers have not been told",
    "answer.ready": "it is durable, and none of those who wait has been answered",
    "answer.given": "those who waited have their answers in this process, which may not have sent them",
    "exchange.answered": "what an agent asked is done, and the agent has not been told",
    # The audit
    "seal.wanted": "events are read that no checkpoint covers, nothing is signed",
    "seal.signed": "a checkpoint is signed, nothing of it is written",
    "seal.written": "the rows of a checkpoint and of its tree are written, the transaction is open",
    "seal.kept": "a checkpoint is committed, and who made it does not know",
    # The projections
    "page.folded": "a page of the log is folded, its rows are not written",
    "page.written": "the rows of a page are written, neither their checkpoint nor the transaction is",
    "page.kept": "rows and checkpoint of a page are committed",
    "rebuild.renamed": "rebuilt tables stand in the place of the old ones, the transaction is open",
}


def pass_by(_name: str) -> None:
    """What nobody watches costs nothing but this call."""


reach: Callable[[str], None] = pass_by
"""Called as `points.reach(name)` where a point is, so that it can be exchanged while the program runs."""


def arm(what: str) -> None:
    """Let one point go off: `point[:nth][:exit|lost]`, by default the first time it is reached, and with `exit`.

    `exit` ends the process at once, as SIGKILL does; `lost` raises StoreUnavailable, as when the database's answer did
    not arrive. Raises ValueError for anything else.
    """
    global reach
    name, *how = what.split(":")
    nth = how.pop(0) if how and how[0].isdecimal() else "1"
    way = how.pop(0) if how else "exit"
    if name not in POINTS or way not in WAYS or how or not int(nth):
        raise ValueError(f"{VARIABLE} is {what!r}: write point[:nth][:exit|lost], the points are {', '.join(POINTS)}")
    reach = _Armed(name, int(nth), lose if way == "lost" else end)


def end(_name: str) -> None:
    os._exit(EXIT_CODE)


def lose(name: str) -> None:
    raise StoreUnavailable(f"the answer was lost at {name}")


class _Armed:
    """Counts how often its point is reached, by whichever thread, and goes off once."""

    def __init__(self, name: str, nth: int, go_off: Callable[[str], None]) -> None:
        self._name, self._left, self._go_off = name, nth, go_off
        self._mutex = threading.Lock()

    def __call__(self, name: str) -> None:
        if name != self._name:
            return
        with self._mutex:
            self._left -= 1
            due = self._left == 0
        if due:
            self._go_off(name)
