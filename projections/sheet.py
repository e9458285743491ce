"""Where a page of events is folded: working copies of the rows it touches, written afterwards with few statements."""

from collections.abc import Callable, Collection, Mapping
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Table

from projections import bulk
from projections.bulk import Key

Row = dict[str, Any]
Contents = Callable[[Collection[str]], Mapping[str, str]]  # digests -> what the content table keeps under them


class Sheet:
    """Some rows of one table, by key. Whatever may be in the table already is loaded before it is put or removed."""

    def __init__(self, table: Table) -> None:
        self.rows: dict[Key, Row] = {}
        self._table = table
        self._key: Callable[[Row], Key] = itemgetter(*(column.name for column in table.primary_key))
        self._loaded: set[Key] = set()
        self._changed: dict[Key, Row] = {}
        self._removed: set[Key] = set()

    def put(self, row: Row) -> None:
        """Take a row that is new, or stands for the one that was there."""
        key = self._key(row)
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
        for row in bulk.select(connection, self._table, column, values):
            key = self._key(row)
            self._loaded.add(key)
            self.rows.setdefault(key, row)

    @property
    def changed(self) -> bool:
        return bool(self._changed or self._removed)

    def write(self, connection: Connection) -> None:
        if self._removed:
            bulk.delete(connection, self._table, self._removed)
        new = [row for key, row in self._changed.items() if key not in self._loaded]
        if new:
            bulk.insert(connection, self._table, new)
        if len(new) < len(self._changed):
            bulk.replace(connection, self._table, [self._changed[key] for key in self._changed if key in self._loaded])


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

    @property
    def changed(self) -> bool:
        return any(sheet.changed for sheet in self._sheets.values())

    def write(self, connection: Connection) -> None:
        for sheet in self._sheets.values():
            sheet.write(connection)
