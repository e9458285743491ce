"""connect(): the code's values are what the server shows; under an agent the server's values are what the code gets."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from foldline import process
from foldline.caching import cache_dir
from foldline.errors import DefinitionError
from foldline.formats import is_exact_json, plain
from foldline.parameters import DEFAULT_SECTION, Sections, WithParameters, entry, flattened, typed

ARGUMENTS = "Args"
Mutable = TypeVar("Mutable")


class Connecting(WithParameters):
    """Task's connect methods."""

    def connect(self, mutable: Mutable, name: str | None = None, ignore_remote_overrides: bool = False) -> Mutable:
        """Tie a dict, parsed arguments or an object's attributes to the section `name`, and return it.

        In a task that an agent runs, the server's values are written into it, with the types they have here;
        `ignore_remote_overrides` keeps the code's.
        """
        target: Any = mutable
        if isinstance(target, argparse.ArgumentParser):
            self._connect_parser(target, name or ARGUMENTS, ignore_remote_overrides)
        elif isinstance(target, argparse.Namespace):
            self._connect_values(vars(target), name or ARGUMENTS, ignore_remote_overrides, {})
        elif isinstance(target, dict):
            self._connect_dict(cast(dict[Any, Any], target), name or DEFAULT_SECTION, ignore_remote_overrides)
        elif isinstance(target, str | bytes | int | float | list | tuple) or target is None:
            raise TypeError(f"connect() takes a dict, parsed arguments or an object with attributes, not {target!r}")
        else:
            self._connect_object(target, name or DEFAULT_SECTION, ignore_remote_overrides)
        return mutable

    def connect_configuration(
        self,
        configuration: Any,
        name: str | None = None,
        description: str | None = None,
        ignore_remote_overrides: bool = False,
    ) -> Any:
        """Tie a dict, a list or a file to the configuration object `name`; under an agent the server's comes back.

        A path is answered with a path: of a copy that holds the server's text.
        """
        name = name or DEFAULT_SECTION
        if not isinstance(configuration, dict | list | str | Path):
            raise TypeError(f"connect_configuration() takes a dict, a list or a path, not {configuration!r}")
        stored = self.get_configuration_object(name) if process.given_by_agent() else None
        if stored is None or ignore_remote_overrides:
            self._store_configuration(configuration, name, description)
            return cast(Any, configuration)
        if isinstance(configuration, str | Path):
            copy = cache_dir("configuration", self.id) / f"{name.replace('/', '_')}{Path(configuration).suffix}"
            copy.write_text(stored, "utf-8")
            return type(configuration)(copy)
        return _overridden(cast(Any, configuration), json.loads(stored), name)

    def connect_arguments(self, parser: argparse.ArgumentParser, parsed: argparse.Namespace, name: str) -> None:
        """Tie what `parser` has parsed to the section `name`; under an agent the server's values win."""
        actions = {action.dest: action for action in parser._actions}  # pyright: ignore[reportPrivateUsage]
        self._connect_values(vars(parsed), name, False, actions)

    def _store_configuration(self, configuration: Any, name: str, description: str | None) -> None:
        if isinstance(configuration, str | Path):
            path = Path(configuration)
            if not path.is_file():
                raise DefinitionError(f"there is no configuration file {path}")
            text, kind = path.read_text("utf-8"), path.suffix.lstrip(".") or "text"
            self.set_configuration_object(name, config_text=text, config_type=kind, description=description)
        else:
            self.set_configuration_object(name, config_dict=plain(configuration), description=description)

    def _connect_parser(self, parser: argparse.ArgumentParser, name: str, keep: bool) -> None:
        defaults = {
            action.dest: parser.get_default(action.dest)
            for action in parser._actions  # pyright: ignore[reportPrivateUsage]
            if action.dest != "help" and action.default is not argparse.SUPPRESS
        }
        self._connect_values(defaults, name, keep, {})
        parser.set_defaults(**defaults)

    def _connect_dict(self, target: dict[Any, Any], section: str, keep: bool) -> None:
        # Keys may be no strings: the names on the server are, so each remembers whose it is.
        owners = {str(key): key for key in target}
        values = flattened(target)
        self._connect_values(values, section, keep, {})
        for path, value in values.items():
            *folders, name = path.split("/")
            branch: dict[Any, Any] = target
            for folder in folders:
                key = owners.get(folder, folder) if branch is target else folder
                branch = cast(dict[Any, Any], branch.setdefault(key, {}))
            branch[owners.get(name, name) if branch is target else name] = value

    def _connect_object(self, target: Any, section: str, keep: bool) -> None:
        names = [name for name in dir(target) if not name.startswith("_") and _is_data(target, name)]
        values = {name: getattr(target, name) for name in names}
        self._connect_values(values, section, keep, {}, grow=False)
        for name, value in values.items():
            if value is not getattr(target, name):
                setattr(target, name, value)

    def _connect_values(
        self,
        values: dict[str, Any],
        section: str,
        keep: bool,
        actions: Mapping[str, argparse.Action],
        grow: bool = True,
    ) -> None:
        """Bring `values` (in place) and the section together; `grow`: names that only the server has come too."""
        there: Mapping[str, Any] = {}
        if process.given_by_agent() and not keep:
            there = self._sections().get(section, {})
        for name, found in there.items():
            if name in values:
                values[name] = like(typed(found), values[name], actions.get(name))
            elif grow and not actions:
                values[name] = typed(found)
        missing = {
            name: entry(value, getattr(actions.get(name), "help", None))
            for name, value in values.items()
            if name not in there
        }
        if missing:
            sections: Sections = {section: missing}
            self._edit(hyperparameters=sections)


def like(value: Any, default: Any, action: argparse.Action | None = None) -> Any:
    """The server's `value` in the type that the code's `default` (or its command-line option) has."""
    if action is not None and action.type is not None and callable(action.type) and value is not None:
        convert = action.type
        if isinstance(value, list):
            return [convert(item) if isinstance(item, str) else item for item in cast(list[Any], value)]
        return convert(value) if isinstance(value, str) else value
    if not is_exact_json(default) and not isinstance(default, tuple):
        # What JSON cannot hold went there as text: the same text still means the object that the code has.
        return default if value == plain(default) else value
    if isinstance(value, str) and not isinstance(default, str):
        return _parsed(value, default)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(cast(list[Any], value))
    return value


def _parsed(text: str, default: Any) -> Any:
    """Text, as a reference or a form yields it, as the type of `default`; as it is when it cannot be that."""
    if isinstance(default, bool):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}.get(
            text.strip().lower(), text
        )
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, list | dict | tuple):
            found = json.loads(text)
            return tuple(found) if isinstance(default, tuple) else found
    except ValueError:
        pass
    return text


def _overridden(configuration: Any, stored: Any, name: str) -> Any:
    if type(configuration) is not type(stored):
        raise DefinitionError(
            f"configuration {name!r} is a {type(stored).__name__} on the server, a {type(configuration).__name__} here"
        )
    configuration.clear()
    if isinstance(stored, dict):
        configuration.update(stored)
    else:
        configuration.extend(stored)
    return configuration


def _is_data(target: Any, name: str) -> bool:
    if isinstance(getattr(cast(Any, type(target)), name, None), property):
        return False
    return not callable(getattr(target, name))
