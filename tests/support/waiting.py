"""Waiting for what happens elsewhere: until it has, never for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, seconds: float = 20) -> T:
    """The first true answer of `condition`. Raises AssertionError, naming `what` was awaited, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
    return answer
