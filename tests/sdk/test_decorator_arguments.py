"""What a component is called with: by name, as parameters, references and artifacts, and put together in the step."""

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foldline import passed
from foldline.automation import component as component_module
from foldline.automation.component import Arguments, Component, Sorter, known_as, original_of
from foldline.automation.digests import digest
from foldline.automation.lazy import Lazy, Promise
from foldline.errors import DefinitionError, FoldlineError
from foldline.serialization import Codec

RUN = "a" * 32


@dataclass
class Pair:
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Frozen:
    value: Any
    name: str = "n"


def lazy(step: str, name: str | None = "x") -> Any:
    def never() -> Any:
        raise AssertionError(f"step {step} was waited for")

    return Lazy(Promise(step, name, never, lambda: None))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was stored on the run, by the name of its artifact."""
    stored: dict[str, Any] = {}

    def upload(client: Any, run_id: str, name: str, packed: Any, **more: Any) -> None:
        stored[f"{run_id}.{name}"] = packed

    monkeypatch.setattr(component_module, "upload", upload)
    monkeypatch.setattr(Codec, "pack", lambda self, name, value: value)
    return stored


def sort(**values: Any) -> Arguments:
    return Sorter(None, Codec(), RUN, "train all").sort(values)  # pyright: ignore[reportArgumentType]


def received(found: Arguments, results: dict[str, Any]) -> dict[str, Any]:
    """What the function is called with, once `${step.id}` was replaced by the server."""

    def resolved(part: Any) -> Any:
        if isinstance(part, str):
            return part.replace("${", "").replace(".id}", "")
        if isinstance(part, dict):
            return {name: resolved(one) for name, one in part.items()}
        return [resolved(one) for one in part] if isinstance(part, list) else part

    put = {
        path.partition("/")[2]: passed.put_together(resolved(part), results.__getitem__)
        for path, part in found.overrides.items()
    }
    return found.fixed | put


@pytest.mark.parametrize("value", [None, True, 3, 1.0, "text", [1, "a"], {"a": [None]}, []])
def test_plain_values_are_parameters_and_keep_their_types(value: Any, kept: dict[str, Any]):
    found = sort(a=value)
    assert found.sections()["kwargs"]["a"]["value"] == value
    assert type(found.fixed["a"]) is type(value)
    assert (found.overrides, kept) == ({}, {})


@pytest.mark.parametrize(
    "value", [(1, 2), {1: 2}, float("nan"), 2**70, b"x", "x" * 9000, "${a.b}", ["${pipeline.x}"], {1, 2}]
)
def test_what_json_would_change_is_stored_on_the_run(value: Any, kept: dict[str, Any]):
    found = sort(data=value)
    assert found.overrides == {"kwargs_artifacts/data": f"{RUN}.result_trainall_data"}
    assert found.fixed == {}
    assert kept[f"{RUN}.result_trainall_data"] is value


def test_a_result_is_a_reference_and_its_step_a_parent(kept: dict[str, Any]):
    found = sort(data=lazy("load"), n=1)
    assert found.overrides == {"kwargs_artifacts/data": "${load.id}.x"}
    assert (found.producers, found.nested, found.fixed) == (["load"], False, {"n": 1})


def test_a_step_that_returns_nothing_is_a_parent_and_its_value_none(kept: dict[str, Any]):
    found = sort(after=lazy("clean", None))
    assert (found.producers, found.fixed, found.overrides) == (["clean"], {"after": None}, {})


SHAPES: list[Callable[[Any, Any], Any]] = [
    lambda a, b: [a, b],
    lambda a, b: (a, 1, b),
    lambda a, b: {"a": a, "rest": [b, {"deep": (a, "plain")}]},
    lambda a, b: {1: a, None: b, 2: 0},
    lambda a, b: [a, (1, 2), float("inf"), b],
    lambda a, b: [a, "${not.a.reference}", b],
    lambda a, b: Pair(a, [b, "kept"]),
    lambda a, b: [Frozen(a), Pair(Frozen(b), {1, 2})],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_results_inside_an_argument_are_put_in_their_places(shape: Callable[[Any, Any], Any], kept: dict[str, Any]):
    found = sort(data=shape(lazy("load"), lazy("load_1", "y")))
    assert sorted(found.producers) == ["load", "load_1"]
    assert found.nested
    results = {"load.x": [1.5], "load_1.y": "a result", **kept}
    assert received(found, results) == {"data": shape([1.5], "a result")}


def test_the_callers_object_stays_as_it_is(kept: dict[str, Any]):
    mine = Pair(lazy("load"), 1)
    sort(data=mine)
    assert type(mine.left) is Lazy


def test_what_no_pipeline_wrote_is_an_error():
    with pytest.raises(FoldlineError, match="no argument made of results"):
        passed.put_together({"list": [1]}, str)


def component(function: Callable[..., Any]) -> Component:
    return Component(name="train", function=function, plain=function)


def train(data: Any, rate: float = 0.1, model: Any = Pair, /, *, seed: int = 1) -> None: ...


def flexible(data: Any, lr: float = 0.5, note: Any = (1, 2), **more: Any) -> None: ...


def test_arguments_are_bound_by_name_with_their_plain_defaults():
    assert component(flexible).bound([[1]], {"extra": 2}) == {"data": [1], "lr": 0.5, "extra": 2}
    assert component(flexible).bound([1, 2], {"note": 3}) == {"data": 1, "lr": 2, "note": 3}


def test_a_call_that_python_would_refuse_is_refused():
    with pytest.raises(TypeError, match="data"):
        component(flexible).bound([], {})


def test_arguments_without_a_name_cannot_travel():
    with pytest.raises(DefinitionError, match="'data' cannot be"):
        component(train).bound([1], {})
    with pytest.raises(DefinitionError, match="'rest' cannot be"):
        component(lambda *rest: rest).bound([1], {})


def silent(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def polite(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(silent(function))


def inside(a: int) -> int:
    return a


@pytest.mark.parametrize("decorate", [silent, polite, lambda one: silent(polite(silent(one)))])
def test_decorators_are_seen_through(decorate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    decorated = decorate(inside)
    assert original_of(decorated) is inside
    assert component(decorated).bound([1], {}) == {"a": 1}
    above = silent(decorated)
    monkeypatch.setattr(sys.modules[__name__], "inside", above)
    assert known_as(decorated) is above


def test_a_function_that_its_module_does_not_know_is_itself():
    other = silent(inside)
    assert known_as(other) is other


DIGEST = """
import sys
from dataclasses import dataclass
from foldline.automation.digests import digest

@dataclass
class Data:
    names: set

class Own:
    def __init__(self):
        self.names = {"x", "y", "z"}
        self.me = self

try:
    import numpy
    array = numpy.arange(3)
except ImportError:
    array = None
print(digest([{"a", "b", "c"}, Data({"q", "r"}), Own(), {1: "a"}, object(), len, array, {k: 1 for k in {"e", "f"}}]))
"""


def test_a_digest_is_the_same_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(passed.__file__).parents[1])},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("a", b"a"),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        (Pair(1, 2), Pair(2, 1)),
        ({1, 2}, {1, 3}),
        (len, max),
        (None, "None"),
        ([1, [2]], [1, 2]),
    ],
)
def test_different_arguments_have_different_digests(one: Any, other: Any):
    assert digest(one) != digest(other)


def test_digests_tell_results_apart_and_wait_for_none():
    assert digest([lazy("a")]) == digest([lazy("a")])
    assert digest([lazy("a")]) != digest([lazy("b")])
    assert digest([lazy("a", "x")]) != digest([lazy("a", "y")])
