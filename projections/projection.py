"""What a projection is: a fold of pages of the log into the rows of its own tables."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Table

from domain.events import TYPES, UPCASTS, Event
from eventstore.codec import Codec
from eventstore.store import Recorded, StoreBroken
from projections.sheet import Desk

CODEC = Codec(TYPES, UPCASTS)
_ESCAPED_NUL = re.compile(r"(\\\\)|\\u0000")


class Entry(NamedTuple):
    """An event with what its row in the log says beside it."""

    id: str  # the stream's name without its kind
    event: Event
    at: int
    position: int
    version: int
    run_id: str | None
    run_version: int | None
    step: str | None
    before: str | None  # the state that it led from: of a run's event about a step, the step's
    after: str | None


class Page:
    """Entries in the order of the log; it knows which of them is being looked at."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.current: Entry | None = None

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.current = entry
            yield entry


class Projection(Protocol):
    """A pure fold: what it leaves in its tables follows from the log alone, however the log is cut into pages."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int:
        """To be raised whenever its rows would come out differently: they are then made anew."""
        ...

    @property
    def tables(self) -> Sequence[Table]: ...

    @property
    def reads(self) -> frozenset[type]:
        """The kinds of events that it is given."""
        ...

    def fold(self, page: Page, desk: Desk) -> None:
        """Take the page into the rows on the desk. May be called again with the same page on a fresh desk."""
        ...


def entry_of(recorded: Recorded) -> Entry:
    """Raises StoreBroken for what this program does not know or cannot read."""
    step = recorded.subject
    event: Any = CODEC.decode(recorded.type, recorded.schema, without_nul(recorded.data))
    return Entry(
        recorded.stream.partition("-")[2],
        event,
        recorded.recorded_at,
        recorded.position,
        recorded.version,
        recorded.run_id,
        recorded.run_version,
        step.replace("\x00", "\ufffd") if step else None,
        recorded.from_state,
        recorded.to_state,
    )


def without_nul(json: str) -> str:
    """JSON text whose strings have U+FFFD for NUL, which a text of PostgreSQL cannot hold."""
    if "\\u0000" not in json:
        return json
    return _ESCAPED_NUL.sub(lambda found: found[0] if found[1] else "\ufffd", json)


def begun_before(entries: Sequence[Entry], kinds: tuple[type, ...]) -> set[str]:
    """The ids of those streams whose first event is not among `entries`: only they can have rows already."""
    new: set[str] = set()
    old: set[str] = set()
    for entry in entries:
        if isinstance(entry.event, kinds):
            if entry.version == 1:
                new.add(entry.id)
            elif entry.id not in new:
                old.add(entry.id)
    return old


def never_created(entry: Entry, what: str) -> StoreBroken:
    return StoreBroken(f"{what} {entry.id} has a {type(entry.event).__name__} but was never created")
