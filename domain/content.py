"""What a task is made of: all that a clone takes along, and how edits and overrides change it.

The fields are those of a ClearML task, so that nothing of theirs is lost in ours. Values are typed JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import Struct, field
from msgspec.structs import replace

from domain.references import as_text
from domain.refused import Invalid

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class Parameter(Struct, frozen=True, gc=False):
    value: Any = None  # Json; Any keeps codecs and checkers from walking a recursive type at each use
    type: str | None = None
    description: str | None = None


class Configuration(Struct, frozen=True, gc=False):
    value: str = ""
    type: str | None = None
    description: str | None = None


class Script(Struct, frozen=True, gc=False):
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
    code: str | None = None  # fingerprint of the code that the function depends on; the cache key takes it for the rest
    pickle: str | None = None  # SHA-256 of the pickled function, where no file defines it; never read by the server


class Container(Struct, frozen=True, gc=False):
    image: str = ""
    arguments: str = ""
    setup_script: str = ""


Hyperparameters = Mapping[str, Mapping[str, Parameter]]


class Content(Struct, frozen=True, kw_only=True, gc=False):
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


class Edit(Struct, frozen=True, kw_only=True, gc=False):
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


class Overrides(Struct, frozen=True, kw_only=True, gc=False):
    """What a step changes in its clone, with every reference already replaced by its value."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])  # {"Section/name": value}
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])  # {"script.branch": value}


NONE = Overrides()
SECTIONS = {"script": Script, "container": Container}
PLAIN_FIELDS = ("comment", "type", "output_destination", "tags", "system_tags")
LISTS = ("tags", "system_tags", "script.returns", "script.arguments")
MAPPINGS = ("script.requirements",)
OPTIONAL = ("script.source", "script.module", "script.function", "script.code", "script.pickle")


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
    "container.docker_cmd": "container.image",
    "execution.docker_cmd": "container.image",
    "output.destination": "output_destination",
}


def check_field(path: str) -> str:
    """The canonical form of a task field that can be overridden. Raises Invalid, naming those there are."""
    path = _ALIASES.get(path, path)
    inner = [f"{section}.{name}" for section, kind in SECTIONS.items() for name in kind.__struct_fields__]
    known = [*PLAIN_FIELDS, *inner]
    # Only a mapping can be changed in part.
    mapping, _, key = path.rpartition(".")
    if path in known or (mapping in MAPPINGS and key):
        return path
    raise Invalid(f"A task has no field {path!r} to override: choose from {', '.join(known)}.")


def field_of(content: Content, path: str) -> Any:
    """The value of a dotted field such as `script.branch`, as plain JSON. Raises LookupError when there is none."""
    return inside(content, _ALIASES.get(path, path).split("."))


def inside(value: Any, path: Sequence[str]) -> Any:
    """What lies in `value` under the names of `path`, as plain JSON. Raises LookupError when there is nothing."""
    for name in path:
        value = _named(value)[name]
    return _plain(value)


def _named(value: Any) -> Mapping[str, Any]:
    """What `value` has by name. Fields only: other attributes are Python's, and not data."""
    if isinstance(value, Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Struct | Mapping):
        return {name: _plain(inner) for name, inner in _named(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast(Sequence[Any], value)]
    return value


def _with_field(content: Content, path: str, value: Any) -> Content:
    path = check_field(path)
    section, dot, name = path.partition(".")
    if not dot:
        return replace(content, **{section: _fitting(path, value)})
    part = getattr(content, section)
    name, dot, key = name.partition(".")
    value = {**getattr(part, name), key: value} if dot else _fitting(path, value)
    return replace(content, **{section: replace(part, **{name: value})})


def _fitting(path: str, value: Any) -> Any:
    """`value` in the type of the field at `path`: a content that does not fit its types could not be read back."""
    if path in LISTS:
        if not isinstance(value, list | tuple):
            raise Invalid(f"Task field {path!r} is a list of texts, not {value!r}.")
        return [as_text(item) for item in cast(Sequence[Any], value)]
    if path in MAPPINGS:
        return cast(Any, value) if isinstance(value, Mapping) else {"pip": value}
    if value is None:
        return None if path in OPTIONAL else ""
    return as_text(value)


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
