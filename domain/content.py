"""What a task is made of: all that a clone takes along, and how edits and overrides change it.

The fields are those of a ClearML task, so that nothing of theirs is lost in ours. Values are typed JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from domain.refused import Invalid

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True)
class Parameter:
    value: Any = None  # Json; Any keeps codecs and checkers from walking a recursive type at each use
    type: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    value: str = ""
    type: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    repository: str = ""
    branch: str = ""
    commit: str = ""
    tag: str = ""
    entry_point: str = ""
    working_dir: str = "."
    diff: str = ""
    binary: str = ""
    requirements: Mapping[str, Any] = field(default_factory=dict[str, Any])
    source: str | None = None  # SHA-256 of the snapshot of the project's files
    module: str | None = None
    function: str | None = None
    returns: Sequence[str] = ()
    arguments: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Container:
    image: str = ""
    arguments: str = ""
    setup_script: str = ""


Hyperparameters = Mapping[str, Mapping[str, Parameter]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    type: str = "training"
    comment: str = ""
    hyperparameters: Hyperparameters = field(default_factory=dict[str, Mapping[str, Parameter]])
    configuration: Mapping[str, Configuration] = field(default_factory=dict[str, Configuration])
    script: Script = Script()
    container: Container = Container()
    output_destination: str = ""
    models: Sequence[Mapping[str, Any]] = ()  # input models
    tags: Sequence[str] = ()
    system_tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change to a content: None leaves a field, a None inside a mapping deletes that entry."""

    type: str | None = None
    comment: str | None = None
    hyperparameters: Mapping[str, Mapping[str, Parameter | None] | None] | None = None
    replace_hyperparameters: bool = False
    configuration: Mapping[str, Configuration | None] | None = None
    script: Script | None = None
    container: Container | None = None
    output_destination: str | None = None
    tags: Sequence[str] | None = None
    system_tags: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a step changes in its clone, with every reference already replaced by its value."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])  # {"Section/name": value}
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])  # {"script.branch": value}


NONE = Overrides()
SECTIONS = {"script": Script, "container": Container}
PLAIN_FIELDS = ("comment", "type", "output_destination", "tags", "system_tags")


def edited(content: Content, edit: Edit) -> Content:
    """`content` after `edit`."""
    changes: dict[str, Any] = {
        name: getattr(edit, name) for name in (*PLAIN_FIELDS, "script", "container") if getattr(edit, name) is not None
    }
    if edit.hyperparameters is not None:
        old: Hyperparameters = {} if edit.replace_hyperparameters else content.hyperparameters
        changes["hyperparameters"] = _merged_sections(old, edit.hyperparameters)
    if edit.configuration is not None:
        changes["configuration"] = _merged(content.configuration, edit.configuration)
    return replace(content, **changes)


def overridden(content: Content, overrides: Overrides) -> Content:
    """`content` with a step's overrides. Raises Invalid for a field that a task does not have."""
    if overrides is NONE:
        return content
    hyperparameters = {name: dict(section) for name, section in content.hyperparameters.items()}
    for path, value in overrides.parameters.items():
        section, name = split_parameter(path)
        entries = hyperparameters.setdefault(section, {})
        old = entries.get(name)
        entries[name] = Parameter(value, old.type if old else None, old.description if old else None)
    configuration = dict(content.configuration)
    for name, text in overrides.configuration.items():
        old_item = configuration.get(name, Configuration())
        configuration[name] = replace(old_item, value=text)
    content = replace(content, hyperparameters=hyperparameters, configuration=configuration)
    for path, value in overrides.task.items():
        content = _with_field(content, path, value)
    return content


def split_parameter(path: str) -> tuple[str, str]:
    """("General", "a/b") of "General/a/b". Raises Invalid when the section is missing."""
    section, slash, name = path.partition("/")
    if not (section and slash and name):
        raise Invalid(f"Parameter {path!r} has no section: write it as 'General/{path.strip('/') or 'name'}'.")
    return section, name


# ClearML's names of the same fields.
_ALIASES = {
    "script.version_num": "script.commit",
    "script.requirements.pip": "script.requirements",
    "container.docker_cmd": "container.image",
    "execution.docker_cmd": "container.image",
    "output.destination": "output_destination",
}


def check_field(path: str) -> str:
    """The canonical form of a task field that can be overridden. Raises Invalid, naming those there are."""
    path = _ALIASES.get(path, path)
    section, dot, name = path.partition(".")
    if section in SECTIONS and dot and name.split(".")[0] in {f.name for f in fields(SECTIONS[section])}:
        return path
    if path in PLAIN_FIELDS:
        return path
    known = [f"{s}.{f.name}" for s, kind in SECTIONS.items() for f in fields(kind)]
    raise Invalid(f"A task has no field {path!r} to override: choose from {', '.join([*PLAIN_FIELDS, *known])}.")


def field_of(content: Content, path: str) -> Any:
    """The value of a dotted field such as `script.branch`. Raises LookupError when there is none."""
    value: Any = content
    for part in _ALIASES.get(path, path).split("."):
        try:
            value = cast(Any, value[part] if isinstance(value, Mapping) else getattr(value, part))
        except AttributeError:
            raise LookupError(path) from None
    return value


def _with_field(content: Content, path: str, value: Any) -> Content:
    path = check_field(path)
    section, dot, name = path.partition(".")
    if not dot:
        return replace(content, **{section: value})
    part = getattr(content, section)
    name, dot, key = name.partition(".")
    if dot:
        value = {**getattr(part, name), key: value}
    elif name == "requirements" and not isinstance(value, Mapping):
        value = {"pip": value}
    return replace(content, **{section: replace(part, **{name: value})})


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {**old, **new}
    return {name: value for name, value in both.items() if value is not None}


def _merged_sections(
    old: Hyperparameters, new: Mapping[str, Mapping[str, Parameter | None] | None]
) -> dict[str, Mapping[str, Parameter]]:
    sections: dict[str, Mapping[str, Parameter]] = dict(old)
    for name, entries in new.items():
        if entries is None:
            sections.pop(name, None)
        else:
            sections[name] = _merged(sections.get(name, {}), entries)
    return sections
