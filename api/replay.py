"""A run's states one after another, rebuilt from the log: at once, or in the time they took."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from api.live import PING_EVERY
from api.run_views import run_view, step_view
from api.services import Services
from api.streams import Form
from api.views import event_view
from api.waiting import Waiting
from api.wire import time_text
from domain.run import Run
from domain.run_events import StepsReopened
from eventstore.store import Recorded

State = tuple[Recorded, Run, Run]

PIECE = 100  # events that are folded at once


async def replayed(
    services: Services, waiting: Waiting, run_id: str, first: int, last: int, speed: float, form: Form
) -> AsyncGenerator[bytes]:
    """The events of run versions `first` to `last`, each with the run as of then. `speed` 0 is without pauses."""
    states = services.reader.states(run_id, upto=last)
    clock = asyncio.get_running_loop()
    began, first_at = clock.time(), None
    with waiting.pausing() as waiter:
        while not waiter.ended and (some := await run_in_threadpool(_some, states, first, form)):
            if not speed:
                yield b"".join(piece for _, piece in some)
                continue
            for at, piece in some:
                first_at = at if first_at is None else first_at
                due = began + (at - first_at) / 1e6 / speed
                while (left := due - clock.time()) > 0 and not waiter.ended:
                    if not await waiter.wait(min(left, PING_EVERY)) and form.ping and left > PING_EVERY:
                        yield form.ping
                if waiter.ended:
                    return
                yield piece
    if form.end:
        yield form.end


def _some(states: Iterator[State], first: int, form: Form) -> list[tuple[int, bytes]]:
    """The next moments from version `first` on, each with its time."""
    asked = (state for state in states if state[2].version >= first)
    return [
        (row.recorded_at, form.piece(run.version, moment(row, before, run)))
        for row, before, run in islice(asked, PIECE)
    ]


def moment(row: Recorded, before: Run, run: Run) -> dict[str, Any]:
    names: list[str] = [row.subject] if row.subject is not None else []
    if row.type == StepsReopened.__name__:
        names = msgspec.json.decode(row.data)["steps"]
    return {
        "version": run.version,
        "at": time_text(row.recorded_at),
        "type": row.type,
        "step": row.subject,
        "event": event_view(row),
        "run": run_view(run),
        "changed": [step_view(run, name) for name in names if before.step(name) is not run.step(name)],
    }
