"""A pipeline function hosted by an agent, killed in the middle: it goes on where it stood, and nothing runs twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House
from tests.support.waiting import wait_until

SCRIPT = """
import os, sys, time
from pathlib import Path
from foldline import PipelineDecorator

FOLDER = Path(sys.argv[1])


def note(file, text):
    with open(FOLDER / file, "a") as written:
        written.write(f"{text}\\n")


@PipelineDecorator.component(return_values=["value"])
def work(name, gate, *, after=None):
    note("steps", name)
    while not (FOLDER / gate).exists():
        time.sleep(0.02)
    return f"{name} done"


@PipelineDecorator.pipeline(name="killed", project="kills", return_value="result", default_queue="default")
def pipeline(rounds: int = 2):
    note("hosts", os.getpid())
    quick = work("quick", "open")
    slow = work("slow", "gate")
    values = [str(quick)]
    for number in range(rounds):
        values.append(str(work(f"round {number}", "gate", after=slow)))
    last = OTHER if os.environ.get("FOLDLINE_ATTEMPT") != "1" else "last"
    return [*values, str(work(last, "end"))]


pipeline()
note("trailing", "the host's script goes on")
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house")) as house:
        house.serve()
        house.agent("-q", "default", "--slots", "4")
        yield house


class Services:
    """The agent that hosts pipelines; started again under its name, it is known that what it ran is lost."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.start()

    def start(self) -> None:
        self._agent = self._house.python("services", "-m", "foldline", "agent", "start", "--services", "--name", "s")

    def kill(self) -> None:
        self._agent.kill()
        self._agent.wait()

    def stop(self) -> None:
        self._agent.terminate()
        self._agent.wait(30)


@pytest.fixture
def services(house: House) -> Iterator[Services]:
    services = Services(house)
    yield services
    services.stop()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def submit(house: House, folder: Path, other: str = "last") -> str:
    """The id of a run whose first host and whose step 'slow' are under way."""
    (folder / "pipeline.py").write_text(SCRIPT.replace("OTHER", repr(other)))
    (folder / "open").touch()
    done = subprocess.run(
        [sys.executable, "pipeline.py", str(folder)],
        env=house.env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split("(")[1].split(")")[0]
    wait_until(lambda: "slow" in lines(folder / "steps") and "quick" in lines(folder / "steps"), "the steps", 90)
    wait_until(lambda: steps(house, run_id)["work"]["status"] == "completed", "the quick step's end", 60)
    return run_id


def steps(house: House, run_id: str) -> dict[str, Any]:
    return house.steps(run_id)


def assert_it_went_on(house: House, folder: Path, run_id: str, hosts: int) -> None:
    (folder / "end").touch()
    ended = house.wait(run_id, 120)
    assert ended["status"] == "completed", ended["reason"]
    task = house.client.tasks.get(run_id)
    stored = house.client.blobs.read(task["artifacts"]["result"]["sha256"])
    assert [word.strip(' ",') for word in stored.decode().splitlines()[1:-1]] == [
        "quick done",
        "round 0 done",
        "round 1 done",
        "last done",
    ]
    assert sorted(lines(folder / "steps")) == ["last", "quick", "round 0", "round 1", "slow"], "each step ran once"
    assert len(lines(folder / "hosts")) == hosts
    verified = house.client.runs.verify(run_id)
    assert verified["ok"], verified["differences"]


def test_a_killed_host_goes_on_in_another_process(house: House, services: Services, tmp_path: Path):
    run_id = submit(house, tmp_path)
    services.kill()
    os.kill(int(lines(tmp_path / "hosts")[0]), signal.SIGKILL)
    services.start()
    wait_until(lambda: len(lines(tmp_path / "hosts")) == 2, "another host", 90)
    (tmp_path / "gate").touch()
    assert_it_went_on(house, tmp_path, run_id, hosts=2)
    assert lines(tmp_path / "trailing") == ["the host's script goes on"]


def test_a_killed_agents_host_is_replaced_though_it_lives(house: House, services: Services, tmp_path: Path):
    run_id = submit(house, tmp_path)
    services.kill()
    services.start()
    wait_until(lambda: len(lines(tmp_path / "hosts")) == 2, "another host", 90)
    (tmp_path / "gate").touch()
    assert_it_went_on(house, tmp_path, run_id, hosts=2)


def test_a_host_that_makes_another_call_fails_the_run_and_names_both(house: House, services: Services, tmp_path: Path):
    run_id = submit(house, tmp_path, other="something else")
    (tmp_path / "gate").touch()
    wait_until(lambda: "work_4" in steps(house, run_id), "the last call", 60)
    services.kill()
    os.kill(int(lines(tmp_path / "hosts")[0]), signal.SIGKILL)
    services.start()
    ended = house.wait(run_id, 120)
    assert ended["status"] == "failed"
    assert "call 5 of the pipeline function was of component 'work', as step 'work_4'" in ended["reason"]
    assert "is a call of component 'work' with other arguments now" in ended["reason"]
