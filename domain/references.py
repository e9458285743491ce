"""`${...}`: how a step speaks of the pipeline's parameters and of what other steps made.

The grammar is ClearML's. Where theirs has a hole it is mended: text around a reference stays text, and a reference to
nothing is an error with a sentence, not the end of the controller.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from immutables import Map
from msgspec import Struct

from domain.refused import Invalid

PATTERN = re.compile(r"\$\{([^{}]*)\}")
RAW_FIELDS = ("script", "execution", "container", "output", "comment", "tags", "system_tags", "project", "name", "type")


class MissingReference(Exception):
    """A reference to something that is not there when the step is launched. The text says what and where."""


class Reference(Struct, frozen=True):
    """`step` is None for a parameter of the pipeline. `kind` is parameter, id, artifact, parameters, model or field."""

    text: str
    step: str | None
    kind: str
    path: tuple[str, ...]


Lookup = Callable[[Reference], Any]


def parse(body: str, steps: Sequence[str] | Mapping[str, Any]) -> Reference:
    """The reference whose text between the braces is `body`. Step names may hold dots and spaces: the longest one wins.

    Raises Invalid, saying what could be meant.
    """
    text = f"${{{body}}}"
    body = body.strip()
    found = _step_of(body, steps)
    if found is None:
        head, dot, rest = body.partition(".")
        if head == "pipeline" and dot and rest:
            return Reference(text, None, "parameter", (rest,))
        # The steps of a dynamic run are in no order; what is said must at least be the same in each process.
        names = sorted(steps) if isinstance(steps, Map) else list(steps)
        known = ", ".join(map(repr, names[:20])) or "none yet"
        raise Invalid(
            f"{text} speaks of neither a step nor a parameter: steps are {known}, parameters ${{pipeline.name}}."
        )
    step, rest = found
    parts = _split(rest)
    match parts:
        case ["id"]:
            return Reference(text, step, "id", ())
        case ["artifacts", name, *attribute] if name and attribute and all(attribute):
            return Reference(text, step, "artifact", (name, ".".join(attribute)))
        case ["parameters", *name] if any(name):
            return Reference(text, step, "parameters", (".".join(name),))
        case ["models", ("input" | "output") as kind, index, *attribute] if (
            attribute and all(attribute) and re.fullmatch(r"-?\d+", index)
        ):
            return Reference(text, step, "model", (kind, index, ".".join(attribute)))
        case [field, *_] if field in RAW_FIELDS:
            return Reference(text, step, "field", tuple(parts))
        case _:
            raise Invalid(
                f"{text} names nothing that step {step!r} has: write ${{{step}.id}}, "
                f"${{{step}.artifacts.NAME.url}}, ${{{step}.parameters.Section/name}}, "
                f"${{{step}.models.output.-1.url}} or a field such as ${{{step}.script.branch}}."
            )


def _step_of(body: str, steps: Sequence[str] | Mapping[str, Any]) -> tuple[str, str] | None:
    """The longest step name that `body` begins with, its dots escaped or not, and what follows it after a dot."""
    cuts = [i for i, letter in enumerate(body) if letter == "."]
    for cut in reversed(cuts):
        for name in (body[:cut], body[:cut].replace("\\.", ".")):
            if name in steps:
                return name, body[cut + 1 :]
    return None


def _split(text: str) -> list[str]:
    """Split on dots; a dot behind a backslash belongs to the name."""
    return [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", text)]


def references(value: Any, steps: Sequence[str] | Mapping[str, Any], *, deep: bool = True) -> Iterator[Reference]:
    """All references in `value`; inside lists and mappings too when `deep`."""
    if isinstance(value, str):
        for found in PATTERN.finditer(value) if "${" in value else ():
            yield parse(found[1], steps)
    elif deep and isinstance(value, Mapping):
        for inner in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from references(inner, steps)
    elif deep and isinstance(value, list | tuple):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from references(inner, steps)


def resolve(value: Any, steps: Sequence[str] | Mapping[str, Any], lookup: Lookup, *, deep: bool = True) -> Any:
    """`value` with its references replaced. A string that is one reference takes its value, type and all."""
    if isinstance(value, str):
        whole = PATTERN.fullmatch(value.strip())
        if whole:
            return lookup(parse(whole[1], steps))
        return PATTERN.sub(lambda found: as_text(lookup(parse(found[1], steps))), value)
    if deep and isinstance(value, Mapping):
        return {key: resolve(inner, steps, lookup) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if deep and isinstance(value, list | tuple):
        return [resolve(inner, steps, lookup) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def as_text(value: Any) -> str:
    """How a value reads inside other text."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
