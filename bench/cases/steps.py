"""Steps through the core: from the call of the in-process exchange to its answer with the next claims."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter

from bench.core import Core, Played, fanned_out, in_a_row, opened
from bench.line import Line, median, middle
from bench.raw import replayed, together
from bench.recording import record
from bench.setting import POSTGRESQL, SQLITE, Setting
from eventstore.sql import SqlStore
from projections.runner import Runner

Aims = Mapping[str, Mapping[str, float]]  # by database
Prepare = Callable[[Core[SqlStore]], Callable[[], Played]]

# What is shown at the end of a case must be seen in the lists this soon after it.
CAUGHT_UP = 5.0
MOST_OF_PEERS = 1_000  # their rate does not depend on it, and it takes them seconds
MOST_POLLED = 200  # where they take no more than a worker's worth with each poll
QUICK_POLL = 0.01  # seconds: the peer's own polling, made as quick as it sensibly goes


def chain(setting: Setting) -> Iterator[Line]:
    """One run, each step waiting for the one before."""
    n = setting.size(2_000, 30)

    def prepare(core: Core[SqlStore]) -> Callable[[], Played]:
        agent = core.agent(slots=1)
        core.submit(1, in_a_row(n))
        return partial(core.play, agent)

    def peers(database: str) -> Mapping[str, float]:
        return setting.peers.rates("with_dbos", "chain", setting.fresh(database), min(n, MOST_OF_PEERS))

    yield from _both(setting, "chain", prepare, {SQLITE: {"rate": 4_000}, POSTGRESQL: {"rate": 2_500}}, peers)


def hundred(setting: Setting) -> Iterator[Line]:
    """A hundred runs at once, and an agent with a hundred slots."""
    n = setting.size(5_000, 200)
    runs = min(100, n)

    def prepare(core: Core[SqlStore]) -> Callable[[], Played]:
        agent = core.agent(slots=100)
        for number in range(runs):
            core.submit(number, in_a_row(n // runs))
        return partial(core.play, agent)

    peers = partial(_dbos, setting, "queue", n)
    yield from _both(setting, "hundred", prepare, {SQLITE: {"rate": 10_000}, POSTGRESQL: {"rate": 3_000}}, peers)


def queue(setting: Setting) -> Iterator[Line]:
    """Tasks that belong to no run, drained by eight workers that take up to 32 at once."""
    n, workers = setting.size(5_000, 300), 8

    def prepare(core: Core[SqlStore]) -> Callable[[], Played]:
        agents = [core.agent(slots=32, name=f"worker {number}") for number in range(workers)]
        for first in range(0, n, 1_000):
            core.enqueue(first, min(1_000, n - first))

        def drain() -> Played:
            played: list[Played] = []
            seconds = together([lambda agent=agent: played.append(core.play(agent)) for agent in agents])
            times = [time for one in played for time in one.times]
            return Played(sum(one.steps for one in played), seconds, times)

        return drain

    peers = partial(_dbos, setting, "queue", min(n, MOST_POLLED), workers=workers)
    yield from _both(setting, "queue", prepare, {POSTGRESQL: {"rate": 7_000}}, peers, clients=workers)


def fan(setting: Setting) -> Iterator[Line]:
    """One step, then a thousand side by side, then one that waits for all of them."""
    n = setting.size(1_000, 50)

    def prepare(core: Core[SqlStore]) -> Callable[[], Played]:
        agent = core.agent(slots=n)
        core.submit(1, fanned_out(n))
        return partial(core.play, agent)

    peers = partial(_dbos, setting, "fan", n)
    aims = {database: {"seconds": 0.8} for database in setting.databases}
    yield from _both(setting, "fan", prepare, aims, peers)


def _both(
    setting: Setting,
    name: str,
    prepare: Prepare,
    aims: Aims,
    peers: Callable[[str], Mapping[str, float]],
    *,
    clients: int = 1,
) -> Iterator[Line]:
    """On each database: with the projections stopped, beside the raw driver and the peers, and then with them live."""
    for database in setting.databases:
        aim = aims.get(database, {})
        raw = _raw(setting, database, prepare)
        rounds = [_played(setting, name, database, prepare, clients) for _ in range(setting.rounds)]
        rates = peers(database) if setting.peers.python else {}
        stopped = middle(rounds)
        more = {"raw_seconds": stopped.n / raw} if "seconds" in aim else {}
        yield replace(stopped, raw_rate=raw, peers=rates, aims=aim, more=more)
        live = middle([_played_live(setting, name, database, prepare, clients) for _ in range(setting.rounds)])
        half = {figure: value / 2 if figure == "rate" else value * 2 for figure, value in aim.items()}
        yield replace(live, raw_rate=raw, aims={**half, "caught_up_seconds": CAUGHT_UP}, more={**live.more, **more})


def _played(setting: Setting, name: str, database: str, prepare: Prepare, clients: int) -> Line:
    with opened(setting.fresh(database)) as core:
        play = prepare(core)
        return of_played(name, database, play(), clients)


def _played_live(setting: Setting, name: str, database: str, prepare: Prepare, clients: int) -> Line:
    with opened(setting.fresh(database)) as core:
        runner = Runner(core.store)
        runner.start()
        try:
            play = prepare(core)
            runner.wait_for(core.store.head(), 60)
            line = of_played(f"{name}, projections live", database, play(), clients)
            began = perf_counter()
            runner.wait_for(core.store.head(), 60)
            return replace(line, more={"caught_up_seconds": perf_counter() - began})
        finally:
            runner.stop()


def _raw(setting: Setting, database: str, prepare: Prepare) -> float:
    """Steps a second when the driver alone makes the very commits of a rehearsal."""
    with opened(setting.fresh(database)) as core:
        commits = record(core.store)
        play = prepare(core)
        prepared = len(commits)
        steps = play().steps
    before, measured = commits[:prepared], commits[prepared:]
    return steps / median([replayed(setting, database, before, measured) for _ in range(setting.rounds)])


def of_played(name: str, database: str, played: Played, clients: int = 1) -> Line:
    return Line(
        case=name, n=played.steps, seconds=played.seconds, database=database, times=played.times, clients=clients
    )


def _dbos(setting: Setting, case: str, n: int, database: str, **more: object) -> Mapping[str, float]:
    """As it comes, and with its polling made quick."""
    rates: dict[str, float] = {}
    for how in ({}, {"poll": QUICK_POLL}):
        rates |= setting.peers.rates("with_dbos", case, setting.fresh(database), min(n, MOST_OF_PEERS), **more, **how)
    return rates
