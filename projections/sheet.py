"""Where a page of events is folded: working copies of the rows it touches, written afterwards with few statements."""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Table, select

Row = dict[str, Any]
Key = str | tuple[str | int, ...]  # of several columns: a tuple, in the table's order
Contents = Callable[[Collection[str]], Mapping[str, str]]  # digests -> what the content table keeps under them

MOST_AT_ONCE = 500


class Sheet:
    """Some rows of one table, by key."""

    def __init__(self, table: Table) -> None:
        self.rows: dict[Key, Row] = {}
        self._table = table
        self._key: Callable[[Row], Key] = itemgetter(*(column.name for column in table.primary_key))
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
        wanted = list(values)
        for start in range(0, len(wanted), MOST_AT_ONCE):
            some = wanted[start : start + MOST_AT_ONCE]
            found = connection.execute(select(self._table).where(self._table.c[column].in_(some)))
            names = list(found.keys())
            for values in found:
                row = dict(zip(names, values, strict=True))
                self.rows.setdefault(self._key(row), row)

    @property
    def changed(self) -> bool:
        return bool(self._changed or self._removed)

    def write(self, connection: Connection) -> None:
        removal, upsert = _statements(self._table, connection.dialect.name)
        if self._removed:
            connection.exec_driver_sql(removal, [(key,) if isinstance(key, str) else key for key in self._removed])
        if self._changed:
            in_order = itemgetter(*(column.name for column in self._table.columns))
            connection.exec_driver_sql(upsert, [in_order(row) for row in self._changed.values()])


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


@lru_cache(maxsize=64)
def _statements(table: Table, dialect: str) -> tuple[str, str]:
    """How a row is removed, and how it is put in: as the driver takes it, since most of the time goes there."""
    mark = "%s" if dialect == "postgresql" else "?"
    columns = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    new = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"DELETE FROM {table.name} WHERE {' AND '.join(f'{name} = {mark}' for name in key)}",
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO {f'UPDATE SET {new}' if new else 'NOTHING'}",
    )
