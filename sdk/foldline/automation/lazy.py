"""What a component returns inside a pipeline: a stand-in that becomes the value when somebody looks at it."""

import copy
import math
import operator
import os
import threading
from collections.abc import Callable
from typing import Any, Final, cast

_NOTHING: Final = object()


class Promise:
    """One value that a step will return under `name`; None for a step that returns nothing.

    `fetch` waits for the step's end. Its answer is kept, an error is not: a step that is retried by hand may end well.
    """

    def __init__(self, step: str, name: str | None, fetch: Callable[[], Any], touched: Callable[[], None]) -> None:
        self.step = step
        self.name = name
        self._fetch = fetch
        self._touched = touched
        self._lock = threading.Lock()
        self._value: Any = _NOTHING

    def value(self) -> Any:
        """The value, waited for. Raises what `fetch` raises."""
        with self._lock:
            if self._value is _NOTHING:
                self._value = self._fetch()
        self._touched()
        return self._value


class Lazy:
    """Stands for a step's result. Passed on to another component it stays what it is; all else waits for the value.

    `isinstance` sees the value's class. C code that asks for the exact type (`json.dumps`, `str.join`) does not: give
    it `int(x)`, `str(x)` and the like.
    """

    __slots__ = ("__weakref__", "_promise")

    def __init__(self, promise: Promise) -> None:
        object.__setattr__(self, "_promise", promise)

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value_of(self).__class__

    def _stands_for(self) -> Any:
        """Asked for by whatever stores values, which cannot know this class."""
        return value_of(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(value_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(value_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(value_of(self), name)

    def __dir__(self) -> list[str]:
        return dir(value_of(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return value_of(self)(*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return value_of(self)[value_of(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        value_of(self)[value_of(key)] = value

    def __delitem__(self, key: Any) -> None:
        del value_of(self)[value_of(key)]

    def __contains__(self, item: Any) -> bool:
        return value_of(item) in value_of(self)

    def __enter__(self) -> Any:
        return value_of(self).__enter__()

    def __exit__(self, *said: Any) -> Any:
        return value_of(self).__exit__(*said)

    def __format__(self, how: str) -> str:
        return format(value_of(self), how)

    def __round__(self, digits: int | None = None) -> Any:
        return round(value_of(self)) if digits is None else round(value_of(self), digits)

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        # What is pickled is the value: whoever unpickles it knows nothing of this pipeline.
        return _same, (value_of(self),)

    def __copy__(self) -> Any:
        return copy.copy(value_of(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(value_of(self), memo)


def value_of(value: Any) -> Any:
    """What a stand-in stands for, waited for; anything else as it is."""
    promise = promise_of(value)
    return value if promise is None else promise.value()


def promise_of(value: Any) -> Promise | None:
    """The promise behind a stand-in, without waiting; None for anything else."""
    if type(value) is not Lazy:
        return None
    return cast(Promise, object.__getattribute__(value, "_promise"))


def settled(value: Any) -> Any:
    """`value` without stand-ins, in lists, tuples and dicts too; all are waited for."""
    kind = cast(type[Any], type(value))
    if kind in (list, tuple):
        return cast(Any, kind)(settled(one) for one in cast(list[Any], value))
    if kind is dict:
        return {value_of(key): settled(one) for key, one in cast(dict[Any, Any], value).items()}
    return value_of(value)


def _same(value: Any) -> Any:
    return value


def _unary(operation: Callable[[Any], Any]) -> Callable[[Lazy], Any]:
    return lambda own: operation(value_of(own))


def _binary(operation: Callable[[Any, Any], Any]) -> Callable[[Lazy, Any], Any]:
    return lambda own, other: operation(value_of(own), value_of(other))


def _reflected(operation: Callable[[Any, Any], Any]) -> Callable[[Lazy, Any], Any]:
    return lambda own, other: operation(value_of(other), value_of(own))


# Python looks these up on the class, where __getattr__ is not asked.
_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "abs": abs,
    "bool": bool,
    "bytes": bytes,
    "ceil": math.ceil,
    "complex": complex,
    "float": float,
    "floor": math.floor,
    "fspath": os.fspath,
    "hash": hash,
    "index": operator.index,
    "int": int,
    "invert": operator.invert,
    "iter": iter,
    "len": len,
    "neg": operator.neg,
    "next": next,
    "pos": operator.pos,
    "repr": repr,
    "reversed": reversed,
    "str": str,
    "trunc": math.trunc,
}
_COMPARISONS: Final = ("eq", "ge", "gt", "le", "lt", "ne")
_ARITHMETIC: Final = (
    "add",
    "and",
    "floordiv",
    "lshift",
    "matmul",
    "mod",
    "mul",
    "or",
    "pow",
    "rshift",
    "sub",
    "truediv",
    "xor",
)

for _name, _operation in _UNARY.items():
    setattr(Lazy, f"__{_name}__", _unary(_operation))
for _name in _COMPARISONS:
    setattr(Lazy, f"__{_name}__", _binary(getattr(operator, _name)))
for _name, _both in [*((name, getattr(operator, f"__{name}__")) for name in _ARITHMETIC), ("divmod", divmod)]:
    setattr(Lazy, f"__{_name}__", _binary(_both))
    setattr(Lazy, f"__r{_name}__", _reflected(_both))
