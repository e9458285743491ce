"""Parameters of a task: flat `Section/name` in Python, sections of typed values on the server."""

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, cast

from foldline import compat
from foldline.errors import DefinitionError
from foldline.formats import plain, type_name
from foldline.handle import TaskHandle

DEFAULT_SECTION: Final = "General"
PROPERTIES: Final = "properties"
# The configuration object that holds them.
LABELS: Final = "model_labels"

Sections = dict[str, dict[str, Any]]


def split(path: str, section: str = DEFAULT_SECTION) -> tuple[str, str]:
    """("General", "a/b") of "General/a/b"; a name alone belongs to `section`."""
    head, slash, name = path.partition("/")
    return (head, name) if slash and head and name else (section, path.strip("/"))


def entry(value: Any, description: str | None = None, value_type: Any = None) -> dict[str, Any]:
    """A parameter as the server keeps it; of an enum the member's name, and the others' in its description."""
    if isinstance(value, Enum):
        choices = f"one of {', '.join(type(value).__members__)}"
        description = f"{description}: {choices}" if description else choices
        value, value_type = value.name, value_type or type(value)
    named = value_type.__name__ if isinstance(value_type, type) else value_type
    return {"value": plain(value), "type": str(named or type_name(value)), "description": description}


def sections_of(values: Mapping[str, Any]) -> Sections:
    """{"General": {"lr": {...}}} of {"General/lr": 0.1}."""
    sections: Sections = {}
    for path, value in values.items():
        section, name = split(str(path))
        sections.setdefault(section, {})[name] = entry(value)
    return sections


