"""Server, agents, hosts and the database killed again and again under pipelines of all kinds, while connections drop.

FOLDLINE_STORM_SECONDS says for how long the storms go on.
"""

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from eventstore.sql import open_store
from foldline.errors import ApiError
from tests.controller.server import Server
from tests.support.crash_world import assert_all_agrees
from tests.support.dropping import dropping
from tests.support.house import House, step
from tests.support.mortal_postgres import MortalPostgres, mortal_postgres
from tests.support.throwaway_postgres import wheel_programs
from tests.support.waiting import wait_until

LONG = float(os.environ.get("FOLDLINE_STORM_SECONDS", "120"))
PATIENCE = 240
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
# What is lost more often than this is given up, by the product's own rule.
TWICE = ["steps", "steps", "services", "host"]

NOTE = """import os
with open({file!r}, "a") as file:
    file.write(os.environ["FOLDLINE_TASK_ID"] + " " + os.environ["FOLDLINE_ATTEMPT"] + chr(10))
"""

CALLBACKS = """
import os, time
from foldline import PipelineController
def note():
    with open({file!r}, "a") as file:
        file.write(os.environ["FOLDLINE_TASK_ID"] + " " + os.environ["FOLDLINE_ATTEMPT"] + chr(10))
def work(x):
    note()
    time.sleep(0.1)
    return x + 1
def flaky(x):
    note()
    if os.environ["FOLDLINE_ATTEMPT"] == "1":
        raise RuntimeError("the first time never works")
    return x
def before(pipeline, node, parameters):
    return True
def after(pipeline, node):
    time.sleep(0.05)
pipe = PipelineController("callbacks", "storm")
pipe.set_default_execution_queue("default")
pipe.add_function_step("a", work, {{"x": 1}}, ["y"], pre_execute_callback=before, post_execute_callback=after)
pipe.add_function_step("b", flaky, {{"x": "${{a.y}}"}}, ["y"], pre_execute_callback=before, retry_on_failure=3)
pipe.add_function_step("c", work, {{"x": "${{b.y}}"}}, ["y"], pre_execute_callback=before)
pipe.start()
"""

DECORATED = """
import os, time
from foldline import PipelineDecorator
@PipelineDecorator.component(return_values=["value"])
def work(number, *, after=None):
    with open({file!r}, "a") as file:
        file.write(os.environ["FOLDLINE_TASK_ID"] + " " + os.environ["FOLDLINE_ATTEMPT"] + chr(10))
    time.sleep(0.1)
    return number
@PipelineDecorator.pipeline(name="decorated", project="storm", default_queue="default")
def pipeline(rounds: int = 3):
    last = None
    for number in range(rounds):
        pair = [work(number, after=last), work(-number, after=last)]
        last = sum(int(one) for one in pair)
pipeline()
"""


class Ship:
    """A house in the storm: everything in it that can be killed, by name."""

    def __init__(self, house: House, database: MortalPostgres | None, url: str) -> None:
        self.house, self._database, self._url = house, database, url
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self.hosts_killed = 0  # of those that were to be
        house.serve()
        for name in ("steps", "services"):
            self._start(name)
        self.victims: dict[str, Callable[[], None]] = {
            "server": self._kill_server,
            "steps": lambda: self._kill_agent("steps"),
            "services": lambda: self._kill_agent("services"),
            "host": self._kill_host,
        }
        if database is not None:
            self.victims["database"] = self._kill_database

    def _start(self, name: str) -> None:
        kind = ["--services"] if name == "services" else ["-q", "default", "--slots", "4"]
        # Of the same name as the one before: what that held is lost at once.
        self._agents[name] = self.house.agent("--name", name, *kind, url=self._url)

    def _kill_server(self) -> None:
        self.house.kill_server()
        self.house.serve()

    def _kill_agent(self, name: str) -> None:
        self._agents[name].kill()
        self._agents[name].wait()
        self._start(name)

    def _kill_host(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._agents["services"].pid).children(recursive=True):
                if any(argument.endswith("pipeline.py") for argument in process.cmdline()):
                    process.kill()
                    self.hosts_killed += 1

    def _kill_database(self) -> None:
        assert self._database is not None
        self._database.kill()
        self._database.start()


@pytest.fixture
def ship(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ship]:
    with ExitStack() as stack:
        database = None
        if request.param == "postgres":
            programs = wheel_programs()
            if programs is None:
                pytest.skip("no PostgreSQL that may be killed: install the development packages (make setup)")
            database = stack.enter_context(mortal_postgres(programs))
        house = stack.enter_context(House(tmp_path, database.url if database else None))
        chance = random.Random(11)
        url = stack.enter_context(
            dropping(house.port, lambda path, answer: chance.random() < 0.05, lambda path: chance.random() < 0.05)
        )
        yield Ship(house, database, url)


