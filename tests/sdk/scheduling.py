"""A scheduler in the tests' own process: its task, a clock that is set by hand, and what it launched."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from foldline import Task, process
from foldline.automation.scheduler_base import BaseScheduler, Clock
from foldline.client import Client
from foldline.logger import flush_all

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


class Left(BaseException):
    """The loop has gone as far as the test wanted."""


class HandClock(Clock):
    """Waiting sets it forward, until `until`."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at
        self.until = at
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self.at >= self.until:
            raise Left
        self.at = min(self.at + timedelta(seconds=seconds), self.until)


def leave_out_tables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Showing tables costs more requests than all else: only tests that ask for `tables` do it."""
    if "tables" not in request.fixturenames:
        monkeypatch.setattr(BaseScheduler, "_table", lambda *_: None)


def run(scheduler: BaseScheduler, clock: HandClock, **passed: float) -> None:
    """Let it run for a while of its clock; given as a timedelta is."""
    clock.until = clock.at + timedelta(**passed)
    with suppress(Left):
        scheduler.start()


@contextmanager
def being(client: Client, task_id: str) -> Iterator[None]:
    """This process runs that task: a new attempt of it, in whose place nobody beats."""
    started = client.tasks.start(task_id, session=uuid4().hex, host="here", lease=600)
    process.set_own_task(task_id, int(started["attempt"]))
    try:
        yield
    finally:
        flush_all()
        process.set_own_task(None)


def clones(client: Client, project: str, name: str = "train") -> list[Task]:
    """What was launched, by whomever, the oldest first: those in a queue, or further on."""
    rows = list(client.tasks.list(project=project, name=name))
    return [Task(str(row["id"])) for row in reversed(rows) if row["status"] != "created"]
