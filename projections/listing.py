"""How rows are chosen and paged through: newest first, read on from a key, JSON unpacked."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Select, literal, select, tuple_

from domain.refused import Invalid
from projections.tables import INDEXED_LETTERS, JSON_COLUMNS, beginning, key_of

Row = dict[str, Any]
Listing = tuple[list[Row], str | None]  # the rows, and the cursor to those that follow
Conditions = list[ColumnElement[bool]]


# Conditions


def chosen(column: Column[Any], value: str | None) -> Conditions:
    """The column is this text that people choose, of which the indexes hold the beginning."""
    if value is None:
        return []
    value = as_in_rows(value)
    where = [column.is_not(None), beginning(column) == value[:INDEXED_LETTERS]]
    # Said only where it says more: with both, SQLite puts the one into the other and then sees no index.
    return where if len(value) < INDEXED_LETTERS else [*where, column == value]


def equal(column: Column[Any], value: str | None) -> Conditions:
    return [] if value is None else [column == as_in_rows(value)]


def one_of(column: Column[Any], values: Collection[str]) -> Conditions:
    return [column.in_([as_in_rows(value) for value in values])] if values else []


def tagged_with(key: Column[Any], tagged: Column[Any], tag: Column[Any], tags: Collection[str]) -> Conditions:
    return [key.in_(select(tagged).where(tag.in_([key_of(as_in_rows(one)) for one in tags])))] if tags else []


def as_in_rows(value: str) -> str:
    """As it stands in the rows, which have no NUL."""
    return value.replace("\x00", "\ufffd")


# Pages


def newest(
    connection: Connection,
    query: Select[Any],
    position: Column[Any],
    key: Column[Any],
    limit: int,
    cursor: str | None,
) -> Listing:
    if cursor is not None:
        query = query.where(tuple_(position, key) < literals_of(opened(cursor, int, str)))
    rows, more = some_of(connection, query.order_by(position.desc(), key.desc()).limit(limit + 1), limit)
    return rows, cursor_of(rows[-1][position.name], rows[-1][key.name]) if more else None


def some_of(connection: Connection, query: Select[Any], limit: int) -> tuple[list[Row], bool]:
    """`limit` rows of a query that asks for one more, and whether there was one."""
    rows = unpacked(connection, query)
    return rows[:limit], len(rows) > limit


def literals_of(values: Sequence[int | str]) -> ColumnElement[Any]:
    return tuple_(*(literal(value) for value in values))


def cursor_of(*key: int | str) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def opened(cursor: str, *kinds: type) -> Sequence[int | str]:
    """The key in a cursor. Raises Invalid unless it is one of ours."""
    try:
        key: Any = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[int | str])
        sound = len(key) == len(kinds) and all(map(isinstance, key, kinds))
    except ValueError:
        key, sound = (), False
    if not sound or any(isinstance(part, int) and abs(part) >= 2**63 for part in key):
        raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor")
    return [as_in_rows(part) if isinstance(part, str) else part for part in key]


def unpacked(connection: Connection, query: Select[Any]) -> list[Row]:
    found = connection.execute(query)
    names = list(found.keys())
    packed = [index for index, name in enumerate(names) if name in JSON_COLUMNS]
    rows: list[Row] = []
    for values in found:
        row = dict(zip(names, values, strict=True))
        for index in packed:
            row[names[index]] = msgspec.json.decode(values[index])
        rows.append(row)
    return rows


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
