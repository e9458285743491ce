"""One run of very many steps on SQLite: it completes, opens, and its last step costs what its first one did."""

from collections.abc import Iterator
from contextlib import closing
from time import perf_counter

from sqlalchemy import delete

from bench.core import opened, side_by_side
from bench.line import Line, median
from bench.setting import SQLITE, Setting
from eventstore.schema import snapshot
from eventstore.sql import open_store
from projections.runner import Runner
from tests.support.house import House

ROWS = 100
SMALL = 1_000
PAGES = 5
MOST_DEARER = 1.2  # what a step of the large run may cost, in steps of the small one


def large(setting: Setting) -> Iterator[Line]:
    """A hundred rows of a thousand steps each, beside a run of a thousand in the same store; then it is opened cold."""
    n = setting.size(100_000, 2_000)
    url = setting.fresh(SQLITE)
    with opened(url) as core:
        agent = core.agent(slots=ROWS)
        small: list[float] = []
        for number in range(setting.rounds):
            core.submit(number, side_by_side(ROWS, SMALL // ROWS))
            played = core.play(agent)
            small.append(played.seconds / played.steps)
        began = perf_counter()
        run_id = core.submit(1_000, side_by_side(ROWS, n // ROWS))
        submitted = perf_counter() - began
        played = core.play(agent)
        began = perf_counter()
        Runner(core.store).catch_up()
        caught_up = perf_counter() - began
    cost, usual = played.seconds / played.steps, median(small)
    yield Line(
        case="large",
        n=played.steps,
        seconds=played.seconds,
        database=SQLITE,
        times=played.times,
        aims={"cost_ratio": MOST_DEARER},
        more={
            "submit_seconds": submitted,
            "catch_up_seconds": caught_up,
            "step_us": cost * 1e6,
            f"step_us_of_{SMALL}": usual * 1e6,
            "cost_ratio": cost / usual,
        },
    )
    yield _opened("large, opened cold", setting, url, run_id, played.steps)
    with closing(open_store(url)) as store, store.database.writing() as connection:
        connection.execute(delete(snapshot))
    yield _opened("large, opened without its snapshot", setting, url, run_id, played.steps)


def _opened(case: str, setting: Setting, url: str, run_id: str, steps: int) -> Line:
    """By a server that has just been started: the first look at the run, then what its page asks for."""
    with House(setting.fresh_folder(), url) as house:
        house.serve()
        began = perf_counter()
        run = house.client.runs.get(run_id)
        opened_after = perf_counter() - began
        if run["status"] != "completed" or run["step_counts"]["completed"] != steps:
            raise RuntimeError(f"the run is {run['status']} with these steps: {run['step_counts']}")
        pages: list[float] = []
        for _ in range(PAGES):
            began = perf_counter()
            house.client.request("GET", f"runs/{run_id}")
            house.client.request("GET", f"runs/{run_id}/steps", params={"limit": 100})
            pages.append(perf_counter() - began)
    return Line(
        case=case,
        n=steps,
        seconds=opened_after,
        database=SQLITE,
        aims={"seconds": 2.0, "page_ms": 200},
        more={"page_ms": median(pages) * 1000},
    )
