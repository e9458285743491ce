"""eventsourcing on the same database: `with_eventsourcing.py CASE URL N`. Prints JSON: peer and rate (events a second).

append: aggregates saved by waiting writers, an event each time. replay: one aggregate of N events rebuilt. projection:
its runner over N events, with a handler that only says how far it is (PostgreSQL; it has none for SQLite).
"""

import argparse
import json
import threading
import time
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

TEXT = "x" * 250
AT_ONCE = 500


class Note(Aggregate):
    def __init__(self) -> None:
        self.count = 0

    @event("Added")
    def add(self, text: str) -> None:
        self.count += len(text)


class Notes(Application[UUID]):
    pass


class View(PostgresTrackingRecorder):
    pass


class Nothing(Projection[View]):
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)


def append(env: dict[str, str], n: int, clients: int) -> float:
    app = Notes(env=env)
    app.save(Note())

    def write() -> None:
        note = Note()
        app.save(note)
        for _ in range(n // clients):
            note.add(TEXT)
            app.save(note)

    writers = [threading.Thread(target=write) for _ in range(clients)]
    began = time.perf_counter()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return time.perf_counter() - began


def replay(env: dict[str, str], n: int, clients: int) -> float:
    app = Notes(env=env)
    note = _filled(app, n)
    began = time.perf_counter()
    app.repository.get(note.id)
    return time.perf_counter() - began


def projection(env: dict[str, str], n: int, clients: int) -> float:
    app = Notes(env=env)
    _filled(app, n)
    last = app.recorder.max_notification_id()
    began = time.perf_counter()
    with ProjectionRunner(application_class=Notes, projection_class=Nothing, view_class=View, env=env) as runner:
        runner.wait(last, timeout=300)
        return time.perf_counter() - began


CASES = {"append": append, "replay": replay, "projection": projection}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("url")
    parser.add_argument("n", type=int)
    parser.add_argument("--clients", type=int, default=1)
    asked = parser.parse_args()
    seconds = CASES[asked.case](_environment(asked.url), asked.n, asked.clients)
    print(json.dumps({"peer": f"eventsourcing {version('eventsourcing')}", "rate": asked.n / seconds}))


def _filled(app: Notes, n: int) -> Note:
    note = Note()
    for first in range(0, n, AT_ONCE):
        for _ in range(min(AT_ONCE, n - first)):
            note.add(TEXT)
        app.save(note)
    return note


def _environment(url: str) -> dict[str, str]:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": path,
            "SQLITE_LOCK_TIMEOUT": "60",
        }
    parts = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_HOST": parts.hostname or parse_qs(parts.query).get("host", [""])[0],
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
        "POSTGRES_LOCK_TIMEOUT": "60",
    }


if __name__ == "__main__":
    main()
