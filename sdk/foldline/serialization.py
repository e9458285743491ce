"""The pipeline's own way to turn values into bytes: functions that travel to the steps by name, with their sources."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from foldline.artifacts import Artifact
from foldline.errors import FoldlineError
from foldline.formats import Packed, pack, pack_custom
from foldline.projects import entry_files
from foldline.running import load_function
from foldline.scripts import script_of_function

Serialize = Callable[[Any], bytes | bytearray]
Deserialize = Callable[[bytes], Any]

# The configuration object of a step's task that names them.
OBJECT: Final = "artifact serialization"


@dataclass(frozen=True, slots=True)
class Codec:
    """None: as ever."""

    serialize: Serialize | None = None
    deserialize: Deserialize | None = None

    def pack(self, name: str, value: Any) -> Packed:
        """`value` as the artifact `name`, by the pipeline's own function if it has one."""
        if self.serialize is not None:
            return pack_custom(name, value, self.serialize)
        return pack(name, value, paths=False, exact=True)

    def unpack(self, artifact: Artifact) -> Any:
        """The object that the artifact is; what `pack` did not make itself is read as ever."""
        return artifact.get(deserialization_function=self.deserialize if artifact.format == "custom" else None)


def described(codec: Codec) -> dict[str, Any]:
    """The configuration objects by which a step's process finds the functions; none when there are none.

    Raises DefinitionError for a function that cannot be found from its sources.
    """
    functions = {"serialize": codec.serialize, "deserialize": codec.deserialize}
    # Without the digest of the sources: a step's results stay reusable when only another file has changed.
    said = {
        way: {name: value for name, value in script_of_function(function, [])[0].items() if name != "source"}
        for way, function in functions.items()
        if function is not None
    }
    return {OBJECT: {"value": json.dumps(said, sort_keys=True), "type": "json"}} if said else {}


def codec_of(task: Mapping[str, Any]) -> Codec:
    """The functions that `described` named. Raises FoldlineError when they are not among the step's sources."""
    found = cast(dict[str, Any], task.get("configuration") or {}).get(OBJECT)
    if found is None:
        return Codec()
    scripts = json.loads(found["value"])
    functions = {way: load_function(_root(script), script) for way, script in scripts.items()}
    return Codec(functions.get("serialize"), functions.get("deserialize"))


def _root(script: Mapping[str, Any]) -> Path | None:
    """Where the step's sources are unpacked: the step's function was imported from there, so the path leads there."""
    if not script.get("entry_point"):
        return None
    for folder in sys.path:
        if any((Path(folder) / file).is_file() for file in entry_files(script)):
            return Path(folder)
    raise FoldlineError(f"{script['entry_point']}, which defines {script['function']}, is not among the step's sources")
