"""Definition mode: while a step's file is imported for its functions, nothing in it may begin anything.

Task.init and the controllers are inert then, and what would start the pipeline ends the import instead.
"""

import contextlib
from collections.abc import Generator

_depth = 0


class EndOfDefinition(BaseException):
    """What stands above is all that a step needs. No Exception: a script's own `except` must not keep it."""


def defining() -> bool:
    return _depth > 0


def end_definition() -> None:
    """End the import that is under way; nothing when none is."""
    if defining():
        raise EndOfDefinition


@contextlib.contextmanager
def definition_mode() -> Generator[None, None, None]:
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
