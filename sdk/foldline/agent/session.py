"""One registration with the server, and everything that lives and ends with it."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from foldline import process
from foldline.agent.attempt import Attempt, Ending, Workshop
from foldline.agent.exchange import Exchange
from foldline.agent.logs import LogShipper
from foldline.agent.roster import Roster
from foldline.agent.spawners import Spawners
from foldline.agent.spool import Spool
from foldline.agent.strays import Strays
from foldline.agent.workspace import shared_environment
from foldline.client import Client
from foldline.errors import FoldlineError

Json = dict[str, Any]

TIDY_EVERY: Final = 2.0  # seconds
NUDGE_EVERY: Final = 0.5  # seconds
LAST_LOGS: Final = 5.0  # seconds that leaving waits for output on its way
LAST_ANSWERS: Final = 1.0  # seconds for exchanges under way
LAST_PROCESSES: Final = 10.0  # seconds for what was killed to be gone

log = logging.getLogger("foldline.agent")


class Session:
    """Takes work from `start` on. Leaving the `with` block ends what still runs, unreported."""

    def __init__(
        self,
        client: Client,
        registration: Json,
        *,
        slots: int,
        spool: Path,
        sources: Path,
        token: str | None,
        grace: float,
        docker: bool = False,
        wake: Callable[[], None],
    ) -> None:
        self._client = client
        self._agent_id = str(registration["id"])
        self._id = str(registration["session"])
        environment = shared_environment(client.url, token, self._id)
        self._spool = Spool(spool / self._id)
        self._logs = LogShipper(client, echo=sys.stdout.buffer if os.environ.get(process.ECHO) else None)
        self._spawners = Spawners(self._spool.folder, environment)
        self._strays = Strays(self._id)
        self._shop = Workshop(client, self._spool, self._logs, self._spawners, environment, sources, grace, docker)
        self._roster = Roster(slots, self._attempt)
        self._nudged_at = 0.0
        self.exchange = Exchange(client, registration, self._roster, self._spool, wake)

    def __enter__(self) -> Self:
        self.exchange.start()
        threading.Thread(target=self._tidy, name="tidy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.exchange.end("the agent left")
        self._end(self._roster.close())
        self.exchange.join(LAST_ANSWERS)
        self._spawners.close()
        self._logs.close()
        self._strays.sweep()
        self._spool.close()

    def is_over(self) -> bool:
        return self.exchange.over.is_set()

    def is_idle(self) -> bool:
        """Whether nothing runs and every report was answered."""
        return self._roster.is_idle()

    def running(self) -> int:
        return len(self._roster.running())

    def drain(self) -> None:
        """Take no new work. To be called again until the session is idle."""
        self._roster.drain()
        # A nudge may overtake a poll that was sent before it, which then waits on with slots that are no more.
        if self._roster.has_promised() and time.monotonic() - self._nudged_at > NUDGE_EVERY:
            self._nudged_at = time.monotonic()
            self.exchange.nudge()

    def fail_all(self, reason: str) -> None:
        """End what runs and report it as failed."""
        for attempt in self._roster.running().values():
            attempt.stop(Ending(reason, "failed"))

    def leave(self) -> None:
        """Tell the server that this agent is gone, so that it need not find out."""
        self._logs.wait(LAST_LOGS)
        try:
            self._client.agents.leave(self._agent_id, session=self._id, reports=[])
        except FoldlineError as error:
            log.warning("could not say goodbye: %s", error)

    def _attempt(self, claim: Json) -> Attempt:
        return Attempt(claim, self._shop, self.exchange.report)

    def _end(self, held: Sequence[Attempt]) -> None:
        """Nobody wants a report of what still runs: to the server it is lost already."""
        for attempt in held:
            attempt.stop(Ending("its session is over", None))
            attempt.put_away()
        for attempt in held:
            attempt.wait(LAST_PROCESSES)

    def _tidy(self) -> None:
        while not self.exchange.over.wait(TIDY_EVERY):
            try:
                self._shop.hands.hurry()
                self._spawners.end_idle()
                for pid in self._strays.sweep(self._roster.running()):
                    log.warning("ended process %d, which an attempt had left behind", pid)
            except Exception:
                log.exception("tidying up failed; the next try is in %.0f s", TIDY_EVERY)
