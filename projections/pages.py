"""From rows of the log to folded rows: one page for one projection, or as much of it as can be read."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

from domain.events import TYPES, UPCASTS
from eventstore.codec import Codec
from eventstore.dialects import Dialect
from eventstore.schema import content
from eventstore.store import Recorded, StoreBroken, StoreUnavailable
from projections import bulk
from projections.projection import Entry, Page, Projection, page_of
from projections.sheet import Contents, Desk

log = logging.getLogger(__name__)

CODEC = Codec(TYPES, UPCASTS)
_ESCAPED_NUL = re.compile(r"(\\\\)|\\u0000")

# What rows are made from, of the log's columns, in the order of `Logged`. The rest is neither read nor kept.
_READ = (
    "SELECT position, recorded_at, stream, version, run_id, run_version, subject, from_state, to_state, type, schema,"
    " data FROM event WHERE shard = ? AND position > ? ORDER BY position LIMIT ?"
)
Logged = tuple[int, int, str, int, str | None, int | None, str | None, str | None, str | None, str, int, str]


class Unreadable(NamedTuple):
    """An event that this program cannot read. Whoever reads its kind stops before it; all do if it has none."""

    position: int
    type: str
    why: str


class Decoded(NamedTuple):
    """What could be read of a page of the log, once for all who fold it."""

    page: Page
    unreadable: Sequence[Unreadable]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a projection makes of the events up to position `upto`, recorded `at`. `error`: why it goes no further."""

    desk: Desk
    upto: int
    at: int | None
    error: str | None = None


def read(database: Dialect, shard: int, after: int, limit: int) -> Sequence[Logged]:
    """At most `limit` events from position `after` + 1 on. Raises StoreUnavailable."""
    rows: Sequence[Any] = database.fetch(database.sql(_READ), (shard, after, limit))
    return rows


def as_logged(row: Recorded) -> Logged:
    return (
        row.position,
        row.recorded_at,
        row.stream,
        row.version,
        row.run_id,
        row.run_version,
        row.subject,
        row.from_state,
        row.to_state,
        row.type,
        row.schema,
        row.data,
    )


def decoded(rows: Sequence[Logged], reads: Collection[type]) -> Decoded:
    """The events of these kinds, and those of no known kind."""
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    for position, at, stream, version, run_id, run_version, step, before, after, name, schema, data in rows:
        kind = TYPES.get(name)
        if kind is not None and kind not in reads:
            continue
        try:
            event = CODEC.decode(name, schema, without_nul(data))
        except StoreBroken as broken:
            unreadable.append(Unreadable(position, name, str(broken)))
            continue
        if step is not None and "\x00" in step:
            step = step.replace("\x00", "\ufffd")
        identifier = stream.partition("-")[2]
        entries.append(
            Entry(identifier, event, at, position, version, run_id, run_version, step or None, before, after)
        )
    return Decoded(page_of(entries), unreadable)


def fold(
    one: Projection,
    rows: Sequence[Logged],
    events: Decoded,
    connection: Connection,
    tables: Mapping[str, Table] | None = None,
) -> Folded:
    """The page folded for `one`, as far as it gets with it. `events` is what `decoded` made of its rows."""
    page, broken = _readable(one, events)
    while True:
        desk = Desk(contents_on(connection), connection, tables)
        try:
            if page.entries:
                one.fold(page, desk)
        except (SQLAlchemyError, StoreUnavailable):
            raise  # no event is to blame
        except Exception as error:
            at = page.current or page.entries[0]
            log.exception("projection %s cannot take event %d", one.name, at.position)
            broken = Unreadable(at.position, type(at.event).__name__, str(error) or type(error).__name__)
            page = page.read_by(one.reads, before=at.position)
        else:
            return _folded(desk, rows, broken)


def contents_on(connection: Connection) -> Contents:
    """The content table as `connection` sees it."""

    def contents(digests: Collection[str]) -> Mapping[str, str]:
        found = Found()
        if digests:
            rows = bulk.select(connection, content, "digest", digests)
            found.update({row["digest"]: without_nul(row["data"]) for row in rows})
        return found

    return contents


class Found(dict[str, str]):
    """Contents by digest. One that is asked for and not there should have been."""

    def __missing__(self, digest: str) -> str:
        raise StoreBroken(f"content {digest} is missing")


def without_nul(json: str) -> str:
    """JSON text whose strings have U+FFFD for NUL, which a text of PostgreSQL cannot hold."""
    if "\\u0000" not in json:
        return json
    return _ESCAPED_NUL.sub(lambda found: found[0] if found[1] else "\ufffd", json)


def _readable(one: Projection, events: Decoded) -> tuple[Page, Unreadable | None]:
    """The entries that `one` reads, up to the first that it would have to read and cannot."""
    for broken in events.unreadable:
        if broken.type not in TYPES or TYPES[broken.type] in one.reads:
            return events.page.read_by(one.reads, before=broken.position), broken
    return events.page.read_by(one.reads), None


def _folded(desk: Desk, rows: Sequence[Logged], broken: Unreadable | None) -> Folded:
    if broken is None:
        upto, at, *_ = rows[-1]
        return Folded(desk, upto, at)
    before = [row[:2] for row in rows if row[0] < broken.position]
    upto, at = before[-1] if before else (rows[0][0] - 1, None)
    return Folded(desk, upto, at, f"stopped before event {broken.position} ({broken.type}): {broken.why}")
