"""Reads a store from its first event to its last: `python -m bench.whole URL`. Prints JSON: n, seconds, memory."""

import json
import sys
import time

import psutil

from eventstore.sql import open_store

PAGE = 1_000
EARLY = 10_000  # events after which it should have all the memory it needs


def main() -> None:
    store = open_store(sys.argv[1])
    process = psutil.Process()
    count, early = 0, 0.0
    began = time.perf_counter()
    while page := store.read(after=count, limit=PAGE):
        count += len(page)
        if not early and count >= EARLY:
            early = _rss(process)
    seconds = time.perf_counter() - began
    last = _rss(process)
    store.close()
    print(json.dumps({"n": count, "seconds": seconds, "rss_mb_at_10000": early or last, "rss_mb": last}))


def _rss(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


if __name__ == "__main__":
    main()
