"""Where a page of events is folded: working copies of the rows it touches, written afterwards with few statements."""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Connection, Delete, Table, and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]
Key = str | tuple[str | int, ...]  # of several columns: a tuple, in the table's order
Contents = Callable[[Collection[str]], Mapping[str, str]]  # digests -> what the content table keeps under them

MOST_AT_ONCE = 500


class Sheet:
    """Some rows of one table, by key."""

    def __init__(self, table: Table) -> None:
        self.rows: dict[Key, Row] = {}
        self._table = table
        self._key = tuple(column.name for column in table.primary_key)
        self._changed: dict[Key, Row] = {}
        self._removed: set[Key] = set()

    def key(self, row: Row) -> Key:
        return row[self._key[0]] if len(self._key) == 1 else tuple(row[name] for name in self._key)

    def put(self, row: Row) -> None:
        """Take a row that is new, or stands for the one that was there."""
        key = self.key(row)
        self.rows[key] = self._changed[key] = row
        self._removed.discard(key)

    def change(self, key: Key) -> Row | None:
        """The row with this key, to be changed in place."""
        row = self.rows.get(key)
        if row is not None:
            self._changed[key] = row
        return row

    def remove(self, key: Key) -> None:
        if self.rows.pop(key, None) is not None:
            self._changed.pop(key, None)
            self._removed.add(key)

    def load(self, connection: Connection, column: str, values: Collection[str]) -> None:
        wanted = list(values)
        for start in range(0, len(wanted), MOST_AT_ONCE):
            some = wanted[start : start + MOST_AT_ONCE]
            found = connection.execute(select(self._table).where(self._table.c[column].in_(some)))
            for row in found.mappings():
                self.rows.setdefault(self.key(known := dict(row)), known)  # pyright: ignore[reportArgumentType]

    def write(self, connection: Connection) -> None:
        if self._removed:
            keys = [dict(zip(self._key, _parts(key), strict=True)) for key in self._removed]
            connection.execute(_removal(self._table), [{f"old_{name}": key[name] for name in key} for key in keys])
        if self._changed:
            connection.execute(_upsert(self._table, connection.dialect.name), list(self._changed.values()))


class Desk:
    """The sheets of one fold. `tables` says which table stands for which; without a connection they begin empty."""

    def __init__(
        self, contents: Contents, connection: Connection | None = None, tables: Mapping[str, Table] | None = None
    ) -> None:
        self.contents = contents
        self._connection = connection
        self._tables = tables or {}
        self._sheets: dict[str, Sheet] = {}

    def sheet(self, table: Table) -> Sheet:
        sheet = self._sheets.get(table.name)
        if sheet is None:
            sheet = self._sheets[table.name] = Sheet(self._tables.get(table.name, table))
        return sheet

    def load(self, column: Column[Any], values: Collection[str]) -> Sheet:
        """The sheet of the column's table, with those rows on it in which the column has one of these values."""
        sheet = self.sheet(column.table)
        if self._connection is not None and values:
            sheet.load(self._connection, column.name, values)
        return sheet

    def write(self, connection: Connection) -> None:
        for sheet in self._sheets.values():
            sheet.write(connection)


def _parts(key: Key) -> tuple[str | int, ...]:
    return (key,) if isinstance(key, str) else key


@lru_cache(maxsize=64)
def _removal(table: Table) -> Delete:
    return delete(table).where(and_(*(column == bindparam(f"old_{column.name}") for column in table.primary_key)))


@lru_cache(maxsize=64)
def _upsert(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    key = [column.name for column in table.primary_key]
    new = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=new) if new else insert.on_conflict_do_nothing()
