"""A component: a function that is a step wherever a pipeline function calls it, and a plain function elsewhere."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final

from foldline import passed
from foldline.artifacts import upload
from foldline.automation.lazy import Promise, promise_of
from foldline.client import Client
from foldline.errors import DefinitionError
from foldline.formats import is_parameter
from foldline.parameters import entry
from foldline.passed import MARK, Part
from foldline.serialization import Codec


@dataclass(frozen=True, slots=True)
class Component:
    """A decorated function, and what was said of its steps in `component(...)`."""

    name: str
    function: Callable[..., Any]  # as its module knows it
    plain: Callable[..., Any]  # as it was given
    returns: Sequence[str] = ()
    parents: Sequence[str] = ()  # names of steps or components
    continuing: Mapping[str, bool] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])  # the other keywords, as they were given

    def goes_on_after(self, status: str) -> bool:
        """Whether a step that ended so, failed or stopped, was to be passed over."""
        flag = "continue_on_fail" if status == "failed" else "continue_on_abort"
        return self.continuing is not None and bool(self.continuing.get(flag, True))

    def bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, plain defaults among them. Raises TypeError as the call itself would."""
        given = inspect.signature(original_of(self.plain)).bind(*args, **kwargs)
        given.apply_defaults()
        named: dict[str, Any] = {}
        for name, parameter in given.signature.parameters.items():
            value = given.arguments[name]
            if parameter.kind is parameter.VAR_KEYWORD:
                named |= value
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                if value or parameter.kind is parameter.POSITIONAL_ONLY:
                    raise DefinitionError(
                        f"component {self.name!r}: a step is called with named arguments, which {name!r} cannot be"
                    )
            elif value is not parameter.default or is_parameter(value):
                # A default that is an object stays the function's own affair.
                named[name] = value
        return named


# The names of all components that this process has decorated.
DECORATED: Final[set[str]] = set()


@dataclass(slots=True)
class Arguments:
    """What a step is called with, sorted by how it gets there."""

    fixed: dict[str, Any] = field(default_factory=dict[str, Any])
    overrides: dict[str, Part] = field(default_factory=dict[str, Part])
    producers: list[str] = field(default_factory=list[str])
    nested: bool = False  # whether a reference stands inside a list or a dict

    def sections(self) -> dict[str, dict[str, Any]]:
        return {"kwargs": {name: entry(value) for name, value in self.fixed.items()}}


class Sorter:
    """Sorts the arguments of one step; what only an artifact can hold is stored on the run."""

    def __init__(self, client: Client, codec: Codec, run_id: str, step: str) -> None:
        self._client = client
        self._codec = codec
        self._run_id = run_id
        self._step = step
        self._kept: dict[str, int] = {}

    def sort(self, values: Mapping[str, Any]) -> Arguments:
        """Results of steps become references and their steps producers; nothing is waited for."""
        found = Arguments()
        for name, value in values.items():
            self._sort_one(name, value, found)
        return found

    def _sort_one(self, name: str, value: Any, found: Arguments) -> None:
        def refer(one: Any) -> Part | None:
            promise = promise_of(one)
            if promise is None:
                return None
            if promise.step not in found.producers:
                found.producers.append(promise.step)
            return _reference(promise)

        part = passed.taken_apart(value, refer, lambda one: self._keep(name, one))
        if isinstance(part, str):
            found.overrides[f"kwargs_artifacts/{name}"] = part
        elif "value" in part:
            found.fixed[name] = part["value"]
        else:
            found.overrides[f"kwargs_artifacts/{name}"] = part
            found.nested = True

    def _keep(self, argument: str, value: Any) -> str:
        count = self._kept[argument] = self._kept.get(argument, 0) + 1
        step = re.sub(r"\W+", "", self._step)
        name = f"result_{step}_{argument}" + (f"_{count}" if count > 1 else "")
        upload(self._client, self._run_id, name, self._codec.pack(name, value), mode="input")
        return f"{self._run_id}.{name}"


def original_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside its decorators, those among them that do not say what they wrap."""
    while True:
        function = inspect.unwrap(function)
        inner = _enclosed(function)
        if len(inner) != 1 or "<locals>" not in getattr(function, "__qualname__", ""):
            return function
        function = inner[0]


def known_as(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the module of `function` has under its name: itself, or what decorators above have made of it."""
    plain = original_of(function)
    module = sys.modules.get(plain.__module__)
    found = getattr(module, plain.__name__, None)
    seen: set[int] = set()
    while isinstance(found, FunctionType) and id(found) not in seen:
        if found is function:
            return getattr(module, plain.__name__)
        seen.add(id(found))
        inner = _enclosed(found)
        found = getattr(found, "__wrapped__", None) or (inner[0] if len(inner) == 1 else None)
    return function


def _enclosed(function: Callable[..., Any]) -> list[FunctionType]:
    cells = getattr(function, "__closure__", None) or ()
    held: list[Any] = []
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    return [one for one in held if isinstance(one, FunctionType)]


def _reference(promise: Promise) -> Part:
    # A step without return values returns None, for which nothing is to be fetched.
    return {"value": None} if promise.name is None else f"{MARK}{promise.step}.id}}.{promise.name}"
