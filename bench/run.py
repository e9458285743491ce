"""Measures the core on this machine, one JSON line per case: `python bench/run.py [case ...]`.

Measured is the in-process exchange, from its call to its answer with the next claim: leases, idempotency, run versions,
leaf hashes and decisions on, projections stopped. Beside each figure stands a raw one: the durable commits a second,
one row each, that the database's own driver reaches on the same disk in the same minute.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sdk")]

import psycopg  # noqa: E402

from controller.exchange import Exchange, Exchanged, Held, Report  # noqa: E402
from controller.handle import By, Controller, Submission  # noqa: E402
from domain.agent import AgentRegistered  # noqa: E402
from domain.content import Content  # noqa: E402
from domain.pipeline import Definition, StepDefinition  # noqa: E402
from domain.task import TaskCreated  # noqa: E402
from eventstore.sql import open_store  # noqa: E402
from tests.support.throwaway_postgres import throwaway_postgres, wheel_programs  # noqa: E402

SESSION = "00" * 16


class Core:
    """The write side over one database, with one agent."""

    def __init__(self, url: str, slots: int) -> None:
        self.store = open_store(url)
        self.controller = Controller(self.store)
        self.exchange = Exchange(self.controller)
        self.controller.create_queue("default", By())
        created = TaskCreated(name="nothing", project="bench", content="")
        self.template = self.controller.create_task("01" * 16, created, Content(), By()).id
        registered = AgentRegistered(name="bench", session=SESSION, queues=["default"], slots=slots)
        self.agent = self.exchange.register(registered).id
        self.slots = slots

    def submit(self, number: int, steps: list[StepDefinition]) -> None:
        definition = Definition(name=f"bench {number}", project="bench", default_queue="default", steps=steps)
        self.controller.submit_run(f"{number:032x}", Submission(definition=definition), By())

    def ask(self, done: Exchanged) -> Exchanged:
        """Report all that was claimed, and take what is next."""
        reports = [Report(task_id=claim.task.id, attempt=claim.attempt, status="completed") for claim in done.claims]
        held: list[Held] = []
        return self.exchange.exchange(self.agent, SESSION, held=held, reports=reports, free=self.slots)

    def play(self) -> tuple[int, float, list[float]]:
        """Run all there is: steps, seconds, and the seconds of each exchange."""
        steps, times, answer = 0, list[float](), Exchanged()
        began = time.perf_counter()
        while True:
            asked = time.perf_counter()
            answer = self.ask(answer)
            times.append(time.perf_counter() - asked)
            if not answer.claims:
                return steps, time.perf_counter() - began, times
            steps += len(answer.claims)


def chain(url: str) -> tuple[int, float, list[float]]:
    core, n = Core(url, slots=1), 1000
    template = core.template
    steps = [StepDefinition(name=f"s{i}", base_task_id=template, parents=[f"s{i - 1}"] if i else []) for i in range(n)]
    core.submit(1, steps)
    with closing(core.store):
        return core.play()


def hundred(url: str) -> tuple[int, float, list[float]]:
    core, n = Core(url, slots=100), 30
    for number in range(100):
        steps = [
            StepDefinition(name=f"s{i}", base_task_id=core.template, parents=[f"s{i - 1}"] if i else [])
            for i in range(n)
        ]
        core.submit(number + 1, steps)
    with closing(core.store):
        return core.play()


def fan(url: str) -> tuple[int, float, list[float]]:
    core, n = Core(url, slots=1000), 1000
    names = [f"s{i}" for i in range(n)]
    steps = [
        StepDefinition(name="first", base_task_id=core.template),
        *(StepDefinition(name=name, base_task_id=core.template, parents=["first"]) for name in names),
        StepDefinition(name="join", base_task_id=core.template, parents=names),
    ]
    core.submit(1, steps)
    with closing(core.store):
        return core.play()


CASES: dict[str, Callable[[str], tuple[int, float, list[float]]]] = {"chain": chain, "hundred": hundred, "fan": fan}


def raw_commits(url: str, seconds: float = 1.0) -> float:
    """Durable commits of one row a second, by the driver alone."""
    count, began = 0, time.perf_counter()
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///") + ".raw"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE raw (position INTEGER PRIMARY KEY, data TEXT)")
            while time.perf_counter() - began < seconds:
                count += 1
                connection.execute("INSERT INTO raw VALUES (?, ?)", (count, "x" * 250))
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE raw (position BIGINT PRIMARY KEY, data TEXT)")
            while time.perf_counter() - began < seconds:
                count += 1
                connection.execute("INSERT INTO raw VALUES (%s, %s)", (count, "x" * 250))
    return count / (time.perf_counter() - began)


def measure(case: str, database: str, url: str) -> None:
    raw = raw_commits(url)
    n, seconds, times = CASES[case](url)
    times.sort()
    line = {
        "case": case,
        "n": n,
        "seconds": round(seconds, 3),
        "rate": round(n / seconds),
        "p50_ms": round(statistics.median(times) * 1000, 3),
        "p99_ms": round(times[int(len(times) * 0.99) - 1] * 1000, 3),
        "database": database,
        "clients": 1,
        "raw_rate": round(raw),
    }
    print(json.dumps(line), flush=True)


@contextmanager
def databases(folder: Path) -> Iterator[Callable[[str, str], str]]:
    """A function that makes a fresh database for a case; PostgreSQL with full durability."""
    programs = wheel_programs()
    assert programs is not None, "make setup installs it"
    with throwaway_postgres(programs, fsync=True) as base:

        def fresh(database: str, case: str) -> str:
            if database == "sqlite":
                return f"sqlite:///{folder / case}.db"
            with psycopg.connect(base, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "bench_{case}"')
            return urlunsplit(urlsplit(base)._replace(path=f"/bench_{case}"))

        yield fresh


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := [case for case in chosen if case not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}: choose from {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as fresh:
        for case in chosen:
            for database in ("sqlite", "postgresql"):
                measure(case, database, fresh(database, case))


if __name__ == "__main__":
    main()
