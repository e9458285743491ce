"""Stand-ins for results: what waits, what does not, and that the value is itself in whatever is done with it."""

import copy
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from foldline import formats
from foldline.automation.digests import digest
from foldline.automation.lazy import Lazy, Promise, promise_of, settled, value_of


def lazy(value: Any, touched: list[str] | None = None) -> Any:
    said = touched if touched is not None else []
    return Lazy(Promise("train", "model", lambda: value, lambda: said.append("touched")))


LOOKS: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    "bool": (0, bool, False),
    "int": (3, int, 3),
    "float": (2.5, float, 2.5),
    "str": (3, str, "3"),
    "repr": ("a", repr, "'a'"),
    "bytes": (b"ab", bytes, b"ab"),
    "hash": ("a", hash, hash("a")),
    "len": ([1, 2], len, 2),
    "iteration": ([1, 2], list, [1, 2]),
    "next": (iter([7]), next, 7),
    "reversed": ([1, 2], lambda x: list(reversed(x)), [2, 1]),
    "index": (2, lambda x: "abc"[x], "c"),
    "range": (2, lambda x: list(range(x)), [0, 1]),
    "item": ({"a": 1}, lambda x: x["a"], 1),
    "slice": ([1, 2, 3], lambda x: x[1:], [2, 3]),
    "contains": ([1, 2], lambda x: 2 in x, True),
    "attribute": ("a b", lambda x: x.split(), ["a", "b"]),
    "call": (len, lambda x: x("abc"), 3),
    "f-string": (2.5, lambda x: f"{x:.2f}", "2.50"),
    "percent": (2.5, lambda x: "%.2f" % x, "2.50"),  # noqa: UP031 - what is tested
    "equal": (3, lambda x: x == 3, True),
    "unequal": (3, lambda x: x != 3, False),
    "order": (3, lambda x: (x < 4, x >= 4, x < 4), (True, False, True)),
    "add": (3, lambda x: x + 1, 4),
    "added": (3, lambda x: 1 + x, 4),
    "text added": ("b", lambda x: "a" + x, "ab"),
    "subtracted": (3, lambda x: 1 - x, -2),
    "power": (3, lambda x: (x**2, 2**x), (9, 8)),
    "divided": (2, lambda x: (x / 4, 4 / x, x // 4, 5 % x, divmod(5, x)), (0.5, 2.0, 0, 1, (2, 1))),
    "bits": (6, lambda x: (x & 2, x | 1, x ^ 2, x << 1, x >> 1, ~x), (2, 7, 4, 12, 3, -7)),
    "signs": (-2, lambda x: (-x, +x, abs(x)), (2, -2, 2)),
    "round": (2.567, lambda x: (round(x), round(x, 1), math.floor(x), math.ceil(x), math.trunc(x)), (3, 2.6, 2, 3, 2)),
    "key": ("a", lambda x: {"a": 1}[x], 1),
    "sorted": (3, lambda x: sorted([x, 1]), [1, 3]),
    "isinstance": (3, lambda x: (isinstance(x, int), isinstance(x, str)), (True, False)),
    "none": (None, lambda x: x == None, True),  # noqa: E711 - `is` cannot be answered for it
    "pickle": ([1], lambda x: type(pickle.loads(pickle.dumps(x))), list),
    "copy": ([1], lambda x: type(copy.copy(x)), list),
    "deep copy": ([1], lambda x: type(copy.deepcopy([x])[0]), list),
    "dir": ("a", lambda x: "upper" in dir(x), True),
}


@pytest.mark.parametrize(("value", "look", "seen"), LOOKS.values(), ids=LOOKS)
def test_whatever_looks_at_it_sees_the_value(value: Any, look: Callable[[Any], Any], seen: Any):
    touched: list[str] = []
    assert look(lazy(value, touched)) == seen
    assert touched, "and is known to have looked"


def test_two_of_them_work_together():
    assert lazy(3) + lazy(4) == 7
    assert lazy([1, 2])[lazy(1)] == 2
    assert lazy(3) in lazy([3])
    assert sum([lazy(1), lazy(2)]) == 3
    assert max(lazy(1), lazy(5)) == 5


def test_what_changes_it_changes_the_value():
    box: dict[str, Any] = {"a": 1, "b": 2}
    stand_in = lazy(box)
    stand_in["c"] = 3
    del stand_in["a"]
    assert box == {"b": 2, "c": 3}
    holder = threading.local()
    held = lazy(holder)
    held.name = "x"
    assert holder.name == "x"
    del held.name
    assert not hasattr(holder, "name")
    number = lazy(3)
    number += 2
    assert type(number) is int


def test_arrays_take_it_for_one():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(3)
    assert (lazy(array) + array).tolist() == [0, 2, 4]
    assert (array + lazy(array)).tolist() == [0, 2, 4]
    assert numpy.asarray(lazy(array)).sum() == 3
    assert numpy.mean([lazy(1), lazy(2)]) == 1.5


@pytest.mark.parametrize("value", [True, 3, 2.5, "text", None, [1], {"a": 1}])
def test_what_is_stored_is_the_value(value: Any):
    assert formats.plain(lazy(value)) == value
    assert type(formats.plain([lazy(value)])[0]) is type(value)
    packed = formats.pack("a", lazy(value))
    assert (packed.format, packed.type) == ("json", type(value).__name__)


def test_with_enters_the_value():
    lock = threading.Lock()
    with lazy(lock):
        assert lock.locked()
    assert not lock.locked()


def test_it_is_fetched_once_and_an_error_is_not_kept():
    answers: list[Any] = [ValueError("not yet"), 3]
    fetched: list[Any] = []

    def fetch() -> Any:
        fetched.append(answers[0])
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    stand_in: Any = Lazy(Promise("train", "model", fetch, lambda: None))
    with pytest.raises(ValueError, match="not yet"):
        bool(stand_in)
    assert stand_in + 0 == 3
    assert stand_in + 0 == 3
    assert len(fetched) == 2


def test_passing_it_on_waits_for_nothing():
    def never() -> Any:
        raise AssertionError("somebody has looked")

    stand_in = Lazy(Promise("train", "model", never, lambda: None))
    promise = promise_of(stand_in)
    assert promise is not None
    assert (promise.step, promise.name) == ("train", "model")
    assert promise_of(3) is None
    kept = [stand_in, {"a": (stand_in,)}]
    assert digest(kept) == digest([stand_in, {"a": (stand_in,)}])


def test_what_holds_some_is_settled_as_a_whole():
    held = settled({"a": [lazy(1), (lazy(2), 3)], "b": lazy(4)})
    assert held == {"a": [1, (2, 3)], "b": 4}
    assert [type(one) for one in held["a"]] == [int, tuple]
    assert type(held["b"]) is int
    assert value_of(5) == 5
