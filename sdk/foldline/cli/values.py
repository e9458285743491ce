"""NAME=VALUE as it is written on a command line."""

import json
from typing import Any

from foldline.errors import FoldlineError


def values_from(pairs: list[str]) -> dict[str, Any]:
    """{"lr": 0.1} of ["lr=0.1"]; what is no JSON is text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise FoldlineError(f"write a value as NAME=VALUE, not {pair!r}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
