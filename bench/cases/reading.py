"""Reading the log: statuses folded from columns, runs replayed, projections caught up and rebuilt."""

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
from domain.lifecycle import RUN, STEP, TASK
from eventstore.sql import SqlStore, open_store
from projections.runner import Runner

PAGE = 5_000
REBUILT = ("tasks", "runs", "timeline")  # those that most events are for
# (from, to) that some trigger leads between: what an event says of itself is looked up, not decoded.
LEGAL = {(source, leads_to) for chart in (TASK, RUN, STEP) for (source, _), leads_to in chart.items()}

decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Filled:
    store: SqlStore
    url: str
    database: str


def fold(setting: Setting) -> Iterator[Line]:
    """The status of every task and run, from the columns of their events: no JSON is decoded."""
    n = setting.size(200_000, 2_000)
    for database in setting.databases:
        with _filled(setting, database, n) as filled:
            raw = _rate(setting, partial(_read, filled.url, "stream, from_state, to_state", _nothing))
            line = _measured(setting, "fold", filled, filled.store.head(), partial(_statuses, filled))
        yield replace(line, raw_rate=raw, aims={"rate": 1_000_000})


def replay(setting: Setting) -> Iterator[Line]:
    """Every run of the store, opened with nothing in memory: events decoded and applied."""
    n = setting.size(50_000, 2_000)
    for database in setting.databases:
        with _filled(setting, database, n) as filled:
            raw = _rate(setting, partial(_read, filled.url, "data", _decode))
            ids = {str(run_id) for (run_id,) in _columns(filled.url, "run_id") if run_id is not None}
            events = sum(run_id is not None for (run_id,) in _columns(filled.url, "run_id"))
            line = _measured(setting, "replay", filled, events, partial(_opened, filled.store, ids))
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


def _statuses(filled: Filled) -> Mapping[str, str]:
    """By stream. Raises ValueError for a transition that is in no chart."""
    statuses: dict[str, str] = {}
    for stream, before, after in _columns(filled.url, "stream, from_state, to_state"):
        if before == after or after is None:
            continue
        if (before or "absent", after) not in LEGAL and not stream.startswith("agent-"):
            raise ValueError(f"{stream} goes from {before} to {after}")
        statuses[stream] = after
    return statuses


def _opened(store: SqlStore, run_ids: set[str]) -> None:
    reader = Reader(store)
    for run_id in run_ids:
        reader.run(run_id)


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
