"""The command line of the script, tied to the task without a word: argparse's parse_args, once Task.init was called."""

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from foldline import process
from foldline.connecting import ARGUMENTS

if TYPE_CHECKING:
    from foldline.connecting import Connecting

_original: Callable[..., tuple[argparse.Namespace, list[str]]] | None = None


def watch(task: "Connecting") -> None:
    """From now on, what any parser reads from the command line is tied to the section Args of `task`."""
    global _original
    unwatch()
    original = _original = argparse.ArgumentParser.parse_known_args

    @functools.wraps(original)
    def parse_known_args(
        parser: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # A list of its own is a call inside the program; None is the command line.
        if args is not None:
            return original(parser, args, namespace)
        given = set[str]()
        if process.given_by_agent():
            given = set(task.get_parameters_as_dict().get(ARGUMENTS, {}))
        required = [action for action in _actions(parser) if action.required and action.dest in given]
        for action in required:
            action.required = False
        try:
            parsed, rest = original(parser, args, namespace)
        finally:
            for action in required:
                action.required = True
        task.connect_arguments(parser, parsed, ARGUMENTS)
        return parsed, rest

    argparse.ArgumentParser.parse_known_args = parse_known_args  # pyright: ignore[reportAttributeAccessIssue]


def unwatch() -> None:
    global _original
    if _original is not None:
        argparse.ArgumentParser.parse_known_args = _original
        _original = None


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage]
