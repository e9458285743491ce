"""What time alone brings about. What is due when follows from the state; only that it came is an event."""

from collections.abc import Sequence

from domain.lifecycle import RUN_ENDED
from domain.run_events import DeadlinePassed
from domain.run_state import Run


def next_due(run: Run) -> int | None:
    """When the run has to be looked at next though nothing happens: microseconds UTC. None: never."""
    if not run.timers or run.status in RUN_ENDED:
        return None
    return min(run.timers.values())


def passed(run: Run, now: int) -> Sequence[DeadlinePassed]:
    """The deadlines that lie before `now`, the earliest first."""
    if run.status in RUN_ENDED:
        return []
    due = sorted((at, key) for key, at in run.timers.items() if at <= now)
    return [_event(run, kind, name) for _, (kind, name) in due]


def _event(run: Run, kind: str, name: str) -> DeadlinePassed:
    step: str | None = name
    if kind == "run_time_limit":
        step = None
    elif kind == "hook":
        step = run.hooks[name].asked.step if name in run.hooks else None
    return DeadlinePassed(kind=kind, name=name, step=step)
