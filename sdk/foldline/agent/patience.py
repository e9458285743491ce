"""Waiting for a server that is away: for ever, in jittered pauses of at most two seconds."""

import logging
import random
from collections.abc import Callable
from typing import Final, TypeVar

from foldline.errors import ApiError, ConnectionFailed, FoldlineError

SHORTEST: Final = 0.1
LONGEST: Final = 2.0

T = TypeVar("T")

log = logging.getLogger("foldline.agent")


class Pauses:
    """Pauses in seconds that double from one to the next; jittered, so that a fleet does not come back in step."""

    def __init__(self) -> None:
        self._longest = SHORTEST

    def next(self) -> float:
        longest, self._longest = self._longest, min(2 * self._longest, LONGEST)
        return longest * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._longest = SHORTEST


def is_away(error: FoldlineError) -> bool:
    """Whether the server was not there to answer, so that the same question is worth asking again."""
    return isinstance(error, ConnectionFailed) or (
        isinstance(error, ApiError) and (error.status >= 500 or error.status == 429)
    )


def patiently(ask: Callable[[], T], pause: Callable[[float], object]) -> T | None:
    """What `ask` returns, however long the server is away.

    `pause(seconds)` waits between the tries; when it returns something true the wait is over and so is the asking:
    None. Errors that are an answer of the server are raised.
    """
    pauses = Pauses()
    told = False
    while True:
        try:
            return ask()
        except FoldlineError as error:
            if not is_away(error):
                raise
            if not told:
                log.warning("%s Trying until it is back.", error)
                told = True
        if pause(pauses.next()):
            return None
