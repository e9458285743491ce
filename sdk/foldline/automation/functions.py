"""A Python function as a step: its arguments as parameters and references, its code as a snapshot."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from foldline import formats
from foldline.artifacts import upload
from foldline.automation.nodes import REFERENCE, Node, return_value, step_of, steps_named_in
from foldline.client import Client
from foldline.errors import DefinitionError
from foldline.formats import Packed
from foldline.parameters import entry
from foldline.serialization import Codec


@dataclass(slots=True)
class Arguments:
    """What a function step is called with, sorted by how it gets there."""

    fixed: dict[str, Any] = field(default_factory=dict[str, Any])  # parameters in section kwargs
    references: dict[str, Any] = field(default_factory=dict[str, Any])  # overrides, resolved as the step is launched
    objects: dict[str, Any] = field(default_factory=dict[str, Any])  # what only an artifact can hold
    parents: list[str] = field(default_factory=list[str])
    nested: bool = False  # whether a reference stands inside a list or a dict

    def sections(self) -> dict[str, dict[str, Any]]:
        return {"kwargs": {name: entry(value) for name, value in self.fixed.items()}}


def arguments_of(
    step: str, function: Callable[..., Any], kwargs: Mapping[str, Any] | None, nodes: Mapping[str, Node]
) -> Arguments:
    """Raises DefinitionError for an argument that the function does not take, or lacks, or a return nobody makes."""
    sorted_out = Arguments()
    for name, value in _complete(step, function, kwargs or {}).items():
        source = return_value(value, nodes)
        if source is not None:
            _check_return(step, name, value, nodes[source[0]], source[1])
            sorted_out.references[f"kwargs_artifacts/{name}"] = f"${{{source[0]}.id}}.{source[1]}"
            sorted_out.parents.append(source[0])
        elif formats.is_exact_json(value) and REFERENCE.search(text := json.dumps(value, ensure_ascii=False)):
            _check_text(step, name, text, nodes)
            sorted_out.references[f"kwargs/{name}"] = value
            sorted_out.parents += steps_named_in(value, nodes, deep=True)
            sorted_out.nested = sorted_out.nested or not isinstance(value, str)
        elif formats.is_parameter(value) or _is_small_json(value):
            sorted_out.fixed[name] = value
        else:
            sorted_out.objects[name] = value
    return sorted_out


def _complete(step: str, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`kwargs` with the function's plain defaults, so that they can be seen and changed like the others."""
    parameters = inspect.signature(function).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    by_name = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    unknown = [name for name in kwargs if name not in by_name]
    if unknown and not open_ended:
        raise DefinitionError(f"step {step!r}: {function.__name__}() takes no {', '.join(map(repr, unknown))}")
    missing = [name for name, one in by_name.items() if one.default is one.empty and name not in kwargs]
    if missing:
        raise DefinitionError(
            f"step {step!r}: {function.__name__}() needs {', '.join(map(repr, missing))}: give it in function_kwargs"
        )
    defaults = {
        name: one.default for name, one in by_name.items() if one.default is not one.empty and _is_plain(one.default)
    }
    return {**defaults, **kwargs}


def _is_plain(value: Any) -> bool:
    """Whether a default may be written down: one that cannot stays the function's own affair."""
    if not (formats.is_parameter(value) or _is_small_json(value)):
        return False
    return REFERENCE.search(json.dumps(value, ensure_ascii=False)) is None


def _is_small_json(value: Any) -> bool:
    return (
        isinstance(value, list | dict)
        and formats.is_exact_json(value)
        and len(json.dumps(value)) <= formats.LONGEST_PARAMETER
    )


def _check_return(step: str, argument: str, text: str, producer: Node, name: str) -> None:
    if producer.return_artifacts and name not in producer.return_artifacts:
        known = ", ".join(producer.return_artifacts)
        raise DefinitionError(
            f"step {step!r}, argument {argument!r}: {text} is nothing that step {producer.name!r} returns: "
            f"that is {known}"
        )


def _check_text(step: str, argument: str, text: str, nodes: Mapping[str, Node]) -> None:
    """A return value is an object: only a whole argument can hold it."""
    for body in REFERENCE.findall(text):
        producer = step_of(body.strip(), nodes)
        if producer is not None and return_value(f"${{{body}}}", nodes) is not None:
            raise DefinitionError(
                f"step {step!r}, argument {argument!r}: ${{{body}}} is an object and cannot stand inside text; "
                "give it as the whole argument"
            )


def upload_objects(
    client: Client, pipeline: str, project: str, objects: Mapping[str, Mapping[str, Any]], codec: Codec = Codec()
) -> dict[str, dict[str, Any]]:
    """Store what only artifacts can hold on one task of their own: {step: {"kwargs_artifacts/x": "<task>.<name>"}}."""
    packed = {
        f"{step}.{name}": codec.pack(f"{step}.{name}", value)
        for step, values in objects.items()
        for name, value in values.items()
    }
    if not packed:
        return {}
    holder = _holder(client, f"{pipeline} inputs", project, packed)
    for artifact, one in packed.items():
        # Input artifacts outlive a reset of the task that holds them.
        upload(client, holder, artifact, one, mode="input")
    return {
        step: {f"kwargs_artifacts/{name}": f"{holder}.{step}.{name}" for name in values}
        for step, values in objects.items()
        if values
    }


def _holder(client: Client, name: str, project: str, packed: Mapping[str, Packed]) -> str:
    """The task that holds just these objects: the same one for the same objects, so that results can be reused."""
    task = {
        "name": name,
        "project": project,
        "type": "data_processing",
        "comment": "Objects given to function steps.",
    }
    content = {artifact: _digest(one) for artifact, one in packed.items()}
    key = sha256(json.dumps([task, content], sort_keys=True).encode()).hexdigest()
    return str(client.request("POST", "tasks", json=task, headers={"Idempotency-Key": key}).json()["id"])


def _digest(packed: Packed) -> str:
    """The SHA-256 of the object's bytes and of how they are read."""
    found = sha256(f"{packed.format} {packed.type} {packed.filename}\n".encode())
    if packed.path is None:
        found.update(packed.data or b"")
    else:
        with packed.path.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    return found.hexdigest()


def names_of(returns: str | Sequence[str] | None) -> list[str]:
    """The names of return values; a single name may be given bare."""
    return [returns] if isinstance(returns, str) else [str(name) for name in returns or ()]
