"""What is said of a step in ClearML's many forms, in the one form of a definition."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from foldline.errors import DefinitionError
from foldline.liking import like

# What a text given for a typed parameter is read as.
SAMPLES: Final[Mapping[str, Any]] = {"int": 0, "float": 0.0, "bool": False, "list": [], "dict": {}}


def metrics(step: str, given: Sequence[Any] | None) -> list[list[str]]:
    """[[title, series, title on the run, series on the run]] of pairs, or of pairs of pairs."""
    found: list[list[str]] = []
    for entry in given or ():
        pair = _pair(step, "monitor_metrics", entry)
        if isinstance(pair[0], str) and isinstance(pair[1], str):
            found.append([pair[0], pair[1], pair[0], pair[1]])
        else:
            source, target = (_pair(step, "monitor_metrics", part) for part in pair)
            found.append([str(word) for word in (*source, *target)])
    return found


def names(step: str, option: str, given: Sequence[Any] | None) -> list[list[str]]:
    """[[name, name on the run]] of names, or of pairs of names."""
    found: list[list[str]] = []
    for entry in given or ():
        name, target = (entry, entry) if isinstance(entry, str) else _pair(step, option, entry)
        found.append([str(name), str(target)])
    return found


def continuing(
    step: str, continue_on_fail: bool, continue_behaviour: Mapping[str, bool] | None
) -> dict[str, bool] | None:
    """What a failure or an abort means for the rest; None when it means that the run fails."""
    if continue_behaviour is None:
        return {"continue_on_fail": True, "continue_on_abort": False} if continue_on_fail else None
    known = ("continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort")
    if unknown := [name for name in continue_behaviour if name not in known]:
        raise DefinitionError(
            f"step {step!r}: continue_behaviour has no {', '.join(map(repr, unknown))}: it has {', '.join(known)}"
        )
    return {name: bool(value) for name, value in continue_behaviour.items()}


def flat_fields(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"script.branch": "main"} of {"script": {"branch": "main"}}."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= flat_fields(cast(Mapping[str, Any], value), f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def parameter(name: str, default: Any, description: str | None, kind: str | type | None) -> dict[str, Any]:
    """A parameter of a definition. Raises DefinitionError for a default that is no JSON, or not of its type."""
    try:
        default = json.loads(json.dumps(default, allow_nan=False))
    except (TypeError, ValueError) as why:
        raise DefinitionError(f"parameter {name!r}: its default must be JSON: {why}") from why
    word = kind.__name__ if isinstance(kind, type) else (None if kind is None else str(kind))
    if isinstance(default, str) and word in SAMPLES:
        read = like(default, SAMPLES[word])
        if isinstance(read, str):
            raise DefinitionError(f"parameter {name!r}: its default {default!r} is no {word}")
        default = read
    return {"name": name, "default": default, "type": word, "description": description}


def _pair(step: str, option: str, entry: Any) -> Sequence[Any]:
    if isinstance(entry, str) or not isinstance(entry, Sequence) or len(cast(Sequence[Any], entry)) != 2:
        raise DefinitionError(f"step {step!r}: each entry of {option} is a pair, not {entry!r}")
    return cast(Sequence[Any], entry)
