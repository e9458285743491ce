"""The attributes of an object or class that are parameters: plain values, those of dataclasses inside it too."""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, cast

PLAIN: Final = (bool, int, float, str, type(None), Enum, PurePath)


def of(target: Any, prefix: str = "") -> dict[str, Any]:
    """{"lr": 0.1, "model/layers": 2}: dicts, and objects that declare their fields, are spread out."""
    found: dict[str, Any] = {}
    for name, value in _named(target).items():
        if isinstance(value, dict) and value and _is_plain(value):
            found |= of(value, f"{prefix}{name}/")
        elif _is_plain(value):
            found[f"{prefix}{name}"] = value
        elif _declared(value) is not None and not isinstance(value, type):
            found |= of(value, f"{prefix}{name}/")
    return found


def assign(target: Any, path: str, value: Any) -> None:
    """Set what stands under a name that `of` gave."""
    if isinstance(target, dict):
        _assign_inside(cast(dict[Any, Any], target), path, value)
        return
    name, slash, rest = path.partition("/")
    if slash:
        assign(getattr(target, name), rest, value)
        return
    try:
        setattr(target, name, value)
    except (AttributeError, TypeError, ValueError):
        # Frozen: the object guards its fields against the code, not against the values it was to be made with.
        object.__setattr__(target, name, value)


def _assign_inside(target: dict[Any, Any], path: str, value: Any) -> None:
    keys = {str(key): key for key in target}
    head = next((key for key in keys if path.startswith(f"{key}/")), None)
    if path in keys or head is None:
        target[keys.get(path, path)] = value
    else:
        assign(target[keys[head]], path[len(head) + 1 :], value)


def _named(target: Any) -> dict[str, Any]:
    """Its public values by name."""
    if isinstance(target, dict):
        return {str(key): value for key, value in cast(dict[Any, Any], target).items()}
    declared = None if isinstance(target, type) else _declared(target)
    if declared is not None:
        return {name: getattr(target, name) for name in declared if hasattr(target, name)}
    kind: type = target if isinstance(target, type) else type(target)
    names: dict[str, Any] = {}
    for one in reversed(kind.__mro__[:-1]):
        names |= vars(one)
    if not isinstance(target, type):
        names |= cast(Mapping[str, Any], getattr(target, "__dict__", {}))
    return {name: value for name, value in names.items() if not name.startswith("_")}


def _declared(value: Any) -> list[str] | None:
    """The fields of a dataclass, an attrs class or a pydantic model; None for anything else."""
    kind = cast(Any, type(value))
    names: list[str]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [attribute.name for attribute in kind.__attrs_attrs__]
    elif hasattr(kind, "__pydantic_fields__") or hasattr(kind, "__fields__"):
        names = [*cast(dict[str, Any], vars(value))]
    else:
        return None
    return [name for name in names if not name.startswith("_")]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, cast(list[Any], value)))
    if isinstance(value, dict):
        return all(map(_is_plain, cast(dict[Any, Any], value).values()))
    if type(value).__module__ == "numpy":
        return getattr(value, "ndim", 1) == 0
    return isinstance(value, PLAIN)
