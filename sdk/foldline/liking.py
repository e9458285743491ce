"""The server's values in the types that the code has: forms and references yield text."""

import argparse
import json
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

from foldline.errors import DefinitionError
from foldline.formats import is_exact_json, plain

_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def like(value: Any, default: Any, action: argparse.Action | None = None) -> Any:
    """The server's `value` in the type that the code's `default` (or its command-line option) has."""
    if not is_exact_json(default) and value == plain(default):
        # What JSON cannot hold went there as text: the same text still means the object that the code has.
        return default
    if action is not None and action.type is not None and callable(action.type) and value is not None:
        return _converted(value, action)
    if isinstance(default, Enum):
        return _member(type(default), value)
    if isinstance(default, PurePath):
        return type(default)(value) if isinstance(value, str) else value
    if isinstance(value, str) and not isinstance(default, str):
        return _parsed(value, default)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(cast(list[Any], value))
    return value


def _converted(value: Any, action: argparse.Action) -> Any:
    if action.type is bool:
        # bool("False") is True: what a parser makes of text is not what a form means by it.
        return _parsed(value, False) if isinstance(value, str) else value
    convert = cast(Callable[[str], Any], action.type)
    try:
        if isinstance(value, list):
            return [convert(item) if isinstance(item, str) else item for item in cast(list[Any], value)]
        if isinstance(value, str):
            return convert(value)
        # A number for an option of numbers: 1 is 1.0 there.
        return convert(str(value)) if action.type is float and type(value) is int else value
    except (ValueError, TypeError, argparse.ArgumentTypeError) as why:
        raise DefinitionError(f"the task's parameter Args/{action.dest} cannot be {value!r}: {why}") from why


def _member(kind: type[Enum], value: Any) -> Any:
    """The member whose name or value it is; the value itself when it is none."""
    name = str(value).rpartition(".")[2]
    if name in kind.__members__:
        return kind[name]
    return next((member for member in kind if plain(member.value) == value), value)


def _parsed(text: str, default: Any) -> Any:
    """Text, as a reference or a form yields it, as the type of `default`; as it is when it cannot be that."""
    if isinstance(default, bool):
        return _TRUTHS.get(text.strip().lower(), False if not text.strip() else text)
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, list | dict | tuple):
            found = json.loads(text)
            return tuple(cast(list[Any], found)) if isinstance(default, tuple) else found
    except ValueError:
        pass
    return text
