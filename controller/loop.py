"""What nobody's command brings about: leases that run out, and deadlines of runs."""

import threading
import time
from collections.abc import Callable

import structlog

from controller.exchange import lose_attempt, lose_session
from controller.handle import By, Controller
from controller.unit import Unit
from domain import agent as agents
from domain import deadlines
from eventstore.store import Append, Delete, Row

log = structlog.get_logger()
BY = By(actor="controller")


class Loop:
    """Judges leases and fires deadlines once a second, in a thread of its own.

    Only a server that has been up, unpaused and reachable for a whole lease may judge one: before that, the silence may
    have been its own. A start, a pause of this loop, a step of the database's clock and an outage begin the wait anew.
    """

    def __init__(
        self, controller: Controller, *, tick: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._controller, self._tick, self._monotonic = controller, tick, monotonic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, name="loop", daemon=True)
        self._well_since = self._last = monotonic()
        self._offset: float | None = None  # the database's clock minus ours, in seconds

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _go(self) -> None:
        while not self._stop.wait(self._tick):
            try:
                self.once()
            except Exception:
                log.exception("the loop could not do its round and tries again")

    def once(self) -> int:
        """One round; how many leases were found to have run out."""
        self._look_at_the_clock()
        try:
            self._controller.store.append(self._fire).result()
            return self._controller.store.append(self._judge).result()
        except Exception:
            self._well_since = self._monotonic()
            self._offset = None
            raise

    def _look_at_the_clock(self) -> float:
        """Now. Where too much time has passed since the last look, nobody could have reached this server meanwhile."""
        now = self._monotonic()
        if now - self._last > self._tick + self._controller.lease / 2:
            self._well_since = now
        self._last = now
        return now

    def _fire(self, append: Append) -> None:
        """Record the deadlines that have passed, and what follows. A deadline waits for nobody: late is on time."""
        state = self._controller.state
        state.open(append)
        due = [run_id for run_id, due_at in state.timers.items() if due_at <= append.now]
        if due:
            self._controller.at_work(append, BY, lambda unit: [_fire(unit, run_id) for run_id in due])

    def _judge(self, append: Append) -> int:
        well_for = self._well_for(append.now)
        overdue = [
            row
            for row in append.select("lease")
            if int(row["expires_at"] or 0) < append.now and float(row["seconds"] or 0) <= well_for
        ]
        if not overdue:
            return 0
        state = self._controller.state
        state.open(append)
        overdue = [row for row in overdue if row["stream"] not in state.renewed]
        return self._controller.at_work(append, BY, lambda unit: sum(_run_out(unit, row) for row in overdue))

    def _well_for(self, database_now: int) -> float:
        """For how many seconds this server could have been reached, by its own clock."""
        now = self._look_at_the_clock()  # again: the database may have kept us waiting, and everybody else behind us
        offset = database_now / 1e6 - now
        if self._offset is not None and abs(offset - self._offset) > 1.0:
            self._well_since = now  # the database's clock was set: what it says about leases means nothing
        self._offset = offset
        return now - self._well_since


def _fire(unit: Unit, run_id: str) -> None:
    # What follows from one may take others away: each time the run is asked anew.
    while passed := deadlines.passed(unit.run(run_id), unit.append.now):
        unit.run_event(run_id, passed[0])


def _run_out(unit: Unit, row: Row) -> int:
    stream, session = str(row["stream"]), str(row["session"])
    kind, _, key = stream.partition("-")
    silent = f"was not heard of for {float(row['seconds'] or 0):g} s"
    if kind == "agent":
        agent = unit.state.agents.get(key)
        if agent is not None and agent.session == session and agent.status == "online":
            reason = f"agent {agent.name} {silent}"
            unit.agent_event(agent, agents.AgentLost(session=session, reason=reason))
            lose_session(unit, session, reason)  # the session is over, so nobody could report what it holds
        unit.append.add([], [Delete("lease", {"stream": stream})])
        return 1
    agent = unit.state.agents.get(str(row["agent_id"]))
    who = f"agent {agent.name}" if agent is not None else "the process that ran it"
    lose_attempt(unit, key, int(row["attempt"] or 0), f"{who} {silent}")
    return 1
