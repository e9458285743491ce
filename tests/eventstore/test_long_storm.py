"""Sixteen writers who give up every fifth time, readers who follow: nothing lost, no gap, nothing out of order.

Beside them a naive reader, which must lose something, or the storm was none. FOLDLINE_STORM_SECONDS says how long.
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, nullcontext

import pytest

from eventstore.sql import open_store
from tests.eventstore.storming import BySerial, ByTime, Tail, Written, digest_of, write_in_a_process, write_together

WRITERS = 16
SHORT = 1.5
LONG = float(os.environ.get("FOLDLINE_STORM_SECONDS", "120"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


def written_in_processes(url: str, shards: int, processes: int, seconds: float) -> Written:
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        asked = [
            pool.submit(write_in_a_process, url, shards, f"p{number}", WRITERS // processes, seconds)
            for number in range(processes)
        ]
        return sum((one.result(seconds + 120) for one in asked), Written())


@pytest.mark.parametrize(
    ("shards", "processes", "seconds"),
    [
        pytest.param(4, 1, SHORT, id="4 shards"),
        pytest.param(1, 4, LONG, id="1 shard, long", marks=pytest.mark.storm),
        pytest.param(4, 4, LONG, id="4 shards, long", marks=pytest.mark.storm),
    ],
)
def test_a_storm_loses_nothing(url: str, shards: int, processes: int, seconds: float, capsys: pytest.CaptureFixture):
    with closing(open_store(url, shards=shards)) as store:
        shared = store.database.shared
        tails, naive = [Tail(store), Tail(store)], BySerial(url) if shared else ByTime(store)
        if shared and processes > 1:
            written = written_in_processes(url, shards, processes, seconds)
        else:
            written = write_together(store, "p0", WRITERS, seconds)
        lost = naive.lost()
        own, events = Counter[str](), 0
        for tail in tails:
            tail.finish()
        for shard in range(shards):
            head, digest, mine = digest_of(store, shard)
            assert head == store.head(shard=shard) > 0
            assert [(tail.cursors[shard], tail.digests[shard].digest()) for tail in tails] == [(head, digest)] * 2
            own, events = own + mine, events + head
    assert own == written.own, "each append that was acknowledged is there once, and none that was given up"
    assert events == written.events
    with capsys.disabled() if seconds > SHORT else nullcontext():
        print(
            f"\nstorm: {events:,} events in {shards} shards in {seconds:g} s on {store.database.name}, "
            f"{written.aborted:,} appends given up, the naive reader lost {lost:,}"
        )
    assert written.aborted > 0
    assert lost > 0, "the naive reader lost nothing: this storm was none"
