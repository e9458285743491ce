"""A changed copy of a frozen value, at a tenth of the price of `dataclasses.replace`: folding does little else."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
Slot = tuple[str, Callable[[Any], Any], Callable[[Any, Any], None]]


@cache
def _slots(kind: type) -> tuple[Slot, ...]:
    """Each field's name with what reads and what writes its slot, past the guard of a frozen class."""
    return tuple(
        (field.name, kind.__dict__[field.name].__get__, kind.__dict__[field.name].__set__) for field in fields(kind)
    )


def replace(value: T, **changes: Any) -> T:
    """As `dataclasses.replace`, for slotted dataclasses that inherit no fields and have no __post_init__."""
    kind = type(value)
    new = object.__new__(kind)
    for name, read, write in _slots(kind):
        write(new, changes.pop(name) if name in changes else read(value))
    if changes:
        raise TypeError(f"{kind.__name__} has no field {', '.join(changes)}")
    return new
