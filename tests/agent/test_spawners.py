"""How long spawners live."""

import os
import threading

import pytest

from foldline.agent import spawners
from foldline.agent.spawners import IDLE, Order, Spawners
from foldline.agent.workspace import shared_environment
from tests.agent.canned import DEADLINE, is_gone
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not spawners.FORK_IS_SAFE, reason="functions are never forked on this system")


@pytest.fixture
def house(tmp_path):
    house = Spawners(tmp_path, shared_environment("http://127.0.0.1:9", "", "s" * 32))
    yield house
    house.close()


@pytest.fixture
def fork(house, tmp_path):
    """Fork a child that prints its parent and ends; returns the parent, the spawner."""

    def fork(module="module"):
        file = tmp_path / f"{module}.py"
        file.write_text("import os\ndef who(): print(os.getppid())")
        script = {"entry_point": file.name, "function": "who", "working_dir": "."}
        output = tmp_path / "log"
        output.write_text("")
        order = Order({"id": "a" * 32, "script": script, "hyperparameters": {}}, output, tmp_path, {})
        child = house.fork(tmp_path, order, threading.Event())
        assert child.wait() == 0, output.read_text()
        return int(output.read_text())

    return fork


def test_a_spawner_is_kept_for_the_next_attempt(house, fork):
    first = fork()
    house.end_idle()
    assert fork() == first


def test_an_idle_spawner_is_ended_and_started_again_when_needed(house, fork):
    first = fork()
    house.end_idle(idle=0.0)
    wait_until(lambda: is_gone(first), "the end of the spawner", DEADLINE)
    assert fork() != first


def test_of_too_many_idle_spawners_the_longest_idle_go(house, fork):
    oldest, older, newest = fork("a"), fork("b"), fork("c")
    assert fork("a") == oldest, "used again, it is the newest now"
    house.end_idle(IDLE, most=2)
    wait_until(lambda: is_gone(older), "the end of the longest idle", DEADLINE)
    assert not is_gone(newest)
    assert not is_gone(oldest)


def test_all_end_with_the_agent(house, fork):
    spawner = fork()
    house.close()
    wait_until(lambda: is_gone(spawner), "the end of the spawner", DEADLINE)


def test_a_forked_attempt_is_no_child_of_the_agent(fork):
    assert fork() != os.getpid()
