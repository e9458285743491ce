"""DBOS on the same database: `with_dbos.py CASE URL N`. Prints JSON: peer, rate, and p50_ms where it is a latency."""

import argparse
import json
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from dbos import DBOS, DBOSConfig, WorkflowHandle

QUEUE = "bench"
PACE = 0.05  # seconds between two of the latency case


@DBOS.step()
def nothing(number: int) -> int:
    return number


@DBOS.workflow()
def one(number: int) -> int:
    return nothing(number)


@DBOS.workflow()
def in_a_row(count: int) -> float:
    """Seconds that so many steps take, the workflow's own beginning and end left out."""
    began = time.perf_counter()
    for number in range(count):
        nothing(number)
    return time.perf_counter() - began


@DBOS.workflow()
def fanned_out(count: int) -> int:
    handles = [DBOS.enqueue_workflow(QUEUE, one, number) for number in range(count)]
    return sum(handle.get_result(polling_interval_sec=POLL) for handle in handles)


class Started:
    """When the workflow that is waited for has begun."""

    def __init__(self) -> None:
        self.begun, self.at = threading.Semaphore(0), 0.0


STARTED = Started()
POLL = 1.0


@DBOS.workflow()
def noted() -> None:
    STARTED.at = time.perf_counter()
    STARTED.begun.release()


def chain(count: int) -> float:
    return DBOS.start_workflow(in_a_row, count).get_result()


def queue(count: int) -> float:
    """Until so many one-step workflows have been enqueued, run and waited for: it drains while it is filled."""
    began = time.perf_counter()
    handles: list[WorkflowHandle[int]] = [DBOS.enqueue_workflow(QUEUE, one, number) for number in range(count)]
    for handle in handles:
        handle.get_result(polling_interval_sec=POLL)
    return time.perf_counter() - began


def fan(count: int) -> float:
    began = time.perf_counter()
    DBOS.start_workflow(fanned_out, count).get_result(polling_interval_sec=POLL)
    return time.perf_counter() - began


def latency(count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        DBOS.enqueue_workflow(QUEUE, noted)
        STARTED.begun.acquire()
        times.append(STARTED.at - began)
        time.sleep(PACE)
    return times


CASES: dict[str, Callable[[int], float | list[float]]] = {
    "chain": chain,
    "queue": queue,
    "fan": fan,
    "latency": latency,
}


def main() -> None:
    global POLL
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("url")
    parser.add_argument("n", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--poll", type=float, default=POLL)
    asked = parser.parse_args()
    POLL = asked.poll
    config: DBOSConfig = {"name": "bench", "system_database_url": asked.url, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    try:
        DBOS.register_queue(QUEUE, worker_concurrency=asked.workers, polling_interval_sec=POLL)
        one(0)  # the first one pays for what is made once
        found = CASES[asked.case](asked.n)
    finally:
        DBOS.destroy()
    print(json.dumps(shown(found, asked.n, f"DBOS {version('dbos')}, polling each {POLL:g} s")))


def shown(found: float | list[float], n: int, peer: str) -> dict[str, object]:
    if not isinstance(found, list):
        return {"peer": peer, "rate": n / found}
    half, most = (sorted(found)[n * part // 100] * 1000 for part in (50, 99))
    return {"peer": peer, "rate": n / sum(found), "p50_ms": half, "p99_ms": most}


if __name__ == "__main__":
    main()
