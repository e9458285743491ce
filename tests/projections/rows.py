"""What is in the tables."""

from typing import Any

import pytest
from sqlalchemy import Table, select

from eventstore.sql import SqlStore
from projections.all import PROJECTIONS
from projections.sheet import Sheet

# For what the two databases cannot do differently.
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
Rows = dict[Any, dict[str, Any]]


def rows_of(store: SqlStore, table: Table) -> Rows:
    """{key: row}, in the order of the keys."""
    sheet = Sheet(table)
    with store.database.reading() as connection:
        for row in connection.execute(select(table).order_by(*table.primary_key)).mappings():
            sheet.put({str(name): value for name, value in row.items()})
    return dict(sheet.rows)


def all_rows(store: SqlStore) -> dict[str, list[dict[str, Any]]]:
    """Every row of every projection: all columns, ordered by key."""
    return {table.name: list(rows_of(store, table).values()) for one in PROJECTIONS for table in one.tables}
