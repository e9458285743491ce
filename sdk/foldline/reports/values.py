"""Numbers and tables as plain Python, whatever library they come from, none of which is imported here."""

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final, cast

from foldline.errors import DefinitionError

NAME_LENGTH: Final = 255
# How plotly says the numbers of an array that it has packed into base64, and how Python's array module does.
TYPECODES: Final = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}


def plain(value: Any) -> Any:
    """`value` as JSON can say it: arrays as lists, what is no finite number as null, as plotly has it."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        found = cast(Mapping[Any, Any], value)
        if "bdata" in found and found.get("dtype") in TYPECODES:
            return _unpacked(found)
        return {str(name): plain(inner) for name, inner in found.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    listed = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if callable(listed):
        return plain(listed())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Iterable):
        return [plain(inner) for inner in cast(Iterable[Any], value)]
    return str(value)


def _unpacked(packed: Mapping[str, Any]) -> list[Any]:
    """The numbers of a packed array, row by row where it has a shape: a reader need not be plotly's newest."""
    numbers = array(TYPECODES[packed["dtype"]], b64decode(packed["bdata"]))
    if sys.byteorder == "big":
        numbers.byteswap()
    found: list[Any] = plain(numbers.tolist())
    sizes = [int(size) for size in str(packed.get("shape") or "").split(",") if size.strip()]
    for size in reversed(sizes[1:]):
        found = [found[start : start + size] for start in range(0, len(found), size)]
    return found


def rows(values: Any, what: str, columns: int | None = None) -> list[list[Any]]:
    """`values` as rows of one length; a single row is one of them. Raises DefinitionError."""
    listed = plain(values)
    if not isinstance(listed, list) or not listed:
        raise DefinitionError(f"{what} needs numbers: a list, a list of lists, or an array of one or two dimensions")
    found = cast(list[Any], listed)
    if not all(isinstance(row, list) for row in found):
        found = [found]
    lengths = {len(row) for row in found}
    if any(isinstance(cell, list) for row in found for cell in row):
        raise DefinitionError(f"{what} has more than two dimensions")
    if len(lengths) > 1:
        raise DefinitionError(f"the rows of {what} differ in length: {sorted(lengths)}")
    if columns is not None and lengths != {columns}:
        raise DefinitionError(f"each row of {what} has {columns} numbers, not {lengths.pop()}")
    return cast(list[list[Any]], found)


def column(of: Sequence[Sequence[Any]], number: int) -> list[Any]:
    return [row[number] for row in of]


def words(labels: Any) -> list[str] | None:
    """Labels as texts; None when there are none."""
    found = None if labels is None else plain(labels)
    return [str(label) for label in found] if found else None


def name(text: Any, otherwise: str) -> str:
    """`text` as the name of a plot: printable, not empty, and not too long."""
    said = "".join(letter if letter.isprintable() else " " for letter in str(text if text is not None else ""))
    return said.strip()[:NAME_LENGTH] or otherwise
