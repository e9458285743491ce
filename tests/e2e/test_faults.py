"""The ground under a working server goes away and comes back: a disk that takes nothing, a database that is gone.

Meanwhile the server says what is wrong; afterwards nothing that was acknowledged is missing, nothing has happened
twice, and nobody had to restart anything.
"""

import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from foldline.client import Client
from tests.support.house import House, step
from tests.support.mortal_postgres import mortal_postgres
from tests.support.throwaway_postgres import wheel_programs
from tests.support.waiting import wait_until

SHORT, LONG = 3.0, 30.0  # seconds; the long one is longer than a lease
SECONDS = pytest.mark.parametrize("seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.storm)])
STEPS = 8


class Writer:
    """Creates tasks one after the other, as a script does that knows nothing of servers."""

    def __init__(self, house: House) -> None:
        self.acknowledged: list[str] = []
        self._client = Client(house.url, patience=120)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(130)
        self._client.close()

    def _write(self) -> None:
        while not self._over.wait(0.02):
            name = f"task {len(self.acknowledged)}"
            self.acknowledged.append(self._client.tasks.create(name=name, project="faults")["id"])


def reason(house: House) -> str:
    """Why the server is not ready; empty when it is."""
    answer = httpx2.get(f"{house.url}/readyz")
    return "" if answer.is_success else answer.json()["detail"]


def goes_through(house: House, fault: Callable[[], Iterator[None]], seconds: float, *, says: str) -> None:
    house.agent("-q", "default", "--slots", "2")
    run = house.submit(*[step(f"s{number}", "import time; time.sleep(0.5)") for number in range(STEPS)])
    with Writer(house) as writer:
        wait_until(lambda: len(writer.acknowledged) > 3, "the first tasks")
        wait_until(lambda: house.client.runs.get(run["id"])["step_counts"]["completed"], "the first step", 60)
        with contextmanager(fault)():
            said = wait_until(lambda: reason(house), "the server to notice")
            assert says in said
            before = len(writer.acknowledged)
            time.sleep(seconds)  # that it lasts is the point of this test
            assert says in reason(house)
            assert httpx2.get(f"{house.url}/livez").is_success
            assert len(writer.acknowledged) <= before + 1, "what is acknowledged has been written"
        wait_until(lambda: not reason(house), "the server to be ready again", 30)
        wait_until(lambda: len(writer.acknowledged) > before + 3, "the next tasks", 30)
    assert house.server is not None
    assert house.server.poll() is None, "nobody has restarted it"
    assert_nothing_is_lost(house, run["id"], writer.acknowledged)


def assert_nothing_is_lost(house: House, run_id: str, acknowledged: list[str]) -> None:
    ended = house.wait(run_id, 90)
    assert ended["status"] == "completed", ended["reason"]
    history = house.client.runs.history(run_id)
    started = Counter(event["subject"] for event in history if event["type"] == "TaskStarted")
    assert started == Counter(f"s{number}" for number in range(STEPS)), "nobody was taken for lost"
    verified = house.client.runs.verify(run_id)
    assert verified["ok"], verified["differences"]
    created = [event for event in house.client.events.list(type="TaskCreated") if event["run_id"] is None]
    assert Counter(event["data"]["name"] for event in created) == Counter(f"task {n}" for n in range(len(created)))
    assert set(acknowledged) <= {event["stream"].removeprefix("task-") for event in created}
    wait_until(lambda: all(not one["lag_events"] for one in house.client.projections.list()), "the lists", 30)
    house.run_python("-m", "api", "doctor", "--db", house.database, "--data", str(house.data)).check_returncode()


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux alone")
@pytest.mark.may_skip
@SECONDS
def test_a_disk_that_takes_nothing(house: House, seconds: float):
    assert house.server is not None
    pid = house.server.pid

    def full() -> Iterator[None]:
        """No file of the server's can be written any more, its own log included."""
        usual = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)

    goes_through(house, full, seconds, says="takes nothing new")


def test_a_database_that_lets_nobody_in(tmp_path: Path, postgres_server: str, postgres_url: str):
    name = SQL("DATABASE {}").format(Identifier(urlsplit(postgres_url).path.removeprefix("/")))

    def closed() -> Iterator[None]:
        """As a server that is away, but at once: every connection is cut, and a new one refused."""
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            admin.execute(SQL("ALTER {} ALLOW_CONNECTIONS false").format(name))
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            admin.execute(cut, [urlsplit(postgres_url).path.removeprefix("/")])
            try:
                yield
            finally:
                admin.execute(SQL("ALTER {} ALLOW_CONNECTIONS true").format(name))

    with House(tmp_path, postgres_url) as house:
        house.serve()
        goes_through(house, closed, SHORT, says="does not answer")


@pytest.mark.storm
@pytest.mark.postgres
def test_a_database_server_that_is_stopped_in_the_middle_of_everything(tmp_path: Path):
    programs = wheel_programs()
    if programs is None:
        pytest.skip("no PostgreSQL that could be stopped: install the development packages (make setup)")
    with ExitStack() as stack:
        database = stack.enter_context(mortal_postgres(programs))
        house = stack.enter_context(House(tmp_path, database.url))
        house.serve()

        def gone() -> Iterator[None]:
            database.kill()
            try:
                yield
            finally:
                database.start()

        goes_through(house, gone, LONG, says="does not answer")
