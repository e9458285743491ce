"""Tables as a header and columns: of a data frame, of rows, of a CSV file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from foldline.errors import DefinitionError
from foldline.reports.values import plain

Table = tuple[list[Any], list[list[Any]]]


def of(table: Any) -> Table:
    """Header and columns. The first of a list of rows is its header. Raises DefinitionError for what is no table."""
    if isinstance(table, list | tuple):
        return _of_rows([list(row) for row in cast(Sequence[Sequence[Any]], table)])
    columns = getattr(table, "columns", None)
    if columns is not None and callable(getattr(table, "rows", None)):  # polars
        return _of_rows([list(columns), *(list(row) for row in table.rows())])
    if columns is not None and hasattr(table, "index"):  # pandas
        return _of_frame(table)
    raise DefinitionError(f"a table is a data frame or a list of rows, not a {type(table).__name__}")


def of_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = list(csv.reader(file))
    if not found:
        raise DefinitionError(f"the table {path} is empty")
    return _of_rows([found[0], *([_number(cell) for cell in row] for row in found[1:] if row)])


def _of_rows(found: list[list[Any]]) -> Table:
    if not found or not found[0]:
        return [], []
    width = len(found[0])
    if any(len(row) != width for row in found):
        raise DefinitionError("the rows of a table differ in length: the first of them is its header")
    header, *body = found
    return header, [[_cell(row[number]) for row in body] for number in range(width)]


def _of_frame(frame: Any) -> Table:
    header = [_heading(name) for name in frame.columns.tolist()]
    columns = [[_cell(value) for value in frame.iloc[:, number].tolist()] for number in range(len(header))]
    if type(frame.index).__name__ != "RangeIndex":  # one that says something
        names = [str(name or "") for name in frame.index.names]
        keys = frame.index.tolist()
        split = [[key] for key in keys] if len(names) == 1 else keys
        columns = [[_cell(key[number]) for key in split] for number in range(len(names))] + columns
        header = [*names, *header]
    return header, columns


def _heading(name: Any) -> str:
    return " / ".join(map(str, cast(tuple[Any, ...], name))) if isinstance(name, tuple) else str(name)


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    return plain(value)


def _number(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
