"""When two tasks would do the same: the key under which a step's results are reused, and what it is made of."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from domain.content import Content, field_of
from domain.references import as_text

LONGEST = 200  # characters of a part that is kept as it is; longer ones by their hash

# What decides what a script does. A function's own code stands for the files around it.
OF_SCRIPT = ("entry_point", "working_dir", "arguments", "module", "function", "returns", "binary", "pickle")
OF_REPOSITORY = ("repository", "commit", "tag", "diff")
OF_CONTAINER = ("image", "arguments", "setup_script")


def why_not(content: Content) -> str:
    """Why a task of this content can never be reused; empty when it can."""
    script = content.script
    if script.repository and not (script.commit or script.tag):
        return "its repository is named without a commit or a tag: what it runs is not known"
    if not (script.source or script.code or script.repository or script.diff or script.module):
        return "nothing says which code it runs"
    return ""


def parts_of(content: Content, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the key is made of, by name. `inputs` says, by parameter path, what stands for a value that names another
    task: the hash of the artifact that it gives."""
    parts: dict[str, Any] = {}
    script = content.script
    if script.code:
        parts["script.code"] = script.code
        names = tuple(name for name in OF_SCRIPT if name not in ("entry_point", "working_dir", "arguments"))
    else:
        parts["script.source"] = script.source
        names = OF_SCRIPT
    for name in (*names, *OF_REPOSITORY):
        parts[f"script.{name}"] = _short(field_of(content, f"script.{name}"))
    parts["script.requirements"] = _short(field_of(content, "script.requirements"))
    for name in OF_CONTAINER:
        parts[f"container.{name}"] = _short(field_of(content, f"container.{name}"))
    parts = {name: value for name, value in parts.items() if value not in (None, "", [], {})}
    for section, entries in content.hyperparameters.items():
        for name, parameter in entries.items():
            path = f"{section}/{name}"
            parts[path] = _short(inputs.get(path, parameter.value))
    for name, configuration in content.configuration.items():
        parts[f"configuration.{name}"] = _short(configuration.value)
    return parts


def key_of(parts: Mapping[str, Any]) -> str:
    """The SHA-256 of the parts, in hex."""
    return sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def differing(parts: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The names of the parts that are not the same in both."""
    return sorted(name for name in parts.keys() | others.keys() if parts.get(name) != others.get(name))


def _short(value: Any) -> Any:
    text = as_text(value)
    if len(text) <= LONGEST:
        return value
    return f"sha256:{sha256(text.encode()).hexdigest()}"
