"""The calls of components that a dynamic run has on record, and which of them this host makes again."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from foldline.automation.hosting import Hosting
from foldline.errors import FoldlineError, Refused
from foldline.listing import Json

# Ends the fingerprint of a call from a thread beside the main one: those come in any order.
BESIDE: Final = " beside"


class Diverged(FoldlineError):
    """A resumed pipeline function does something else than it did before."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call as an earlier host has made it."""

    call: int
    step: str
    fingerprint: str

    @property
    def component(self) -> str:
        return self.fingerprint.rpartition(":")[0]


class Journal:
    """Numbers the calls of this process. A first host has none on record; one that takes over begins with them all.

    Calls of the main thread have to be the recorded ones in their order. One from another thread is the recorded one
    of the same component and arguments, wherever that stands.
    """

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._recorded: Sequence[Recorded] = _recorded(hosting) if hosting.attempt > 1 else ()
        self._waiting: list[Recorded] = list(self._recorded)
        self._next = len(self._recorded)
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The steps on record."""
        return [one.step for one in self._recorded]

    def call(self, component: str, digest: str, step_of: Callable[[str | None], Json]) -> Json:
        """Make the call: the step as the server has it, new or on record.

        `step_of` makes the definition, given the name of a recorded step or None for a new one. Raises Diverged.
        """
        beside = threading.current_thread() is not threading.main_thread()
        fingerprint = f"{component}:{digest}{BESIDE if beside else ''}"
        again = self._again(fingerprint, component, beside=beside)
        step = step_of(None if again is None else again.step)
        with self._lock:
            number = self._next if again is None else again.call
            try:
                answer = self._hosting.add_step(number, fingerprint, step)
            except Refused as no:
                if no.code == "diverged":
                    raise Diverged(str(no)) from no
                raise
            self._next += again is None
        return answer

    def check_all_made(self) -> None:
        """Raises Diverged when the function has ended without a call that it had made before."""
        if self._waiting:
            one = self._waiting[0]
            raise Diverged(
                f"the pipeline function has ended without call {one.call + 1}, of component {one.component!r} as step "
                f"{one.step!r}, which it made before its host was replaced: {MUST_REPEAT}"
            )

    def _again(self, fingerprint: str, component: str, *, beside: bool) -> Recorded | None:
        with self._lock:
            if beside:
                found = next((one for one in self._waiting if one.fingerprint == fingerprint), None)
            else:
                found = next((one for one in self._waiting if not one.fingerprint.endswith(BESIDE)), None)
                if found is not None and found.fingerprint != fingerprint:
                    raise Diverged(_said(found, component))
            if found is not None:
                self._waiting.remove(found)
            return found


MUST_REPEAT: Final = (
    "from the same parameters and results a pipeline function has to make the same calls in the same order; "
    "let a component draw random numbers, tell the time or read what changes"
)


def _said(recorded: Recorded, component: str) -> str:
    now = f"a call of component {component!r}"
    if recorded.component == component:
        now += " with other arguments"
    return (
        f"call {recorded.call + 1} of the pipeline function was of component {recorded.component!r}, as step "
        f"{recorded.step!r}, before its host was replaced, and is {now} now: {MUST_REPEAT}"
    )


def _recorded(hosting: Hosting) -> Sequence[Recorded]:
    added = hosting.client.events.list(run_id=hosting.run_id, type="StepAdded")
    found = [_of_event(event["data"]) for event in added]
    return sorted(found, key=lambda one: one.call)


def _of_event(data: dict[str, Any]) -> Recorded:
    return Recorded(int(data["call"]), str(data["step"]["name"]), str(data["fingerprint"]))
