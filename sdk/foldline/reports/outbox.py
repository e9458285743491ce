"""Reports on their way to the server: collected here, sent by a thread, in the order of their making."""

import contextlib
import logging
import os
import tempfile
import threading
import time
import uuid
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldline.errors import ApiError, ConnectionFailed, FoldlineError, Unavailable

if TYPE_CHECKING:
    from foldline.client import Client

Json = dict[str, Any]

EVERY: Final = 2.0  # seconds
BATCH: Final = 1000  # points
MOST_BYTES: Final = 64 << 20  # of pictures that wait; whoever reports more sends them first

log = logging.getLogger("foldline")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plot to be sent: its fields, and its bytes unless they lie at fields["url"] or are stored already."""

    fields: Json
    content: bytes | None = None
    destination: str | None = None  # a folder elsewhere that takes the bytes; the server itself otherwise


@dataclass(slots=True)
class _Waiting:
    points: list[tuple[Json, float]] = field(default_factory=list[tuple[Json, float]])  # each with when it was made
    plots: list[Drawn] = field(default_factory=list[Drawn])
    bytes: int = 0


class Outbox:
    """The reports of one task. What is put in is on the server within `every` seconds, after `send()` at once."""

    def __init__(self, client: "Client", identifier: str) -> None:
        self._every: float | None = EVERY
        self._client = client
        self._id = identifier
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Empty, as at first: a forked child has its parent's variables, but none of its threads."""
        self._waiting = _Waiting()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def every(self) -> float | None:
        """Seconds between two sends; None when only much that waits, and `send()`, bring one about."""
        return self._every

    @every.setter
    def every(self, seconds: float | None) -> None:
        self._every = seconds
        if self._thread is not None:  # which may be waiting for longer than that
            self._wake.set()

    def add_point(self, title: str, series: str, iteration: int, value: float) -> None:
        point = {"title": title, "series": series, "iteration": iteration, "value": value}
        with self._lock:
            self._waiting.points.append((point, time.monotonic()))
            full = len(self._waiting.points) >= BATCH
            self._ensure_thread()
        if full:
            self._wake.set()

    def add_plot(self, plot: Drawn) -> None:
        with self._lock:
            self._waiting.plots.append(plot)
            self._waiting.bytes += len(plot.content or b"")
            full = self._waiting.bytes >= MOST_BYTES
            self._ensure_thread()
        if full:
            self.send()

    def send(self) -> bool:
        """Send what waits; whether all of it has arrived. What the server refuses is dropped with a warning."""
        with self._sending:
            try:
                while self._send_points() or self._send_plot():
                    pass
            except (ConnectionFailed, Unavailable) as why:
                log.warning("reports of task %s wait for the server: %s", self._id, why)
                return False
            return True

    def _send_points(self) -> bool:
        """Whether there were any."""
        with self._lock:
            batch = self._waiting.points[:BATCH]
        if not batch:
            return False
        now = time.monotonic()
        points = [{**point, "ago": max(round(now - made, 3), 0.0)} for point, made in batch]
        try:
            self._client.tasks.add_scalars(self._id, points)
        except (ConnectionFailed, Unavailable):
            raise
        except ApiError as no:
            log.warning("%d scalars of task %s were refused: %s", len(batch), self._id, no)
        with self._lock:
            del self._waiting.points[: len(batch)]
        return True

    def _send_plot(self) -> bool:
        """Whether there was one."""
        with self._lock:
            if not self._waiting.plots:
                return False
            plot = self._waiting.plots[0]
        try:
            self._client.plots.add(self._id, self._stored(plot))
        except (ConnectionFailed, Unavailable):
            raise
        except (FoldlineError, OSError) as no:
            where = f"{plot.fields['title']}/{plot.fields['series']}"
            log.warning("plot %s of task %s could not be kept: %s", where, self._id, no)
        with self._lock:
            del self._waiting.plots[0]
            self._waiting.bytes -= len(plot.content or b"")
        return True

    def _stored(self, plot: Drawn) -> Json:
        """What to tell of the plot, once its bytes are stored."""
        if plot.content is None:
            return plot.fields
        if plot.destination is None:
            sha256, size = self._client.blobs.put_bytes(plot.content)
            return {**plot.fields, "sha256": sha256, "size": size}
        url = f"{plot.destination.rstrip('/')}/{self._id}/{uuid.uuid4().hex}/{plot.fields['filename']}"
        return {**plot.fields, "url": _written(plot.content, url), "size": len(plot.content)}

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_now_and_then, name="foldline-logger", daemon=True)
            # An interpreter that ends starts no threads any more; its last flush is still to come.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def _send_now_and_then(self) -> None:
        while True:
            self._wake.wait(self._every)
            self._wake.clear()
            self.send()


def _written(content: bytes, url: str) -> str:
    from foldline.stores import store_of

    handle, name = tempfile.mkstemp()
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    try:
        return store_of(url).write(Path(name), url)
    finally:
        os.unlink(name)


_all: "weakref.WeakSet[Outbox]" = weakref.WeakSet()


def _begin_anew() -> None:
    # What waited is the parent's to send, and a lock that another of its threads held is never released here.
    for outbox in list(_all):
        outbox._begin()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
