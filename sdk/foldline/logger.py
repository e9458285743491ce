"""Scalars and text of the running task: collected here, sent in batches by a thread, and at the end."""

import atexit
import contextlib
import logging
import math
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from foldline import compat
from foldline.errors import ApiError, ConnectionFailed, Unavailable

if TYPE_CHECKING:
    from foldline.client import Client

EVERY: Final = 2.0
BATCH: Final = 1000

log = logging.getLogger("foldline")


class Logger:
    """Reports of one task. What is reported is on the server within two seconds, and after `flush()` at once."""

    def __init__(self, client: "Client", identifier: str) -> None:
        self._client = client
        self._id = identifier
        self._points: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._thread_owner = 0

    @classmethod
    def current_logger(cls) -> "Logger | None":
        """The logger of the task that this process runs; None when it runs none."""
        from foldline.task import Task

        task = Task.current_task()
        return None if task is None else task.get_logger()

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """One point of the curve `series` in the plot `title`."""
        number = float(value)
        if not math.isfinite(number):
            log.warning("scalar %s/%s at %s is %s, which no plot can show: left out", title, series, iteration, number)
            return
        point = {"title": title, "series": series, "iteration": int(iteration), "value": number}
        with self._lock:
            self._points.append(point)
            full = len(self._points) >= BATCH
            self._ensure_thread()
        if full:
            self._wake.set()

    def report_single_value(self, name: str, value: float) -> None:
        """A number that has no iterations, under the title Summary."""
        self.report_scalar("Summary", name, value, 0)

    def report_text(
        self, msg: str, level: int = logging.INFO, print_console: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """A line on the console, which is the task's log."""
        compat.ignored("Logger.report_text", level=level, print_console=print_console)
        print(msg, flush=True)

    def flush(self, wait: bool = False) -> bool:
        """Send what was reported; whether all of it has arrived."""
        compat.ignored("Logger.flush", wait=wait)
        return self._send_all()

    def _send_all(self) -> bool:
        # One sender at a time, so that points arrive in the order of their making.
        with self._sending:
            while True:
                with self._lock:
                    batch, self._points = self._points[:BATCH], self._points[BATCH:]
                if not batch:
                    return True
                try:
                    self._client.tasks.add_scalars(self._id, batch)
                except (ConnectionFailed, Unavailable) as why:
                    with self._lock:
                        self._points[:0] = batch
                    log.warning("scalars of task %s wait for the server: %s", self._id, why)
                    return False
                except ApiError as no:
                    log.warning("%d scalars of task %s were refused: %s", len(batch), self._id, no)

    def _ensure_thread(self) -> None:
        # A forked child has its parent's variables but none of its threads.
        if self._thread is None or self._thread_owner != os.getpid():
            self._thread = threading.Thread(target=self._send_now_and_then, name="foldline-logger", daemon=True)
            self._thread_owner = os.getpid()
            # An interpreter that ends starts no threads any more; its last flush is still to come.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def _send_now_and_then(self) -> None:
        while True:
            self._wake.wait(EVERY)
            self._wake.clear()
            self._send_all()


_loggers: dict[str, Logger] = {}


def logger_of(client: "Client", identifier: str) -> Logger:
    """The one logger of a task in this process."""
    if not _loggers:
        atexit.register(flush_all)
    return _loggers.get(identifier) or _loggers.setdefault(identifier, Logger(client, identifier))


def flush_all() -> None:
    """Send what every logger of this process still holds, and what stands in the console's buffers."""
    for found in list(_loggers.values()):
        found.flush()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            log.debug("the console is closed")
