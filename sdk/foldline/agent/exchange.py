"""The conversation with the server: a long poll for work, reports sent at once beside it, a heartbeat."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from foldline.agent.attempt import Attempt, Ending
from foldline.agent.patience import Pauses
from foldline.agent.roster import Key, Roster
from foldline.agent.spool import Spool
from foldline.client import Client
from foldline.errors import ApiError, FoldlineError, Invalid, NotFound, TooLarge

Json = dict[str, Any]

WAIT: Final = 25.0  # seconds that a poll waits for work on the server
# Right after a report a poll would ask what the report's answer has just told. While steps end one after another, at
# whatever pace up to LONGEST_LINGER, reports are the only requests. With no free slot a poll brings nothing but a stop.
LINGER: Final = 0.02
LINGER_WHEN_FULL: Final = 0.2
LONGEST_LINGER: Final = 0.3
SOON: Final = 0.05  # an answer this quick and empty was not waited for

log = logging.getLogger("foldline.agent")


class Exchange:
    """The exchanges of one session, until the server or the agent ends it: then `over` is set.

    Two may be under way, a poll and one with reports, for which the server ends the poll's wait. The roster sees to
    it that together they offer no slot twice, and that a claim on both answers is one attempt.
    """

    def __init__(
        self, client: Client, registration: Json, roster: Roster, spool: Spool, wake: Callable[[], None]
    ) -> None:
        self.over = threading.Event()
        self.why_over = ""
        self._client = client
        self._agent_id = str(registration["id"])
        self._session = str(registration["session"])
        self._heartbeat = float(registration["heartbeat"])
        self._roster = roster
        self._spool = spool
        self._wake = wake
        lock = threading.Lock()
        self._has_work = threading.Condition(lock)  # for those who deliver
        self._is_calm = threading.Condition(lock)  # for those who poll
        self._is_held_up = False  # whether the poll waits for the end of a delivery
        self._outbox: dict[Key, Json] = {}
        self._nudged = False
        self._delivering = False
        self._delivered_at = 0.0  # monotonic
        self._pace = 0.0  # seconds between the last two deliveries
        self._away = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for work in (self._poll, self._deliver, self._beat):
            thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def report(self, attempt: Attempt, report: Json | None) -> None:
        """Free the attempt's slot and tell the server how it ended. None: it was lost, which the server knows."""
        if report is None:
            self._roster.forget(attempt.key)
            self._wake()
            return
        self._roster.ended(attempt.key)
        with self._has_work:
            self._outbox[attempt.key] = report
            self._has_work.notify()

    def nudge(self) -> None:
        """Exchange now: what the poll under way has offered does not hold any more."""
        with self._has_work:
            self._nudged = True
            self._has_work.notify()

    def end(self, why: str) -> None:
        """Exchange no more."""
        with self._has_work:
            if not self.over.is_set():
                self.why_over = why
                self.over.set()
            self._has_work.notify()
            self._is_calm.notify()
        self._wake()

    def join(self, seconds: float) -> None:
        """Wait for the answers under way, at most so long for each: a poll may have none for a while."""
        for thread in self._threads:
            thread.join(seconds)

    def _poll(self) -> None:
        pauses = Pauses()
        while self._quiet():
            asked = time.monotonic()
            try:
                brought = self._exchange([], WAIT)
            except Exception as error:
                self._pause(error, pauses)
                continue
            pauses.reset()
            if not brought and time.monotonic() - asked < SOON and self._delivered_at < asked and not self._is_busy():
                # A server on its way out answers at once and with nothing: do not ask it in a circle.
                self.over.wait(pauses.next())

    def _quiet(self) -> bool:
        """Wait until no report is on its way and none has been for a moment. False when the session is over."""
        with self._is_calm:
            while not self.over.is_set():
                rest = self._delivered_at + linger(self._pace, self._roster.has_free()) - time.monotonic()
                if not self._is_busy() and rest <= 0:
                    return True
                # What is delivered while it rests can only make it rest for longer: no need to be woken by that.
                self._is_held_up = self._is_busy()
                self._is_calm.wait(None if self._is_held_up else rest)
        return False

    def _is_busy(self) -> bool:
        return bool(self._outbox) or self._nudged or self._delivering

    def _deliver(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._spool.keep(batch)
            except OSError as error:
                log.error("reports cannot be kept on disk (%s): an agent that dies now loses them", error)
            if self._insist(batch, Pauses()):
                self._spool.forget()
            with self._is_calm:
                self._delivering = False
                now = time.monotonic()
                self._pace, self._delivered_at = now - self._delivered_at, now
                if self._is_held_up and not self._outbox:
                    self._is_calm.notify()

    def _next_batch(self) -> list[Json] | None:
        """All reports that wait (none after a nudge). None when the session is over."""
        with self._has_work:
            self._has_work.wait_for(lambda: self._outbox or self._nudged or self.over.is_set())
            if self.over.is_set():
                return None
            batch = list(self._outbox.values())
            self._outbox.clear()
            self._nudged, self._delivering = False, True
            return batch

    def _insist(self, reports: list[Json], pauses: Pauses) -> bool:
        """Exchange with `reports` until the server has answered them. False when the session is over before that."""
        while not self.over.is_set():
            try:
                self._exchange(reports, 0.0)
                return True
            except Exception as error:
                if not _is_no(error):
                    self._pause(error, pauses)
                elif len(reports) > 1:
                    # One that the server cannot take must not keep the others from it.
                    return all(self._insist([report], pauses) for report in reports)
                else:
                    log.error("the server does not take %s: %s", reports or "an exchange without reports", error)
                    self._answered(reports)
                    return True
        return False

    def _exchange(self, reports: Sequence[Json], wait: float) -> bool:
        """Exchange once. Whether the answer brought work."""
        offer = self._roster.offer(reports)
        claims: list[Json] = []
        try:
            answer = self._client.agents.exchange(
                self._agent_id,
                session=self._session,
                held=offer.held,
                reports=reports,
                free=offer.free,
                wait=wait,
            )
            claims = answer["claims"]
        finally:
            fresh = self._roster.settle(offer, claims)
        for attempt in fresh:
            attempt.start()
        self._is_back()
        for said in answer["reports"]:
            if not said["accepted"]:
                log.warning("the report on task %s came too late: %s", said["task_id"], said["reason"])
        self._answered(reports)
        if self._roster.is_idle():
            self._wake()
        self._stop(answer["stop"])
        return bool(claims)

    def _answered(self, reports: Sequence[Json]) -> None:
        for report in reports:
            attempt = self._roster.forget((report["task_id"], report["attempt"]))
            if attempt is not None:
                attempt.put_away()

    def _beat(self) -> None:
        while not self.over.wait(self._heartbeat):
            try:
                answer = self._client.agents.heartbeat(self._agent_id, session=self._session, held=self._roster.held())
                self._stop(answer["stop"])
            except Exception as error:
                self._trouble(error)

    def _stop(self, stops: Sequence[Json]) -> None:
        running = self._roster.running()
        for stop in stops:
            attempt = running.get((str(stop["task_id"]), int(stop["attempt"])))
            if attempt is not None:
                reason = str(stop.get("reason") or "stop requested")
                attempt.stop(Ending(reason, None if stop.get("lost") else "stopped"))

    def _pause(self, error: Exception, pauses: Pauses) -> None:
        self._trouble(error)
        self.over.wait(pauses.next())

    def _trouble(self, error: Exception) -> None:
        """Say it once; the caller tries again."""
        if self.over.is_set():
            return
        if _ends_session(error):
            self.end(str(error))
        elif not isinstance(error, FoldlineError):
            log.error("an exchange failed", exc_info=error)
        elif not self._away:
            self._away = True
            log.warning("%s; attempts go on, and their reports are kept until it answers", error)

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.info("the server answers again")


def linger(pace: float, has_free: bool) -> float:
    """Seconds to wait for the next report before a poll is worth its request. `pace`: seconds between the last two."""
    if not has_free:
        return LINGER_WHEN_FULL
    # Twice as long as the last one took: steps in a row, beside a slot that is free, are mostly of a kind.
    return max(LINGER, 2 * pace) if 2 * pace <= LONGEST_LINGER else LINGER


def _ends_session(error: Exception) -> bool:
    """A newer session exists, or we were declared lost, or the server has forgotten us with its database."""
    return isinstance(error, NotFound) or (isinstance(error, ApiError) and error.code == "session-superseded")


def _is_no(error: Exception) -> bool:
    """Whether the server has understood the question and will not have it, this time or the next."""
    return isinstance(error, Invalid | TooLarge)
