"""`?at=`: which moment of a run is meant."""

import time
from typing import Annotated

from fastapi import Query

from api.wire import position_from, position_text, time_from, time_text
from controller.reading import Reader
from domain.refused import Invalid
from domain.run import Run
from eventstore.store import Store

MOMENTS = "a run version such as 12, a time such as 2026-01-31T12:00:00Z, or a position such as p:0-318"

At = Annotated[
    str | None,
    Query(
        description=f"View it as of then: {MOMENTS}. Left out: as of now.",
        examples=["12", "p:0-318", "2026-01-31T12:00:00Z"],
        max_length=100,
    ),
]


def version_at(reader: Reader, store: Store, run_id: str, at: str) -> int:
    """The run version that `at` means, 1 at least. Raises Unknown, and Invalid with the cure."""
    run = reader.run(run_id)
    if at.isascii() and at.isdigit():
        return _as_version(run, at)
    if at.startswith("p:"):
        version = _as_of_position(reader, store, run, at)
    else:
        version = _as_of_time(reader, run, at)
    if not version:
        raise _invalid(f"Run {run.id} did not exist yet at {at}: it was created at {time_text(run.created_at)}.")
    return version


def _as_version(run: Run, at: str) -> int:
    version = int(at) if len(at) < 12 else run.version + 1
    if not 1 <= version <= run.version:
        raise _invalid(f"Run {run.id} has the versions 1 to {run.version}, not {at}.")
    return version


def _as_of_position(reader: Reader, store: Store, run: Run, at: str) -> int:
    try:
        position = position_from(at.removeprefix("p:"))
    except Invalid as wrong:
        raise _invalid(str(wrong)) from None
    head = store.head()
    if position > head:
        raise _invalid(f"The log has not come to {at} yet: it ends at p:{position_text(head)}.")
    return reader.version_at(run.id, lambda row: row.position <= position)


def _as_of_time(reader: Reader, run: Run, at: str) -> int:
    try:
        moment = time_from(at)
    except Invalid:
        raise _invalid(f"{at!r} is no moment: give {MOMENTS}.") from None
    if moment > time.time_ns() // 1000:
        raise _invalid(f"{at} has not come yet: leave out `at` to see the run as it is now.")
    return reader.version_at(run.id, lambda row: row.recorded_at <= moment)


def _invalid(said: str) -> Invalid:
    return Invalid(said, "at")
