"""The events of a shard as they lie in the database, read in order and hashed again."""

import sqlite3
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from eventstore.dialects import Dialect
from eventstore.leaf import leaf_of
from eventstore.merkle import WIDTH
from eventstore.schema import EVENT_COLUMNS

Row = tuple[Any, ...]

PAGE = 2_000
HASHED = len(EVENT_COLUMNS) - 1  # all but the hash itself
POSITION, STREAM, VERSION, META, LEAF, COMMAND, ORDINAL = 1, 2, 3, 12, 14, 15, 16
MOST_COMMANDS = 10_000  # whose next place is remembered: the events of one command lie together

_encode = msgspec.json.Encoder().encode
_BEGUN = sha256(b"\x00")  # as in leaf.py; beginning a hash costs more than going on with a copy of it


class Stretch(NamedTuple):
    """Rows from position `start` + 1 to `end`, some of which may be missing; their hashes, and the hashes they name.

    `told` are those of the rows that a command has left.
    """

    start: int
    end: int
    rows: Sequence[Row]
    told: Sequence[Row]
    leaves: bytes
    named: bytes

    @property
    def is_whole(self) -> bool:
        # Positions are unique and in order: as many as there is room for are all of them.
        return len(self.rows) == self.end - self.start

    @property
    def is_hashed(self) -> bool:
        return self.is_whole and self.leaves == self.named


class Rows:
    """Of one shard, up to `head`."""

    def __init__(self, database: Dialect, shard: int, head: int) -> None:
        self._database, self._shard, self._head = database, shard, head
        columns = (*EVENT_COLUMNS, "command_id", "ordinal")
        self._page = database.sql(
            f"SELECT {', '.join(columns)} FROM event WHERE shard = ? AND position > ? AND position <= ?"
            " ORDER BY position LIMIT ?"
        )
        self._at = 0
        self._read: list[Row] = []

    def upto(self, end: int) -> Stretch:
        """Behind the last stretch. Raises StoreUnavailable."""
        start, self._at = self._at, end
        rows: list[Row] = []
        after = start
        while after < min(end, self._head):
            if not self._read and not self._fill(after):
                break
            if self._read[-1][POSITION] <= end:
                rows += self._read
                after = self._read[-1][POSITION]
                self._read = []
            else:
                here = next(index for index, row in enumerate(self._read) if row[POSITION] > end)
                rows += self._read[:here]
                self._read = self._read[here:]
                break
        return Stretch(start, end, rows, *_hashed(rows))

    def _fill(self, after: int) -> bool:
        try:
            self._read = self._database.fetch(self._page, (self._shard, after, self._head, PAGE))
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            self._read = self._one_by_one(after)
        return bool(self._read)

    def _one_by_one(self, after: int) -> list[Row]:
        """A page in which a text is no text any more: such a row is given with nothing in it but its position."""
        rows: list[Row] = []
        find = self._database.sql("SELECT min(position) FROM event WHERE shard = ? AND position > ?")
        while len(rows) < PAGE and (position := self._database.fetch(find, (self._shard, after))[0][0]) is not None:
            try:
                rows += self._database.fetch(self._page, (self._shard, position - 1, position, 1))
            except sqlite3.OperationalError:
                empty = (self._shard, position, "", *[None] * (LEAF - VERSION), b"", None, None)
                rows.append(empty)
            after = position
        return rows


def _hashed(rows: Sequence[Row]) -> tuple[Sequence[Row], bytes, bytes]:
    """Those of commands, the hashes that the rows have, and those that they name."""
    leaves: list[bytes] = []
    for row in rows:
        leaf = _BEGUN.copy()
        leaf.update(_encode(row[:HASHED]))
        leaves.append(leaf.digest())
    try:
        told = [row for row in rows if row[COMMAND] is not None or '"command":' in row[META]]
        named = b"".join([row[LEAF] for row in rows])
    except TypeError:  # a column holds what it never should
        told, named = rows, b"".join([_hash_or_none(row[LEAF]) for row in rows])
    return told, b"".join(leaves), named


class Commands:
    """The command id of an event and its place in the command are in no hash: the meta says what they must be."""

    def __init__(self, find: Callable[[Row, str], None]) -> None:
        self._find = find
        self._next: dict[Any, int] = {}  # {command: the place that its next event has}

    def check(self, rows: Sequence[Row], *, whole: bool) -> None:
        """Rows that follow on those of the last call; with `whole` none between them is missing."""
        for row in rows:
            command = _command_of(row[META])
            if command is None and row[COMMAND] is None:
                continue
            expected = self._next.get(command, 0)
            place: int = row[ORDINAL] if isinstance(row[ORDINAL], int) else -1
            if row[COMMAND] != command:
                self._find(row, "its command id is not the one in its meta")
            # Where events are missing the count jumps, which would be said of the wrong event.
            elif place != expected and (whole or place < expected):
                self._find(row, f"it has place {row[ORDINAL]} in its command, not {expected}")
                place = expected
            if len(self._next) >= MOST_COMMANDS:
                self._next.clear()
            self._next[command] = self._next[row[COMMAND]] = place + 1


def _hash_or_none(leaf: Any) -> bytes:
    return leaf if isinstance(leaf, bytes) and len(leaf) == WIDTH else bytes(WIDTH)


def _command_of(meta: Any) -> str | None:
    try:
        command = msgspec.json.decode(meta).get("command")
    except (msgspec.DecodeError, AttributeError, TypeError):
        return None
    return command if isinstance(command, str) else None


def leaf_at(row: Row, position: int) -> bytes:
    """The hash that the row would have at another position."""
    return leaf_of((row[0], position, *row[2:HASHED]))
