"""connect(): the code's values are what the server shows; under an agent the server's values are what the code gets."""

import argparse
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from foldline import attributes, process
from foldline.caching import cache_dir
from foldline.connected import Connected
from foldline.errors import DefinitionError, FoldlineError
from foldline.formats import plain
from foldline.liking import like
from foldline.parameters import DEFAULT_SECTION, Sections, WithParameters, entry, flattened, typed

ARGUMENTS = "Args"
Mutable = TypeVar("Mutable")

log = logging.getLogger("foldline")


class Connecting(WithParameters):
    """Task's connect methods."""

    def connect(self, mutable: Mutable, name: str | None = None, ignore_remote_overrides: bool = False) -> Mutable:
        """Tie a dict, parsed arguments, a class or an object's attributes to the section `name`, and return it.

        In a task that an agent runs, the server's values are written into it, with the types they have here;
        `ignore_remote_overrides` keeps the code's. What comes back for a dict is a dict whose later changes are
        on the task too.
        """
        target: Any = mutable
        section = name or DEFAULT_SECTION
        if isinstance(target, argparse.ArgumentParser):
            self._connect_parser(target, name or ARGUMENTS, ignore_remote_overrides)
        elif isinstance(target, dict):
            return cast(Mutable, self._connect_dict(cast(dict[Any, Any], target), section, ignore_remote_overrides))
        elif isinstance(target, str | bytes | int | float | list | tuple) or target is None:
            raise TypeError(f"connect() takes a dict, parsed arguments or an object with attributes, not {target!r}")
        elif type(target).__module__.startswith("foldline.models"):
            target.connect(self, name=name, ignore_remote_overrides=ignore_remote_overrides)
        else:
            self._connect_object(target, section, ignore_remote_overrides)
        return mutable

    def connect_configuration(
        self,
        configuration: Any,
        name: str | None = None,
        description: str | None = None,
        ignore_remote_overrides: bool = False,
    ) -> Any:
        """Tie a dict, a list or a file to the configuration object `name`; under an agent the server's comes back.

        A path is answered with a path: of a copy that holds the server's text. A dict is answered with a dict whose
        later changes are stored too.
        """
        name = name or DEFAULT_SECTION
        if not isinstance(configuration, dict | list | str | Path):
            raise ValueError(f"connect_configuration() takes a dict, a list or a path, not {configuration!r}")
        stored = self.get_configuration_object(name) if process.given_by_agent() else None
        if stored is None or ignore_remote_overrides:
            self._store_configuration(configuration, name, description)
        elif isinstance(configuration, str | Path):
            copy = cache_dir("configuration", self.id) / f"{name.replace('/', '_')}{Path(configuration).suffix}"
            copy.write_text(stored, "utf-8")
            return type(configuration)(copy)
        else:
            _override(cast(Any, configuration), stored, name)
        if isinstance(configuration, dict):
            kept = cast(dict[Any, Any], configuration)
            return Connected(kept, _forgiving(lambda now: self._store_configuration(now, name, description)))
        return cast(Any, configuration)

    def connect_label_enumeration(
        self, enumeration: dict[str, int], ignore_remote_overrides: bool = False
    ) -> dict[str, int]:
        """Tie what the labels of the task's models mean; under an agent the server's are written into it."""
        given: Any = enumeration
        if not isinstance(given, dict):
            raise ValueError(f"connect_label_enumeration() takes a dict, not {given!r}")
        stored = self.get_labels_enumeration() if process.given_by_agent() else {}
        if stored and not ignore_remote_overrides:
            enumeration.clear()
            enumeration.update(stored)
        else:
            self.set_model_label_enumeration(enumeration)
        return enumeration

    def connect_arguments(
        self, parsed: argparse.Namespace, actions: Mapping[str, argparse.Action], chosen: Callable[[str], bool]
    ) -> None:
        """Tie what was parsed to the section Args, those that are `chosen`; under an agent the server's values win."""
        values = {name: value for name, value in vars(parsed).items() if chosen(name)}
        self._connect_values(values, ARGUMENTS, False, actions, grow=False)
        for name, value in values.items():
            setattr(parsed, name, value)

    def _store_configuration(self, configuration: Any, name: str, description: str | None) -> None:
        if isinstance(configuration, str | Path):
            path = Path(configuration)
            if not path.is_file():
                raise DefinitionError(f"there is no configuration file {path}")
            text, kind = path.read_text("utf-8"), path.suffix.lstrip(".") or "file"
            self.set_configuration_object(name, config_text=text, config_type=kind, description=description)
        else:
            self.set_configuration_object(
                name, config_dict=plain(configuration), config_type="dictionary", description=description
            )

    def _connect_parser(self, parser: argparse.ArgumentParser, name: str, keep: bool) -> None:
        defaults = {
            action.dest: parser.get_default(action.dest)
            for action in parser._actions  # pyright: ignore[reportPrivateUsage]
            if action.dest != "help" and argparse.SUPPRESS not in (action.default, action.dest)
        }
        self._connect_values(defaults, name, keep, {})
        parser.set_defaults(**defaults)

    def _connect_dict(self, target: dict[Any, Any], section: str, keep: bool) -> dict[Any, Any]:
        before = flattened(target)
        values = dict(before)
        self._connect_values(values, section, keep, {})
        for path, value in values.items():
            if path not in before or value is not before[path]:
                _put(target, path, value)
        later = {path for path in values if path not in before}
        tied = _Tie(self, section, values, later)
        return Connected(target, _forgiving(tied.follow))

    def _connect_object(self, target: Any, section: str, keep: bool) -> None:
        before = attributes.of(target)
        values = dict(before)
        self._connect_values(values, section, keep, {}, grow=False)
        for path, value in values.items():
            if value is not before[path]:
                attributes.assign(target, path, value)

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
            elif grow:
                values[name] = typed(found)
        missing = {
            name: entry(value, getattr(actions.get(name), "help", None))
            for name, value in values.items()
            if name not in there
        }
        if missing:
            sections: Sections = {section: missing}
            self._edit(hyperparameters=sections)


