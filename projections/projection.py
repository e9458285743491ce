"""What a projection is: a fold of pages of the log into the rows of its own tables."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from sqlalchemy import Table

from domain.events import Event
from eventstore.store import StoreBroken
from projections.sheet import Desk

T = TypeVar("T", bound=Event)


class Entry(Struct, gc=False):
    """An event with what its row in the log says beside it. Of thousands on a page none burdens the collector."""

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

    def __init__(self, entries: Sequence[Entry], by_kind: Mapping[type, Sequence[Entry]]) -> None:
        self.entries = entries
        self.current: Entry | None = None
        self._by_kind = by_kind

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.current = entry
            yield entry

    def of(self, *kinds: type) -> Sequence[Entry]:
        """Those of these kinds, kind by kind."""
        return [entry for kind in kinds for entry in self._by_kind.get(kind, ())]

    def events(self, *kinds: type[T]) -> Sequence[T]:
        found: Sequence[Any] = [entry.event for entry in self.of(*kinds)]
        return found

    def begun_before(self) -> set[str]:
        """The ids of those streams whose first event is not on the page: only they can have rows already."""
        return {entry.id for entry in self.entries} - {entry.id for entry in self.entries if entry.version == 1}

    def read_by(self, kinds: frozenset[type], before: int | None = None) -> "Page":
        """The page without what is of other kinds, and without what is not before that position."""
        if before is not None:
            return page_of([entry for entry in self.entries if entry.position < before]).read_by(kinds)
        by_kind = {kind: entries for kind, entries in self._by_kind.items() if kind in kinds}
        if len(by_kind) == len(self._by_kind):
            return Page(self.entries, by_kind)
        return Page([entry for entry in self.entries if type(entry.event) in kinds] if by_kind else (), by_kind)


def page_of(entries: Sequence[Entry]) -> Page:
    by_kind: dict[type, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_kind[type(entry.event)].append(entry)
    return Page(entries, by_kind)


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


def never_created(entry: Entry, what: str) -> StoreBroken:
    return StoreBroken(f"{what} {entry.id} has a {type(entry.event).__name__} but was never created")
