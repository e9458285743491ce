"""What goes into a function step and what comes out of it, between the task's record and Python."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from foldline.artifacts import Artifact, upload
from foldline.destinations import folder_of
from foldline.errors import FoldlineError, NotFound
from foldline.formats import is_parameter, type_name
from foldline.passed import put_together
from foldline.serialization import Codec, codec_of

if TYPE_CHECKING:
    from foldline.client import Client

RETURNS = "return"
BAD_ENDS = ("failed", "stopped")


def arguments(task: Mapping[str, Any], client: "Client") -> dict[str, Any]:
    """The function's keyword arguments. Raises FoldlineError when one was to come from where nothing is."""
    sections: Any = task["hyperparameters"]
    kwargs: dict[str, Any] = {name: entry["value"] for name, entry in sections.get("kwargs", {}).items()}
    seen: dict[str, Mapping[str, Any]] = {str(task["id"]): task}
    sources: Mapping[str, Any] = sections.get("kwargs_artifacts", {})
    codec = codec_of(task) if sources else Codec()
    for name, entry in sources.items():
        fetch = partial(_fetched, str(name), seen=seen, client=client, codec=codec)
        kwargs[name] = put_together(entry["value"], fetch)
    return kwargs


def store(value: Any, task: Mapping[str, Any], client: "Client") -> None:
    """Store what the function returned under the names of the task's `returns`; nothing without names."""
    names = [str(name) for name in task["script"].get("returns") or ()]
    if not names:
        return
    parameters: dict[str, Any] = {}
    codec, folder = codec_of(task), folder_of(task)
    for name, part in zip(names, _parts(value, names), strict=True):
        if is_parameter(part):
            parameters[name] = {"value": part, "type": type_name(part)}
        else:
            upload(client, str(task["id"]), name, codec.pack(name, part), folder=folder)
    if parameters:
        client.tasks.edit(str(task["id"]), {"hyperparameters": {RETURNS: parameters}})


def _parts(value: Any, names: list[str]) -> list[Any]:
    if len(names) == 1:
        return [value]
    if not isinstance(value, tuple | list):
        kind = type(value).__name__
        raise FoldlineError(f"the function returned one {kind}, but {len(names)} return values are named: {names}")
    parts = cast(list[Any], list(value))  # pyright: ignore[reportUnknownArgumentType]
    if len(parts) != len(names):
        raise FoldlineError(f"the function returned {len(parts)} values, but {len(names)} are named: {names}")
    return parts


def _fetched(argument: str, source: str, seen: dict[str, Mapping[str, Any]], client: "Client", codec: Codec) -> Any:
    identifier, dot, name = source.partition(".")
    if not (identifier and dot and name):
        raise FoldlineError(f"argument {argument!r}: {source!r} should read '<task id>.<name>'")
    try:
        if identifier not in seen:
            seen[identifier] = client.tasks.get(identifier)
    except NotFound:
        raise FoldlineError(f"argument {argument!r}: there is no task {identifier}") from None
    other: Any = seen[identifier]
    artifact = other["artifacts"].get(name)
    if artifact is not None:
        return codec.unpack(Artifact(artifact, client))
    returned = other["hyperparameters"].get(RETURNS, {}).get(name)
    if returned is not None:
        return returned["value"]
    if other["status"] in BAD_ENDS:
        # The run went on without it, as its author said it should.
        return None
    raise FoldlineError(
        f"argument {argument!r}: task {other['name']!r} ({identifier}) has neither an artifact "
        f"nor a return value {name!r}; it is {other['status']}"
    )