class _Tie:
    """Follows the changes of one connected dict to its section."""

    def __init__(self, task: Connecting, section: str, values: dict[str, Any], later: set[str]) -> None:
        self._task = task
        self._section = section
        self._known = {path: plain(value) for path, value in values.items()}
        self._later = later  # what only the server had, and the code may still come to
        self._server = dict(values)

    def follow(self, root: dict[Any, Any]) -> None:
        now = flattened(root)
        for path in [path for path in self._later if path in now and plain(now[path]) != self._known[path]]:
            self._later.discard(path)
            _put(root, path, like(self._server[path], now[path]))
            now = flattened(root)
        known = {path: plain(value) for path, value in now.items()}
        changed: dict[str, Any] = {
            path: entry(now[path])
            for path, value in known.items()
            if path not in self._known or value != self._known[path] or type(value) is not type(self._known[path])
        }
        changed |= {path: None for path in self._known if path not in known}
        self._known = known
        if changed:
            self._task._edit(hyperparameters={self._section: changed})  # pyright: ignore[reportPrivateUsage]


def _put(root: dict[Any, Any], path: str, value: Any) -> None:
    """Set what stands under a flat name. Keys may be no texts, and may hold slashes: those that are there go first."""
    branch, rest = root, path
    while True:
        keys = {str(key): key for key in branch}
        if rest in keys:
            break
        head = next((key for key in keys if rest.startswith(f"{key}/") and isinstance(branch[keys[key]], dict)), None)
        if head is None:
            folder, slash, inner = rest.partition("/")
            if not slash:
                break
            head, keys[folder] = folder, folder
            _set(branch, folder, {})
            branch, rest = cast(dict[Any, Any], branch[folder]), inner
            continue
        branch, rest = cast(dict[Any, Any], branch[keys[head]]), rest[len(head) + 1 :]
    keys = {str(key): key for key in branch}
    _set(branch, keys.get(rest, rest), value)


def _set(branch: dict[Any, Any], key: Any, value: Any) -> None:
    """Past a connected dict's own way, which would tell the server what came from there."""
    dict[Any, Any].__setitem__(branch, key, value)


def _forgiving(follow: Callable[[dict[Any, Any]], None]) -> Callable[[dict[Any, Any]], None]:
    """A write into a dict does not fail for what the server says to it."""

    def followed(root: dict[Any, Any]) -> None:
        try:
            follow(root)
        except FoldlineError as why:
            log.warning("a change of a connected dict did not reach the task: %s", why)

    return followed


def _override(configuration: Any, text: str, name: str) -> None:
    try:
        stored = json.loads(text)
    except ValueError as why:
        raise DefinitionError(f"configuration {name!r} is not JSON on the server: {why}") from why
    if not isinstance(configuration, type(stored)):
        raise DefinitionError(
            f"configuration {name!r} is a {type(stored).__name__} on the server, a {type(configuration).__name__} here"
        )
    configuration.clear()
    if isinstance(stored, dict):
        configuration.update(stored)
    else:
        configuration.extend(stored)
