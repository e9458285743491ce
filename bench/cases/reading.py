"""Reading the log: runs folded at once, runs replayed, projections caught up and rebuilt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from bench.fill import fill
from bench.line import Line, median, middle
from bench.raw import Row, copied, pages
from bench.setting import POSTGRESQL, Setting
from controller.reading import Reader
from eventstore.sql import SqlStore, open_store
from projections.runner import Runner

PAGE = 5_000
REBUILT = ("tasks", "runs", "timeline")  # those that most events are for
TOLD = "stream, run_version, type, schema, subject, data, recorded_at"  # what a fold reads of an event

decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Filled:
    store: SqlStore
    url: str
    database: str


def fold(setting: Setting) -> Iterator[Line]:
    """Every run of the store, opened with nothing in memory, as the server opens it: from the columns that it needs."""
    n = setting.size(100_000, 2_000)
    for database in setting.databases:
        with _filled(setting, database, n) as filled:
            raw = _rate(setting, partial(_read, filled.url, TOLD, _nothing))
            ids, events = _runs(filled.url)
            line = _measured(setting, "fold", filled, events, partial(_opened, filled.store, ids))
        yield replace(line, raw_rate=raw, aims={"rate": 1_000_000})


def replay(setting: Setting) -> Iterator[Line]:
    """Every run of the store, state by state: each event decoded and applied."""
    n = setting.size(50_000, 2_000)
    for database in setting.databases:
        with _filled(setting, database, n) as filled:
            raw = _rate(setting, partial(_read, filled.url, "data", _decode))
            ids, events = _runs(filled.url)
            line = _measured(setting, "replay", filled, events, partial(_replayed, filled.store, ids))
        peers = setting.peers.rates("with_eventsourcing", "replay", setting.fresh(database), min(n, 10_000))
        yield replace(line, raw_rate=raw, peers=peers, aims={"rate": 400_000})


def catch_up(setting: Setting) -> Iterator[Line]:
    """All projections, from empty tables to the end of the log."""
    n = setting.size(50_000, 1_000)
    for database in setting.databases:
        lines: list[Line] = []
        for _ in range(setting.rounds):
            with _filled(setting, database, n) as filled:
                raw = filled.store.head() / copied(filled.url, PAGE)
                runner = Runner(filled.store)
                runner.lag()  # makes the tables
                lines.append(_timed("catch-up", filled, filled.store.head(), runner.catch_up))
        peers: Mapping[str, float] = {}
        if database == POSTGRESQL:  # for SQLite it has no runner
            peers = setting.peers.rates("with_eventsourcing", "projection", setting.fresh(database), min(n, 3_000))
        yield replace(middle(lines), raw_rate=raw, peers=peers, aims={"rate": 20_000})


def rebuild(setting: Setting) -> Iterator[Line]:
    """One projection's tables made anew, from the first event to the last."""
    n = setting.size(100_000, 1_000)
    for database in setting.databases:
        with _filled(setting, database, n) as filled:
            raw = _rate(setting, partial(_read, filled.url, "data", _nothing))
            runner = Runner(filled.store)
            runner.catch_up()
            for name in REBUILT:
                line = _timed(f"rebuild {name}", filled, filled.store.head(), partial(runner.rebuild, name))
                yield replace(line, raw_rate=raw, aims={"rate": 100_000})


@contextmanager
def _filled(setting: Setting, database: str, n: int) -> Iterator[Filled]:
    url = setting.fresh(database)
    with closing(open_store(url)) as store:
        fill(store, n)
        yield Filled(store, url, database)


def _measured(setting: Setting, case: str, filled: Filled, n: int, call: Callable[[], object]) -> Line:
    return middle([_timed(case, filled, n, call) for _ in range(setting.rounds)])


def _timed(case: str, filled: Filled, n: int, call: Callable[[], object]) -> Line:
    began = perf_counter()
    call()
    return Line(case=case, n=n, seconds=perf_counter() - began, database=filled.database)


def _runs(url: str) -> tuple[set[str], int]:
    """The ids of all runs, and how many events are theirs."""
    found = [str(run_id) for (run_id,) in _columns(url, "run_id") if run_id is not None]
    return set(found), len(found)


def _opened(store: SqlStore, run_ids: set[str]) -> None:
    reader = Reader(store)
    for run_id in run_ids:
        reader.run(run_id)


def _replayed(store: SqlStore, run_ids: set[str]) -> None:
    reader = Reader(store)
    for run_id in run_ids:
        for _ in reader.states(run_id):
            pass


def _columns(url: str, columns: str) -> Iterator[Sequence[Any]]:
    for page in pages(url, columns, PAGE):
        for row in page:
            yield row[1:]


def _read(url: str, columns: str, take: Callable[[Row], object]) -> int:
    """How many events there are, each handed to `take`."""
    count = 0
    for page in pages(url, columns, PAGE):
        for row in page:
            take(row)
        count += len(page)
    return count


def _rate(setting: Setting, call: Callable[[], int]) -> float:
    """Events a second."""
    rates: list[float] = []
    for _ in range(setting.rounds):
        began = perf_counter()
        count = call()
        rates.append(count / (perf_counter() - began))
    return median(rates)


def _nothing(row: Row) -> None: ...


def _decode(row: Row) -> None:
    decode(row[1])
