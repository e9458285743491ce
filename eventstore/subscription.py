"""Following the log: all that is there, then what comes, in order and without a gap."""

import threading
from collections.abc import Generator

from eventstore.store import Recorded, Store

FALLBACK = 0.5  # seconds after which the log is asked without a wake-up, and `stop` is looked at


def follow(
    store: Store, after: int, *, shard: int = 0, stop: threading.Event, limit: int = 1000
) -> Generator[list[Recorded]]:
    """Batches of at most `limit` events from position `after` + 1 on, until `stop` is set.

    Raises what reading raises (StoreUnavailable, ShardClosed); who follows begins again after the last event it saw.
    """
    grown = threading.Event()
    end = store.subscribe(lambda which, _head: grown.set() if which == shard else None)
    try:
        while not stop.is_set():
            # Cleared before the read: what is committed during it sets the event again.
            grown.clear()
            events = list(store.read(after=after, limit=limit, shard=shard))
            if events:
                after = events[-1].position
                yield events
            else:
                grown.wait(FALLBACK)
    finally:
        end()
