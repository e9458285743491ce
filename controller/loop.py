"""What nobody's command brings about: leases that run out, and deadlines of runs."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

from controller.exchange import lose_attempt, lose_session
from controller.handle import By, Controller
from controller.renewals import spare
from controller.unit import Unit
from controller.watch import Watch
from domain import agent as agents
from domain import deadlines
from eventstore import points
from eventstore.store import Append, Delete, Row, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger()
BY = By(actor="controller")


class Loop:
    """Judges leases and fires deadlines once a second, in a thread of its own.

    Only a server that has been up, unpaused and reachable for a whole lease may judge one: before that, the silence may
    have been its own. What begins this wait anew stands in `watch`; so does each sign of life that could not be kept.
    """

    def __init__(
        self, controller: Controller, *, tick: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._controller, self._tick = controller, tick
        self._watch = Watch(tick, monotonic)
        self.expired = 0  # leases that it has found to have run out
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, name="loop", daemon=True)

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
            except StoreUnavailable as error:
                log.warning("the loop waits for the database", error=str(error))
            except Exception:
                log.exception("the loop could not do its round and tries again")

    def once(self) -> int:
        """One round; how many leases were found to have run out."""
        try:
            timers, leases = self._to_look_at()
            if timers:
                self._to_all(self._due, _fire)
            found = 0
            if leases:
                asked = self._watch.look()
                found = self._to_all(lambda append: self._overdue(append, asked), _run_out)
            else:
                self._watch.rest()
        except Exception:
            self._watch.begin_anew()
            raise
        self.expired += found
        return found

    def _to_look_at(self) -> tuple[bool, bool]:
        """Whether there may be timers and leases. A look without the lock: who has nothing to do disturbs nobody."""
        state = self._controller.state
        if state.behind(self._controller.store.head()):
            return True, True
        online = any(agent.status == "online" for agent in list(state.agents.values()))
        return bool(state.timers), online or bool(state.held)

    def _to_all(self, find: Callable[[Append], Mapping[str, T]], do: Callable[[Unit, T], None]) -> int:
        """Do it to all that `find` names under the lock, in one append; to how many."""
        seen: list[str] = []

        def work(append: Append, only: str | None = None) -> int:
            self._controller.state.open(append)
            found = find(append)
            seen[:] = found
            wanted = [one for name, one in found.items() if only in (None, name)]
            if wanted:
                self._controller.at_work(append, BY, lambda unit: [do(unit, one) for one in wanted])
            return len(wanted)

        store = self._controller.store
        try:
            return store.append(work).result()
        except StoreUnavailable:
            raise
        except Exception:
            if not seen:
                raise
            # One of them that cannot be read must not keep the others from it.
            return sum(self._to_one(lambda append, name=name: work(append, name), name) for name in list(seen))

    def _to_one(self, work: Callable[[Append], int], name: str) -> int:
        try:
            return self._controller.store.append(work).result()
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("the loop cannot do what is due, and tries again", of=name)
            return 0

    def _due(self, append: Append) -> Mapping[str, str]:
        """The runs a deadline of which has passed. It waits for nobody: late is on time."""
        timers = self._controller.state.timers
        return {run_id: run_id for run_id, due_at in timers.items() if due_at <= append.now}

    def _overdue(self, append: Append, asked: float) -> Mapping[str, Row]:
        """The leases that have run out, by stream."""
        if self._controller.unheard.is_set():
            self._controller.unheard.clear()
            self._watch.begin_anew()
        # Here, in the batch: the database may have kept us waiting, and everybody else behind us.
        self._watch.compare(asked, append.clock)
        renewed = self._controller.state.renewed
        rows = {str(row["stream"]): row for row in append.select("lease") if self._has_run_out(row, append.clock)}
        return {stream: row for stream, row in rows.items() if stream not in renewed}

    def _has_run_out(self, row: Row, clock: int) -> bool:
        lease, left = float(row["seconds"] or 0), int(row["expires_at"] or 0) - clock
        # More left than it is long: the clock was set back since, and whoever is alive has renewed it since.
        silent = left <= -spare(lease) * 1e6 or left > lease * 1e6
        return silent and self._watch.may_judge(lease)


def _fire(unit: Unit, run_id: str) -> None:
    # What follows from one may take others away: each time the run is asked anew.
    while passed := deadlines.passed(unit.run(run_id), unit.append.now):
        points.reach("deadline.passed")
        unit.run_event(run_id, passed[0])


def _run_out(unit: Unit, row: Row) -> None:
    points.reach("lease.judged")
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
        return
    agent = unit.state.agents.get(str(row["agent_id"]))
    who = f"agent {agent.name}" if agent is not None else "the process that ran it"
    lose_attempt(unit, key, int(row["attempt"] or 0), f"{who} {silent}")
