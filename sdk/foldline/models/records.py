"""What a model is to the server: a record on the task that has made or read it, changed by saying it again."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from foldline import process, stores
from foldline.client import Client
from foldline.errors import DefinitionError
from foldline.listing import Json

ENTRY: Final = "_entry"  # metadata of ours: under which name a task lists the model
PACKAGE: Final = "_package"  # that its file is an archive of several
OURS: Final = (ENTRY, PACKAGE)

FIELDS: Final = (
    "id",
    "name",
    "url",
    "framework",
    "comment",
    "tags",
    "labels",
    "config_text",
    "config_dict",
    "project",
    "published",
    "archived",
    "parent",
    "iteration",
    "metadata",
)
TYPES: Final = ("float", "int", "bool", "str", "basestring", "list", "tuple", "dict")


def empty(identifier: str, name: str = "") -> Json:
    """The record of a model of which nothing is known yet."""
    return {
        "id": identifier,
        "name": name,
        "url": "",
        "framework": "",
        "comment": "",
        "tags": [],
        "labels": {},
        "config_text": "",
        "config_dict": {},
        "project": "",
        "published": False,
        "archived": False,
        "parent": None,
        "iteration": None,
        "metadata": {},
    }


def say(client: Client, task: str, kind: str, record: Mapping[str, Any]) -> Json:
    """Put the record on the task, in the place of what it said of that model before; the new one comes back."""
    body = {name: record[name] for name in FIELDS if record.get(name) is not None}
    attempt = process.attempt_of(task)
    said = client.tasks.add_model(task, {**body, "kind": kind, **({"attempt": attempt} if attempt else {})})
    return {**said, "task": task}


def entry_name(record: Mapping[str, Any]) -> str:
    """Under which name a task lists the model: as it was connected, else as its file is called."""
    given = record["metadata"].get(ENTRY, {}).get("value")
    return str(given or Path(stores.name_of(record["url"])).stem if record["url"] else given or record["name"])


def entry(value: Any, kind: str = "str") -> dict[str, str]:
    """An entry of metadata: texts, and the type that the value had."""
    return {"value": str(value), "type": kind}


def metadata_of(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What users have said, without what stands there for us."""
    return {name: dict(found) for name, found in record["metadata"].items() if name not in OURS}


def cast_entry(found: Mapping[str, str]) -> Any:
    """The value in its type; as text when it is no such thing."""
    text, kind = found.get("value"), found.get("type")
    try:
        match kind:
            case "int":
                return int(str(text))
            case "float":
                return float(str(text))
            case "bool":
                return {"true": True, "1": True, "false": False, "0": False}[str(text).lower()]
            case "list" | "tuple" | "dict":
                return ast.literal_eval(str(text))
            case _:
                return text
    except (ValueError, KeyError, SyntaxError):
        return text


def design(config_text: str | None, config_dict: Mapping[str, Any] | None) -> Json:
    """The fields of a configuration; none when nothing was given. Raises ValueError for both."""
    if config_text is not None and config_dict is not None:
        raise ValueError("give either config_text or config_dict")
    if config_dict is not None:
        try:
            text = json.dumps(config_dict, indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as why:
            raise DefinitionError(f"config_dict cannot be kept as JSON: {why}") from why
        return {"config_text": text, "config_dict": json.loads(text)}
    return {} if config_text is None else {"config_text": config_text, "config_dict": {}}


def parsed_design(record: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as a dict. Raises DefinitionError when its text is no JSON object."""
    if record["config_dict"] or not record["config_text"].strip():
        return dict(record["config_dict"])
    try:
        found: Any = json.loads(record["config_text"])
    except ValueError as why:
        raise DefinitionError(f"the configuration of model {record['name']!r} is no JSON: read config_text") from why
    if not isinstance(found, dict):
        raise DefinitionError(f"the configuration of model {record['name']!r} is no dict: read config_text")
    return found  # pyright: ignore[reportUnknownVariableType]


def labels_of(given: Mapping[str, int]) -> dict[str, int]:
    """Raises ValueError unless these are names with whole numbers."""
    for name, number in given.items():
        if not (isinstance(name, str) and isinstance(number, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"labels are names with whole numbers, not {name!r}: {number!r}")
    return dict(given)


def address_of(weights: str) -> str:
    """A path as file://..., any other address as it is."""
    if not weights:
        raise ValueError("give the address of the weights")
    stores.refuse_secrets(weights)
    path = stores.local_path(weights)
    return weights if path is None or urlsplit(weights).scheme == "file" else path.absolute().as_uri()
