"""Many rows in one statement of PostgreSQL's: each column of them all is one parameter, an array in binary format.

A statement for each row costs the server, and us, ten times as much.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, SmallInteger, String, Table

NULL = b"\xff\xff\xff\xff"  # the length of what is not there
HEAD = Struct(">iiIii").pack  # dimensions, whether there may be nulls, the elements' type, how many, the first's number


class Kind(NamedTuple):
    """A type of PostgreSQL's: its name, its number in the catalogue, and a value as bytes behind their length."""

    name: str
    oid: int
    packed: Callable[[Any], bytes]


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


def _bytes(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


KINDS: Mapping[type, Kind] = {
    SmallInteger: Kind("int2", 21, partial(Struct(">ih").pack, 2)),
    BigInteger: Kind("int8", 20, partial(Struct(">iq").pack, 8)),
    Integer: Kind("int4", 23, partial(Struct(">ii").pack, 4)),
    Float: Kind("float8", 701, partial(Struct(">id").pack, 8)),
    LargeBinary: Kind("bytea", 17, _bytes),
    String: Kind("text", 25, _text),
}


def array(kind: Kind, values: Sequence[Any]) -> bytes:
    """`values` as an array of this kind. Raises struct.error for a number that is none of it."""
    packed = kind.packed
    return HEAD(1, 1, kind.oid, len(values), 1) + b"".join([NULL if v is None else packed(v) for v in values])


class Bulk:
    """A statement about many rows: `text`, in which {arrays} stands for what they have in these columns of a table."""

    def __init__(self, table: Table, columns: Sequence[str], text: str) -> None:
        self._kinds = [_kind(table.columns[name]) for name in columns]
        arrays = [f"${number}::{kind.name}[]" for number, kind in enumerate(self._kinds, 1)]
        self._text = text.format(arrays=", ".join(arrays))

    def of(self, rows: Sequence[Sequence[Any]]) -> tuple[str, list[bytes]]:
        """The statement about these rows, and its parameters."""
        return self._text, list(map(array, self._kinds, zip(*rows, strict=True)))


def insertion(table: Table, columns: Sequence[str], on_conflict: str) -> Bulk:
    into = f"INSERT INTO {table.name} ({', '.join(columns)})"
    return Bulk(table, columns, f"{into} SELECT * FROM unnest({{arrays}}){on_conflict}")


def deletion(table: Table, key: str) -> Bulk:
    return Bulk(table, [key], f"DELETE FROM {table.name} WHERE {key} = ANY({{arrays}})")


def _kind(column: Column[Any]) -> Kind:
    return next(KINDS[each] for each in type(column.type).__mro__ if each in KINDS)
