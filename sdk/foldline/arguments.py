"""The command line of the script, tied to the task without a word, whether it is parsed before Task.init or after.

So `from foldline import Task` already listens to argparse: a parser that has run before Task.init is remembered for
it, and in an agent's process it gets the server's values at once, before the script works with them.
"""

import argparse
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foldline import process
from foldline.definition import defining
from foldline.errors import FoldlineError
from foldline.liking import like

if TYPE_CHECKING:
    from foldline.connecting import Connecting

Parsed = tuple[argparse.ArgumentParser, argparse.Namespace]
Wanted = bool | Mapping[str, bool]

SECTION = "Args"

_original: Callable[..., tuple[argparse.Namespace, list[str]]] = argparse.ArgumentParser.parse_known_args
_inside = threading.local()
_earlier: deque[Parsed] = deque(maxlen=20)
_task: "Connecting | None" = None
_wanted: Wanted = True


def listen() -> None:
    """Hear of what parsers read from the command line; again is harmless."""
    if argparse.ArgumentParser.parse_known_args is _original:
        argparse.ArgumentParser.parse_known_args = _parse_known_args  # pyright: ignore[reportAttributeAccessIssue]


def watch(task: "Connecting", wanted: Wanted = True) -> None:
    """What was and will be parsed is tied to the section Args of `task`.

    `wanted` may say by name which; names it leaves out are tied, unless it says {"*": False}. Empty or False: none.
    """
    global _task, _wanted
    _task, _wanted = task, wanted
    while _earlier:
        _tie(*_earlier.popleft())


def unwatch() -> None:
    global _task, _wanted
    _task, _wanted = None, True
    _earlier.clear()


def actions_of(parser: argparse.ArgumentParser, parsed: argparse.Namespace | None = None) -> dict[str, argparse.Action]:
    """The parser's options by the name of their value, with those of the subcommands that `parsed` has chosen."""
    found: dict[str, argparse.Action] = {}
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage]
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            parsers = _parsers(action)
            chosen = getattr(parsed, action.dest, None) if parsed is not None else None
            for name, inner in parsers.items():
                if action.dest == argparse.SUPPRESS or name == chosen:
                    found |= actions_of(inner, parsed)
        if action.dest not in ("help", argparse.SUPPRESS):
            found[action.dest] = action
    return found


@functools.wraps(_original)
def _parse_known_args(
    parser: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None
) -> tuple[argparse.Namespace, list[str]]:
    if defining() or getattr(_inside, "depth", 0) or not _is_command_line(args) or _wanted is False:
        return _original(parser, args, namespace)
    _inside.depth = 1  # a subcommand's parser runs inside its parent's
    try:
        there = _there()
        with _Satisfied(parser, there):
            parsed, rest = _original(parser, _subcommands(parser, args, there), namespace)
    finally:
        _inside.depth = 0
    if _task is None:
        _earlier.append((parser, parsed))
        _take(parser, parsed, there)
    else:
        _tie(parser, parsed)
    return parsed, rest


def _is_command_line(args: Sequence[str] | None) -> bool:
    """A list of its own is a call inside the program, unless it is empty: notebooks have no command line."""
    return args is None or not args or list(args) == sys.argv[1:]


def _there() -> Mapping[str, Any]:
    """What the server has in the section Args of an agent's process."""
    if not process.given_by_agent() or (_task is not None and not _wanted):
        return {}
    if _task is not None:
        return _chosen(_task.get_parameters_as_dict().get(SECTION, {}))
    from foldline.task import Task

    task = Task.current_task()
    try:
        return {} if task is None else task.get_parameters_as_dict().get(SECTION, {})
    except FoldlineError:
        return {}  # a task that cannot be asked now is asked again by Task.init, which says so


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if _is_wanted(name)}


def _is_wanted(name: str) -> bool:
    if isinstance(_wanted, bool):
        return _wanted
    return bool(_wanted) and bool(_wanted.get(name, _wanted.get("*", True)))


def _tie(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if _task is not None and _wanted:
        _task.connect_arguments(parsed, actions_of(parser, parsed), _is_wanted)


def _take(parser: argparse.ArgumentParser, parsed: argparse.Namespace, there: Mapping[str, Any]) -> None:
    """The server's values, ahead of Task.init."""
    actions = actions_of(parser, parsed)
    for name, value in there.items():
        if hasattr(parsed, name):
            setattr(parsed, name, like(value, getattr(parsed, name), actions.get(name)))


def _subcommands(
    parser: argparse.ArgumentParser, args: Sequence[str] | None, there: Mapping[str, Any]
) -> Sequence[str] | None:
    """The command line; in the place of an empty one the subcommands that the server names."""
    words: list[str] = []
    while not (sys.argv[1:] if args is None else args):
        named = [(_parsers(action), str(there.get(action.dest))) for action in _choices(parser)]
        chosen = next(((parsers, word) for parsers, word in named if word in parsers), None)
        if chosen is None:
            break
        words.append(chosen[1])
        parser = chosen[0][chosen[1]]
    return words or args


class _Satisfied:
    """While it lasts, options whose value the server has are not required."""

    def __init__(self, parser: argparse.ArgumentParser, there: Mapping[str, Any]) -> None:
        actions = [*actions_of(parser).values(), *_of_subcommands(parser)] if there else []
        self._freed = [action for action in actions if action.required and action.dest in there]

    def __enter__(self) -> None:
        for action in self._freed:
            action.required = False

    def __exit__(self, *_: object) -> None:
        for action in self._freed:
            action.required = True


def _of_subcommands(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found: list[argparse.Action] = []
    for action in _choices(parser):
        for inner in _parsers(action).values():
            found += [*actions_of(inner).values(), *_of_subcommands(inner)]
    return found


def _choices(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Where a subcommand is chosen: once, if at all."""
    actions = parser._actions  # pyright: ignore[reportPrivateUsage]
    return [one for one in actions if isinstance(one, argparse._SubParsersAction)]  # pyright: ignore[reportPrivateUsage]


def _parsers(action: Any) -> Mapping[str, argparse.ArgumentParser]:
    """Those of the subcommands, by name."""
    return action.choices