def flat(sections: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """{"General/lr": 0.1} of the server's sections, values with their types."""
    return {
        f"{section}/{name}": typed(found) for section, entries in sections.items() for name, found in entries.items()
    }


def typed(found: Mapping[str, Any]) -> Any:
    """The value of a parameter as Python had it: JSON has no tuples."""
    value = found["value"]
    return tuple(cast(list[Any], value)) if found.get("type") == "tuple" and isinstance(value, list) else value


def flattened(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as names with slashes; an empty one stays a value."""
    names: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            names |= flattened(cast(dict[Any, Any], value), f"{prefix}{key}/")
        else:
            names[f"{prefix}{key}"] = value
    return names


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flattened`: {"General": {"lr": 0.1}} of {"General/lr": 0.1}."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return tree


class WithParameters(TaskHandle):
    """Task's methods about hyperparameters, configuration objects and user properties."""

    def get_parameters(self, backwards_compatibility: bool = True, cast: bool = False) -> dict[str, Any]:
        """{"Section/name": value}, read from the server; values have their types."""
        compat.ignored("Task.get_parameters", backwards_compatibility=backwards_compatibility, cast=cast)
        return flat(self._sections())

    def get_parameter(self, name: str, default: Any = None, cast: bool = False) -> Any:
        compat.ignored("Task.get_parameter", cast=cast)
        return flat(self._sections()).get("/".join(split(name)), default)

    def get_parameters_as_dict(self, cast: bool = False) -> dict[str, Any]:
        """{"Section": {"name": value}}, names with slashes as dicts in dicts."""
        compat.ignored("Task.get_parameters_as_dict", cast=cast)
        return nested(flat(self._sections()))

    def set_parameters(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        """Replace all parameters by those given, as dicts or by keyword."""
        self._edit(hyperparameters=self._described(sections_of(_together(args, kwargs))), replace_hyperparameters=True)

    def update_parameters(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        """Set those given, keep the others."""
        self._edit(hyperparameters=self._described(sections_of(_together(args, kwargs))))

    def set_parameters_as_dict(self, dictionary: Mapping[str, Any]) -> None:
        self.set_parameters(flattened(dictionary))

    def set_parameter(self, name: str, value: Any, description: str | None = None, value_type: Any = None) -> None:
        section, name = split(name)
        self._edit(hyperparameters=self._described({section: {name: entry(value, description, value_type)}}))

    def delete_parameter(self, name: str, force: bool = False) -> bool:
        """Whether there was one to delete."""
        compat.ignored("Task.delete_parameter", force=force)
        section, name = split(name)
        if name not in self._sections().get(section, {}):
            return False
        self._edit(hyperparameters={section: {name: None}})
        return True

    def set_user_properties(self, *iterables: Mapping[str, Any] | Iterable[Any], **properties: Any) -> bool:
        """Words about the task that change nothing: by keyword, {name: property}, properties, or lists of them.

        A property is a value, or a dict with value, description and, without a keyword, name.
        """
        given: dict[str, Any] = {name: _property(value) for name, value in properties.items()}
        for iterable in iterables:
            if isinstance(iterable, Mapping) and not {"name", "value"} <= set(cast(Mapping[str, Any], iterable)):
                pairs: Any = cast(Mapping[str, Any], iterable).items()
            else:
                pairs = [iterable] if isinstance(iterable, Mapping) else iterable
            for item in cast(Iterable[Any], pairs):
                if isinstance(item, Mapping):
                    found = cast(Mapping[str, Any], item)
                    given[str(found["name"])] = _property(found)
                else:
                    name, value = item
                    given[str(name)] = _property(value)
        self._edit(hyperparameters={PROPERTIES: given})
        return True

    def delete_user_properties(self, *iterables: Mapping[str, Any] | Iterable[str] | str) -> bool:
        """Forget properties: each a name, or a dict or pair of section and name. Whether all of them were there."""
        there = self._sections().get(PROPERTIES, {})
        names = [name for item in iterables for name in _property_names(item)]
        gone = {name: None for name in names if name in there}
        if gone:
            self._edit(hyperparameters={PROPERTIES: gone})
        return len(gone) == len(set(names))

    def get_user_properties(self, value_only: bool = False) -> dict[str, Any]:
        found = self._sections().get(PROPERTIES, {})
        if value_only:
            return {name: typed(value) for name, value in found.items()}
        return {name: {"section": PROPERTIES, "name": name, **value} for name, value in found.items()}

    def set_configuration_object(
        self,
        name: str,
        config_text: str | None = None,
        description: str | None = None,
        config_type: str | None = None,
        config_dict: Mapping[str, Any] | list[Any] | None = None,
    ) -> None:
        """Store a text, or a dict as JSON, under `name`."""
        if (config_text is None) == (config_dict is None):
            raise ValueError("give either config_text or config_dict")
        text = config_text if config_dict is None else json.dumps(config_dict, indent=2, ensure_ascii=False)
        kind = config_type or ("json" if config_dict is not None else "text")
        self._edit(configuration={name: {"value": text, "type": kind, "description": description}})

    def get_configuration_object(self, name: str) -> str | None:
        """Its text; None when there is none."""
        return self.get_configuration_objects().get(name)

    def get_configuration_object_as_dict(self, name: str) -> Any:
        """The object when it is JSON; None when there is none. Raises DefinitionError when it is no JSON."""
        text = self.get_configuration_object(name)
        if text is None:
            return None
        try:
            return json.loads(text)
        except ValueError as why:
            raise DefinitionError(f"configuration {name!r} is not JSON: {why}") from why

    def get_configuration_objects(self) -> dict[str, str]:
        self.reload()
        return {name: str(found["value"]) for name, found in self.data["configuration"].items()}

    def set_model_config(self, config_text: str | None = None, config_dict: Mapping[str, Any] | None = None) -> None:
        """The configuration object General, under its older name."""
        self.set_configuration_object(DEFAULT_SECTION, config_text=config_text, config_dict=config_dict)

    def get_model_config_text(self) -> str | None:
        return self.get_configuration_object(DEFAULT_SECTION)

    def get_model_config_dict(self) -> Any:
        return self.get_configuration_object_as_dict(DEFAULT_SECTION)

    def set_model_label_enumeration(self, enumeration: Mapping[str, int] | None = None) -> None:
        """What the labels of the task's models mean: {"cat": 1}."""
        labels = {str(label): int(number) for label, number in (enumeration or {}).items()}
        self.set_configuration_object(LABELS, config_dict=labels)

    def get_labels_enumeration(self) -> dict[str, int]:
        """{} when none was set."""
        return self.get_configuration_object_as_dict(LABELS) or {}

    def _described(self, sections: Sections) -> Sections:
        """`sections`, whose parameters keep the descriptions they have where they bring none."""
        present = self._sections()
        for section, entries in sections.items():
            for name, new in entries.items():
                old = present.get(section, {}).get(name)
                if old is not None and new["description"] is None:
                    new["description"] = old["description"]
        return sections

    def _sections(self) -> Sections:
        self.reload()
        return cast(Sections, self.data["hyperparameters"])


def _property(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and "value" in value:
        found = cast(Mapping[str, Any], value)
        return entry(found["value"], found.get("description"), found.get("type"))
    return entry(value)


def _property_names(item: Any) -> list[str]:
    if isinstance(item, Mapping):
        return [str(cast(Mapping[str, Any], item)["name"])]
    if isinstance(item, str):
        return [item.removeprefix(f"{PROPERTIES}/")]
    words = [str(word) for word in cast(Iterable[Any], item)]
    return words[1:] if len(words) == 2 and words[0] == PROPERTIES else words


def _together(
    given: Iterable[Mapping[str, Any] | Iterable[tuple[str, Any]]], named: Mapping[str, Any]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for some in given:
        values.update(some)
    return values | dict(named)
