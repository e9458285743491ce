"""Notices what other processes commit: one thread asks for the heads, often while they move and seldom while not."""

import logging
import threading
from collections.abc import Mapping
from typing import Protocol

from eventstore.signals import Signals
from eventstore.store import StoreUnavailable

log = logging.getLogger(__name__)

QUICKEST = 0.02
SLOWEST = 1.0


class Headed(Protocol):
    shards: int

    def heads(self, shards: int) -> Mapping[int, int]: ...


class Poller:
    """Runs from the first `start` to `stop`. Polling is the truth: whatever wakes sooner only makes it quicker."""

    def __init__(self, store: Headed, signals: Signals) -> None:
        self._store, self._signals = store, signals
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heads", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._mutex:
            if self._thread is not None:
                self._thread.join()

    def _run(self) -> None:
        pause = QUICKEST
        while not self._stop.wait(pause):
            try:
                heads = self._store.heads(self._store.shards)
            except StoreUnavailable as error:
                log.warning("cannot see what other processes commit: %s", error)
                pause = SLOWEST
            except Exception:
                log.exception("cannot see what other processes commit")
                pause = SLOWEST
            else:
                moved = [self._signals.announce(shard, head) for shard, head in heads.items()]
                pause = QUICKEST if any(moved) else min(pause * 1.5, SLOWEST)
