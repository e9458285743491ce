"""Measures what a snapshot that somebody holds costs on PostgreSQL: `python -m bench.snapshot [--seconds 60]`.

While a transaction keeps its snapshot (a long report, a backup), no version of a row that was replaced or deleted since
can be tidied away. Each case works for so long without one and then, on the same store, for so long with one; `lost` is
the part of the rate that it costs (aims: at most 0.2 for `append`, 0.5 for `claims`). `pages` is how many pages of the
database one append or claim looks at: it shows what the dead versions cost, however busy the machine is.
"""

import argparse
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count

import psycopg

from bench.line import Line
from bench.setting import POSTGRESQL, Setting, setting_in
from controller.exchange import Exchange, Exchanged, Report
from controller.handle import By, Controller, Submission
from controller.loop import Loop
from domain.agent import AgentRegistered
from domain.content import Content
from domain.pipeline import Definition, StepDefinition
from domain.task import TaskCreated
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent, append

STEPS = 500  # of each run that an agent works through
COUNTED_AFTER = 1.2  # seconds
WARM_UP = 2.0  # seconds: what is done for the first time takes longer
DATA = f'{{"text": "{"x" * 200}"}}'
BY = By(actor="bench")

Work = Callable[[int], Callable[[], int]]  # what the n-th client does again and again; it says how much it has done


@contextmanager
def appends(store: SqlStore) -> Generator[Work]:
    """Each client appends one event at a time to a stream of its own."""

    def client(number: int) -> Callable[[], int]:
        def once() -> int:
            append(store, [NewEvent(stream=f"task-{number}", type="TaskLogged", data=DATA)]).result()
            return 1

        return once

    yield client


@contextmanager
def claims(store: SqlStore) -> Generator[Work]:
    """Each client is an agent with one slot that works through chains of steps: report, consequences and next claim."""
    controller = Controller(store)
    exchange, ids, loop = Exchange(controller), count(1), Loop(controller)
    created = TaskCreated(name="nothing", project="bench", content="")
    template = controller.create_task("01" * 16, created, Content(), BY).id
    steps = [
        StepDefinition(name=f"s{i}", base_task_id=template, parents=[f"s{i - 1}"] if i else []) for i in range(STEPS)
    ]

    def client(number: int) -> Callable[[], int]:
        queue, session = f"q{number}", f"{number:032x}"
        controller.create_queue(queue, BY)
        definition = Definition(name=f"bench {number}", project="bench", default_queue=queue, steps=steps)
        registered = AgentRegistered(name=f"bench-{number}", session=session, queues=[queue], slots=1)
        agent, answer = exchange.register(registered).id, Exchanged()

        def once() -> int:
            nonlocal answer
            if not answer.claims:
                controller.submit_run(f"{next(ids):032x}", Submission(definition=definition), BY)
            tasks = [claim.task for claim in answer.claims if claim.task is not None]
            reports = [Report(task_id=task.id, attempt=task.attempt, status="completed") for task in tasks]
            answer = exchange.exchange(agent, session, held=[], reports=reports, free=1)
            return len(answer.claims)

        return once

    loop.start()  # it looks at the leases, as in a server
    try:
        yield client
    finally:
        loop.stop()


CASES = {"append": (appends, 0.2), "claims": (claims, 0.5)}


def worked(clients: list[Callable[[], int]], seconds: float) -> tuple[int, float, list[float]]:
    """How much the clients have done side by side, in how many seconds, and how long each time took."""
    times: list[float] = []
    began = time.perf_counter()

    def work(client: Callable[[], int]) -> int:
        done = 0
        while (asked := time.perf_counter()) - began < seconds:
            done += client()
            times.append(time.perf_counter() - asked)
        return done

    with ThreadPoolExecutor(len(clients)) as pool:
        n = sum(pool.map(work, clients))
    return n, time.perf_counter() - began, times


def pages(url: str) -> int:
    """How many pages the database has looked at so far: as far as it has counted, which takes it a second."""
    time.sleep(COUNTED_AFTER)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def held_snapshot(url: str) -> Iterator[None]:
    """A transaction that sees the database as it is now, until the end."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM event")
        yield


def measured(case: str, setting: Setting, clients: int, seconds: float) -> Line:
    url = setting.fresh(POSTGRESQL)
    opened, most_lost = CASES[case]
    with closing(open_store(url)) as store, opened(store) as work:
        workers = [work(number) for number in range(clients)]
        worked(workers, WARM_UP)
        start = pages(url)
        before, took, _ = worked(workers, seconds)
        usual, usual_pages = before / took, (pages(url) - start) / before
        with held_snapshot(url):
            start = pages(url)
            n, took, times = worked(workers, seconds)
            held_pages = (pages(url) - start) / n
    return Line(
        case=f"snapshot {case}",
        n=n,
        seconds=took,
        database=POSTGRESQL,
        times=times,
        clients=clients,
        aims={"lost": most_lost},
        more={"usual_rate": usual, "lost": 1 - n / took / usual, "pages": held_pages, "usual_pages": usual_pages},
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.snapshot", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="how long the snapshot is held (default 60)")
    parser.add_argument("--clients", type=int, default=4, help="threads that work side by side (default 4)")
    asked = parser.parse_args()
    if unknown := [case for case in asked.cases if case not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}: choose from {', '.join(CASES)}")
    with setting_in() as setting:
        for case in asked.cases or CASES:
            print(measured(case, setting, asked.clients, asked.seconds), flush=True)


if __name__ == "__main__":
    main()
