"""From rows of the log to folded rows: one page for one projection, or as much of it as can be read."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import SQLAlchemyError

from domain.events import TYPES
from eventstore.schema import content
from eventstore.store import Recorded, StoreBroken, StoreUnavailable
from projections.projection import Entry, Page, Projection, entry_of, without_nul
from projections.sheet import MOST_AT_ONCE, Contents, Desk

log = logging.getLogger(__name__)


class Unreadable(NamedTuple):
    """An event that this program cannot read. Whoever reads its kind stops before it; all do if it has none."""

    position: int
    type: str
    why: str


class Decoded(NamedTuple):
    """A page of the log, in order."""

    entries: Sequence[Entry]
    unreadable: Sequence[Unreadable]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a projection makes of the events up to position `upto`, recorded `at`. `error`: why it goes no further."""

    desk: Desk
    upto: int
    at: int | None
    error: str | None = None


def decoded(page: Sequence[Recorded], reads: Collection[type]) -> Decoded:
    """The events of these kinds, and those of no known kind."""
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    for recorded in page:
        kind = TYPES.get(recorded.type)
        if kind is None or kind in reads:
            try:
                entries.append(entry_of(recorded))
            except StoreBroken as broken:
                unreadable.append(Unreadable(recorded.position, recorded.type, str(broken)))
    return Decoded(entries, unreadable)


def fold(
    one: Projection,
    page: Sequence[Recorded],
    events: Decoded,
    connection: Connection,
    tables: Mapping[str, Table] | None = None,
) -> Folded:
    """`page` folded for `one`, as far as it gets with it. `events` is what `decoded` made of the page."""
    mine, broken = _readable(one, events)
    while True:
        desk = Desk(contents_on(connection), connection, tables)
        looked_at = Page(mine)
        try:
            one.fold(looked_at, desk)
        except (SQLAlchemyError, StoreUnavailable):
            raise  # no event is to blame
        except Exception as error:
            at = looked_at.current or mine[0]
            log.exception("projection %s cannot take event %d", one.name, at.position)
            broken = Unreadable(at.position, type(at.event).__name__, str(error) or type(error).__name__)
            mine = [entry for entry in mine if entry.position < at.position]
        else:
            return _folded(desk, page, broken)


def contents_on(connection: Connection) -> Contents:
    """The content table as `connection` sees it."""

    def contents(digests: Collection[str]) -> Mapping[str, str]:
        wanted = sorted(digests)
        found = Found()
        for start in range(0, len(wanted), MOST_AT_ONCE):
            some = wanted[start : start + MOST_AT_ONCE]
            rows = connection.execute(select(content.c.digest, content.c.data).where(content.c.digest.in_(some)))
            found.update({row.digest: without_nul(row.data) for row in rows})
        return found

    return contents


class Found(dict[str, str]):
    """Contents by digest. One that is asked for and not there should have been."""

    def __missing__(self, digest: str) -> str:
        raise StoreBroken(f"content {digest} is missing")


def _readable(one: Projection, events: Decoded) -> tuple[list[Entry], Unreadable | None]:
    """The entries that `one` reads, up to the first that it would have to read and cannot."""
    reads = one.reads
    mine = [entry for entry in events.entries if type(entry.event) in reads]
    for broken in events.unreadable:
        if broken.type not in TYPES or TYPES[broken.type] in reads:
            return [entry for entry in mine if entry.position < broken.position], broken
    return mine, None


def _folded(desk: Desk, page: Sequence[Recorded], broken: Unreadable | None) -> Folded:
    if broken is None:
        return Folded(desk, page[-1].position, page[-1].recorded_at)
    before = [recorded for recorded in page if recorded.position < broken.position]
    upto, at = (before[-1].position, before[-1].recorded_at) if before else (page[0].position - 1, None)
    return Folded(desk, upto, at, f"stopped before event {broken.position} ({broken.type}): {broken.why}")