def submitted(ship: Ship, folder: Path, file: Path) -> list[str]:
    """One run of each kind; their ids."""
    house = ship.house
    with ThreadPoolExecutor(2) as threads:
        scripts = {"callbacks": CALLBACKS, "decorated": DECORATED}
        started = [
            threads.submit(by_script, house, folder / name, text.format(file=str(file)))
            for name, text in scripts.items()
        ]
        return [plain(house, NOTE.format(file=str(file))), *(one.result() for one in started)]


def by_script(house: House, folder: Path, text: str) -> str:
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(text)
    done = house.run_python(str(folder / "pipeline.py"), timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("Run ")[2].partition("(")[2].partition(")")[0]


def plain(house: House, note: str) -> str:
    """A join, a retry, an approval, and a pipeline as a step."""
    child = house.client.pipelines.register(
        {
            "name": "child",
            "project": "storm",
            "default_queue": "default",
            "steps": [step("x", note), step("y", note, parents=["x"])],
        }
    )
    run = house.submit(
        step("a", note),
        step("b", note),
        step("join", note, parents=["a", "b"]),
        step("flaky", f"{note}assert os.environ['FOLDLINE_ATTEMPT'] != '1'", retry={"times": 3, "delay": 0.1}),
        {"name": "approved", "parents": ["join"], "approval": {"message": "well?"}},
        {"name": "nested", "parents": ["flaky"], "pipeline_id": child["id"]},
        step("end", note, parents=["approved", "nested"]),
    )
    return run["id"]


def approve(house: House, run_id: str) -> None:
    if house.steps(run_id)["approved"]["status"] == "waiting":
        with suppress(ApiError):  # the one before has come through, and its answer was lost
            house.client.runs.approve(run_id, "approved")


def survive(ship: Ship, folder: Path, victims: list[str], chance: random.Random) -> Counter[str]:
    """One run of each kind, to their good end, with these kills on the way; how often each kind of thing was killed."""
    file = folder / "attempts"
    run_ids = submitted(ship, folder, file)
    for victim in victims:
        time.sleep(chance.uniform(0.05, 0.8))  # a random moment is the point of this test
        ship.victims[victim]()
        approve(ship.house, run_ids[0])

    def over() -> bool:
        approve(ship.house, run_ids[0])
        return all(ship.house.client.runs.get(run_id)["ended_at"] for run_id in run_ids)

    wait_until(over, f"the runs to end after {victims}", PATIENCE)
    for run_id in run_ids:
        ended = ship.house.client.runs.get(run_id)
        assert ended["status"] == "completed", (ended["name"], ended["reason"], victims)
    twice = {line: times for line, times in Counter(file.read_text().splitlines()).items() if times > 1}
    assert not twice, f"attempts that ran twice: {twice}"
    return Counter(victims)


def assert_the_log_is_whole(ship: Ship) -> None:
    assert ship.house.stop_server() == 0
    with closing(open_store(ship.house.database)) as store:
        assert_all_agrees(Server(store, queues=()))


@pytest.mark.slow
@pytest.mark.parametrize("ship", [pytest.param("sqlite", marks=pytest.mark.storm), POSTGRES], indirect=True)
def test_pipelines_of_all_kinds_survive_that_everything_is_killed_once(ship: Ship, tmp_path: Path):
    survive(ship, tmp_path / "storm", list(ship.victims), random.Random(3))
    assert_the_log_is_whole(ship)


@pytest.mark.storm
@pytest.mark.parametrize("ship", ["sqlite", POSTGRES], indirect=True)
def test_pipelines_of_all_kinds_survive_a_storm_of_kills(
    ship: Ship, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    chance, until, killed = random.Random(5), time.monotonic() + LONG, Counter[str]()
    often = [name for name in ship.victims if name not in TWICE]
    for number in range(10_000):
        victims = [*TWICE, *(chance.choice(often) for _ in range(8))]
        chance.shuffle(victims)
        killed += survive(ship, tmp_path / f"storm {number}", victims, chance)
        if time.monotonic() > until:
            break
    assert_the_log_is_whole(ship)
    with capsys.disabled():
        killed["host"] = ship.hosts_killed
        print(f"\nkilled under {3 * number + 3} pipelines: {dict(killed)}")
    assert ship.hosts_killed > 0
