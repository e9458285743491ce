"""Signs the log while a server runs: a thread beside the appends, which never wait for it."""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from eventstore.audit.errors import AuditError, Busy
from eventstore.audit.keys import Signer
from eventstore.audit.seals import Beaten, Seals
from eventstore.sql import SqlStore
from eventstore.store import StoreUnavailable

log = logging.getLogger(__name__)

MOST_UNSIGNED = 1_000  # events: with so many it waits no longer
# All in seconds.
WITHIN = 0.8  # from the first event that is not signed to the making of a checkpoint, which is there within a second
STANDBY = 3.0  # between two looks whether the server that signs is still at it
TROUBLE = 5.0  # to the next attempt when something is wrong
ALL = -1


class Sealer:
    """Makes a checkpoint for each second, or each 1,000 events, in which there was something new.

    Of several servers on one database one signs and the others look on: who finds that another has signed leaves it to
    that one for as long as its checkpoints keep coming.
    """

    def __init__(self, store: SqlStore, signer: Callable[[], Signer], *, within: float = WITHIN) -> None:
        self.error: str | None = None
        """Why it does not sign, for a person; None while it does."""
        self._store, self._within = store, within
        self._seals = Seals(store, signer)
        self._working, self._verifying = threading.Lock(), threading.Lock()
        self._news, self._enough, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._signed = [0] * store.shards
        # Where another server signs: up to where it had signed while there was more; ALL when it had signed all.
        self._others: list[int | None] = [None] * store.shards
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        self._news.set()  # there may be something from before
        self._unsubscribe = self._store.subscribe(self._noticed)
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Signs what is left and returns."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._stopping.set()
        self._news.set()
        self._enough.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def seal(self, shard: int = 0) -> None:
        """Sign now what is new, for whoever does not want to wait. Raises AuditError, StoreUnavailable."""
        with self._working:
            more = True
            while more:
                try:
                    more = self._seals.seal(shard)
                except Beaten:
                    self._seals.forget(shard)

    @contextmanager
    def verifying(self) -> Generator[None]:
        """While somebody verifies. Raises Busy when somebody does already."""
        if not self._verifying.acquire(blocking=False):
            raise Busy("somebody is verifying the log already: try again when that is done")
        try:
            yield
        finally:
            self._verifying.release()

    def _noticed(self, shard: int, head: int) -> None:
        """Called by whoever has committed: it must not cost."""
        if not self._news.is_set():
            self._news.set()
        if head - self._signed[shard] >= MOST_UNSIGNED and not self._enough.is_set():
            self._enough.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._enough.wait(self._within)
            if self._stopping.is_set():
                break
            self._news.clear()
            self._enough.clear()
            if pause := self._round():
                self._news.set()
                self._stopping.wait(pause)
        self._round()  # the last events of a server that ends

    def _round(self) -> float:
        """Sign what is new everywhere. Returns for how long to leave it at that, in seconds."""
        try:
            pauses = [self._shard(shard) for shard in range(self._store.shards)]
        except (AuditError, StoreUnavailable) as error:
            self.error = str(error)
            log.error("the log is not signed: %s", error)
            return TROUBLE
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            log.exception("the log is not signed")
            return TROUBLE
        self.error = None
        return max(pauses)

    def _shard(self, shard: int) -> float:
        with self._working:
            pause = self._standby(shard)
            if pause is None:
                pause = self._sign(shard)
                self._signed[shard] = self._seals.size(shard)
            return pause

    def _sign(self, shard: int) -> float:
        try:
            began = time.monotonic()
            while self._seals.seal(shard) and not self._stopping.is_set():
                # A long log is signed with half of the time, so that a server that has just started can work.
                self._stopping.wait(time.monotonic() - began)
                began = time.monotonic()
        except Beaten:
            self._seals.forget(shard)
            self._others[shard] = ALL
            return STANDBY
        return 0.0

    def _standby(self, shard: int) -> float | None:
        """For how long to look on; None when nobody else signs: none did, or it has not gone on since the last look."""
        before = self._others[shard]
        if before is None:
            return None
        signed = self._signed[shard] = self._seals.tree.signed(shard)
        if signed >= self._store.head(shard=shard):
            self._others[shard] = ALL
            return 0.0
        self._others[shard] = None if signed == before else signed
        return None if signed == before else STANDBY
