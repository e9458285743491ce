"""What a task does when it is asked to stop: the callbacks that were registered, and only then the end."""

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("foldline")

_callback: tuple[Callable[[], Any], float] | None = None


def register(callback: Callable[[], Any] | None, seconds: float) -> None:
    """The one callback of this process, and how long it may take; None takes it back."""
    global _callback
    _callback = None if callback is None else (callback, seconds)


def registered() -> bool:
    return _callback is not None


def run() -> None:
    """Run the callback, once, and wait for it as long as it may take."""
    global _callback
    if _callback is None:
        return
    (callback, seconds), _callback = _callback, None

    def call() -> None:
        try:
            callback()
        except Exception:
            log.exception("the abort callback failed")

    thread = threading.Thread(target=call, name="foldline-abort", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("the abort callback has taken longer than its %s seconds: the task ends without it", seconds)
