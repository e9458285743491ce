"""What an event and a step cost in a store of ten thousand events, and in one of millions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from bench.cases.appends import written
from bench.cases.steps import of_played
from bench.core import in_a_row, opened
from bench.fill import fill
from bench.line import Line, middle
from bench.raw import commits_a_second
from bench.setting import ROOT, Setting
from eventstore.sql import open_store

SMALLEST = 10_000
TIMES_LARGER = 10
MOST_DEARER = 1.2  # what one may cost in the fullest store, in those of the emptiest
CLIENTS = 8
MOST_GROWTH = 10.0  # MB of memory, while the store is read to its end


def growth(setting: Setting) -> Iterator[Line]:
    """The same measured again and again while the store is filled with whole runs; then it is read to its end."""
    most, smallest = setting.size(1_000_000, 10_000), 1_000 if setting.quick else SMALLEST
    events, steps = (200, 20) if setting.quick else (4_000, 500)
    for database in setting.databases[:1]:
        url = setting.fresh(database)
        first: dict[str, float] = {}
        numbers = count()
        for size in _sizes(smallest, most):
            _fill(url, size)
            for line in _costs(setting, url, database, events, steps, numbers):
                cost = line.seconds / line.n
                ratio = cost / first.setdefault(line.case, cost)
                yield replace(
                    line,
                    case=f"{line.case} at {size:,} events",
                    raw_rate=commits_a_second(setting, database, min(events, 500)),
                    aims={"cost_ratio": MOST_DEARER},
                    more={"events": size, "cost_us": cost * 1e6, "cost_ratio": ratio},
                )
        yield _read_to_the_end(url, database)


def _sizes(smallest: int, most: int) -> Iterator[int]:
    size = smallest
    while size <= most:
        yield size
        size *= TIMES_LARGER


def _fill(url: str, size: int) -> None:
    store = open_store(url)
    try:
        fill(store, size)
    finally:
        store.close()


def _costs(
    setting: Setting, url: str, database: str, events: int, steps: int, numbers: Iterator[int]
) -> Iterator[Line]:
    with opened(url) as core:
        rounds = [
            written(core.store, database, events, CLIENTS, prefix=f"growth {next(numbers)}")
            for _ in range(setting.rounds)
        ]
        yield replace(middle(rounds), case="growth, append")
        chains: list[Line] = []
        for _ in range(setting.rounds):
            agent = core.agent(slots=1)
            core.submit(next(numbers), in_a_row(steps))
            chains.append(of_played("growth, chain", database, core.play(agent)))
        yield middle(chains)


def _read_to_the_end(url: str, database: str) -> Line:
    """By a process that does nothing else: what bench/whole.py prints."""
    command = [sys.executable, "-m", "bench.whole", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    begin, end = found["rss_mb_at_10000"], found["rss_mb"]
    return Line(
        case="growth, read to the end",
        n=found["n"],
        seconds=found["seconds"],
        database=database,
        aims={"rss_growth_mb": MOST_GROWTH},
        more={"rss_mb": end, "rss_growth_mb": end - begin},
    )
