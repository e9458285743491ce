"""Real processes that are stopped, killed and left alone: nobody loses his work by another's fault."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline.client import Client
from tests.support.house import House, free_port, step
from tests.support.waiting import wait_until

LEASE = 2.0
ENV = {"FOLDLINE_SERVER_LEASE": str(LEASE)}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.storm])])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A server that grants short leases."""
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    with House(tmp_path, database, env=ENV) as house:
        house.serve()
        yield house


def begins_and_waits(begun: Path, gate: Path) -> str:
    """Writes down its process's id, and ends when the gate is opened."""
    return (
        f"import os, time; open({str(begun)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    )


@contextlib.contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """As if its machine slept: it does nothing, and whoever talks to it gets no answer."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def statuses(client: Client) -> dict[str, str]:
    return {agent["name"]: agent["status"] for agent in client.agents.list()}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("seconds", [1.5 * LEASE, pytest.param(60.0, marks=pytest.mark.storm)])
def test_who_could_not_reach_the_server_keeps_his_work(house: House, tmp_path: Path, seconds: float):
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    worker, other = (house.agent("-q", queue, "--name", queue) for queue in ("default", "services"))
    run = house.submit(step("kept", begins_and_waits(begun, gate)))
    wait_until(begun.exists, "the step to begin")
    wait_until(lambda: len(statuses(house.client)) == 2, "the other agent to be there: else nobody could find it gone")
    assert house.server is not None
    with stopped(house.server):
        time.sleep(seconds)  # that so much time passes is the point, here and below
    house.client.agents.list()
    house.kill_server()
    time.sleep(seconds)
    house.serve()
    other.kill()
    with stopped(worker):
        time.sleep(LEASE / 2)
    wait_until(lambda: statuses(house.client).get("services") == "lost", "who is gone to be found: leases are judged")
    assert statuses(house.client).get("default") == "online"
    gate.touch()
    assert house.wait(run["id"])["status"] == "completed"
    types = [event["type"] for event in house.client.runs.history(run["id"])]
    assert (types.count("TaskStarted"), types.count("TaskRequeued")) == (1, 0)
    assert len(begun.read_text().splitlines()) == 1


def test_a_killed_agent_is_found_and_its_step_runs_again(house: House, tmp_path: Path):
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    first = house.agent("-q", "default", "--name", "first")
    run = house.submit(step("slow", begins_and_waits(begun, gate)))
    wait_until(begun.exists, "the step to begin")
    first.kill()
    killed_at = time.monotonic()
    house.agent("-q", "default", "--name", "second")
    wait_until(lambda: statuses(house.client).get("first") == "lost", "the agent to be found")
    found_after = time.monotonic() - killed_at
    wait_until(lambda: house.steps(run["id"])["slow"]["attempts"] == 2, "attempt 2")
    gate.touch()
    ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    lost = [event for event in house.client.runs.history(run["id"]) if event["type"] == "TaskRequeued"]
    assert [event["data"]["attempt"] for event in lost] == [1]
    assert "was not heard of" in lost[0]["data"]["reason"]
    assert found_after < LEASE + 5, "found by its lease, not by anything slower"
    assert statuses(house.client) == {"first": "lost", "second": "online"}


def test_an_agent_that_was_stopped_for_too_long_lets_go_of_what_it_lost(house: House, tmp_path: Path):
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    first = house.agent("-q", "default", "--name", "first")
    run = house.submit(step("moved", begins_and_waits(begun, gate)))
    wait_until(begun.exists, "the step to begin")
    with stopped(first):
        house.agent("-q", "default", "--name", "second")
        wait_until(lambda: len(begun.read_text().splitlines()) == 2, "attempt 2 to begin")
        before = house.client.runs.history(run["id"])
    wait_until(lambda: statuses(house.client).get("first") == "online", "the first one to come back")
    one, two = map(int, begun.read_text().split())
    wait_until(lambda: not is_alive(one), "attempt 1 to be ended")
    assert is_alive(two)
    assert [event["position"] for event in house.client.runs.history(run["id"])] == [
        event["position"] for event in before
    ]
    gate.touch()
    assert house.wait(run["id"])["status"] == "completed"
    assert house.steps(run["id"])["moved"]["attempts"] == 2
    verified = house.client.runs.verify(run["id"])
    assert verified["ok"], verified["differences"]


@pytest.mark.storm
def test_a_run_goes_on_through_the_other_server(postgres_url: str, tmp_path: Path):
    """Two servers on one database, an agent at each; the one at which the run was submitted is killed."""
    with House(tmp_path, postgres_url, env=ENV) as house:
        house.serve()
        port = free_port()
        house.python(
            "other", "-m", "api", "serve", "--db", postgres_url, "--data", str(house.data), "--port", str(port)
        )
        with contextlib.closing(Client(f"http://127.0.0.1:{port}")) as other:
            wait_until(other.ready, "the other server to be ready")
            house.agent("-q", "default", "--name", "here", "--slots", "2")
            house.agent("-q", "default", "--name", "there", "--slots", "2", url=f"http://127.0.0.1:{port}")
            wait_until(lambda: statuses(other) == {"here": "online", "there": "online"}, "both agents")
            run = house.submit(*joined(width=4, depth=4))
            wait_until(lambda: len(completed(other, run["id"])) >= 5, "some steps to end")
            house.kill_server()
            ended = other.runs.wait(run["id"], 60)
            assert ended["status"] == "completed", ended["reason"]
            history = list(other.runs.history(run["id"]))
            assert [event["run_version"] for event in history] == list(range(1, len(history) + 1))
            names = completed(other, run["id"])
            assert sorted(names) == sorted({*names})
            assert len(names) == 16
            verified = other.runs.verify(run["id"])
            assert verified["ok"], verified["differences"]
            house.serve()
            wait_until(lambda: statuses(other) == {"here": "online", "there": "online"}, "both agents again")


def joined(width: int, depth: int) -> list[dict]:
    """`depth` layers of `width` short steps, each waiting for all of the layer before it."""
    steps, before = [], []
    for layer in range(depth):
        names = [f"l{layer} s{number}" for number in range(width)]
        steps += [step(name, "import time; time.sleep(0.1)", parents=before) for name in names]
        before = names
    return steps


def completed(client: Client, run_id: str) -> list[str]:
    return [event["subject"] for event in client.runs.history(run_id) if event["type"] == "TaskCompleted"]
