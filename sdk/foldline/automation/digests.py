"""What tells two calls of a component apart: a digest of the arguments that is the same in every process.

A pickle is not: the order of a set, and what was one object and what two, differ from process to process.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, cast

from foldline.automation.lazy import promise_of
from foldline.formats import is_exact_json

LENGTH: Final = 32  # hex digits

Reduce = Callable[[int], Any]


def digest(value: Any) -> str:
    """The same for equal values made by the same code: no address, order of a set or a dict, or time is in it.

    A step's result counts as which one it is, and is not waited for. An object that cannot be pickled counts as any
    other of its class.
    """
    return _digest(value, ())[:LENGTH]


def _digest(value: Any, around: tuple[int, ...]) -> str:
    """`around` are the objects that `value` lies in: one that holds itself is said by how far out that is."""
    promise = promise_of(value)
    if promise is not None:
        return _hashed("result", promise.step, promise.name or "")
    kind = cast(type[Any], type(value))
    if kind in (list, dict) and is_exact_json(value):
        return _hashed("json", json.dumps(value, sort_keys=True, ensure_ascii=False))
    if value is None or kind in (bool, int, float, str, complex):
        return _hashed(kind.__name__, repr(value))
    if kind in (bytes, bytearray):
        return hashlib.sha256(b"bytes " + value).hexdigest()
    if id(value) in around:
        return _hashed("again", str(len(around) - around.index(id(value))))
    inside = (*around, id(value))
    if kind in (list, tuple):
        return _hashed(kind.__name__, *(_digest(one, inside) for one in cast(list[Any], value)))
    if kind in (set, frozenset):
        return _hashed("set", *sorted(_digest(one, inside) for one in cast(set[Any], value)))
    if kind is dict:
        return _hashed("dict", *_pairs(cast(dict[Any, Any], value).items(), inside))
    if isinstance(value, type | FunctionType | BuiltinFunctionType | ModuleType):
        return _hashed("name", _name_of(value))
    return _of_object(value, inside)


def _of_object(value: Any, inside: tuple[int, ...]) -> str:
    """By what pickle would make it of: the callable, its arguments, the state, the items."""
    name = _name_of(type(value))
    reduce = cast(Reduce, value.__reduce_ex__)
    try:
        made = reduce(4)
    except Exception:  # what refuses to be pickled says so with any error it likes
        return _hashed("object", name)
    if isinstance(made, str):
        return _hashed("name", made)
    function, arguments, state, items, pairs, *_ = (*cast(tuple[Any, ...], made), None, None, None, None)
    return _hashed(
        "object",
        name,
        _digest(function, inside),
        *(_digest(one, inside) for one in cast(tuple[Any, ...], arguments)),
        _digest(state, inside),
        *(_digest(one, inside) for one in cast(Iterable[Any], items or ())),
        *_pairs(cast(Iterable[tuple[Any, Any]], pairs or ()), inside),
    )


def _pairs(pairs: Iterable[tuple[Any, Any]], inside: tuple[int, ...]) -> list[str]:
    return sorted(_hashed(_digest(key, inside), _digest(one, inside)) for key, one in pairs)


def _name_of(value: Any) -> str:
    # The caller's script has another name in its host.
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__))


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
