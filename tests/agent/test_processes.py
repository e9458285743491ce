"""Ending real processes: groups, descendants that left them, and strays."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from foldline.agent import processes
from foldline.agent.processes import Started
from foldline.agent.strays import Strays
from tests.agent.canned import DEADLINE, is_gone
from tests.support.waiting import wait_until

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
TREE = """
import subprocess, sys
for own in (False, True):
    child = subprocess.Popen([sys.executable, "-c", {sleep!r}], start_new_session=own, stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
{then}
"""


@pytest.fixture
def python():
    """Start Python code in a session of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code, **environment):
        popen = subprocess.Popen(
            [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, env=os.environ | environment
        )
        started.append(popen)
        return popen

    yield start
    for popen in started:
        popen.kill()
        popen.wait()
        if popen.stdout is not None:
            popen.stdout.close()


def wait_for_end(pid):
    wait_until(lambda: is_gone(pid), f"the end of process {pid}", DEADLINE)


def test_when_the_leader_ends_its_group_is_ended(python):
    leader = python(TREE.format(sleep=SLEEP, then="sys.exit(3)"))
    inside, outside = (int(leader.stdout.readline()) for _ in range(2))
    assert Started(leader).wait() == 3
    wait_for_end(inside)
    os.kill(outside, signal.SIGKILL)  # left the group, so it is the strays' to find
    wait_for_end(outside)


def test_ending_reaches_descendants_that_left_the_group(python):
    leader = python(TREE.format(sleep=SLEEP, then="sys.stdin.read(); import time; time.sleep(60)"))
    pids = [int(leader.stdout.readline()) for _ in range(2)]
    over = threading.Event()
    thread = threading.Thread(target=processes.end, args=(leader.pid, over, DEADLINE))
    thread.start()
    assert Started(leader).wait() == -signal.SIGTERM
    over.set()
    thread.join()
    for pid in pids:
        wait_for_end(pid)


def test_what_ignores_sigterm_is_killed(python):
    leader = python("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP)
    leader.stdout.readline()
    processes.end(leader.pid, threading.Event(), 0.05)
    assert Started(leader).wait() == -signal.SIGKILL


def test_what_has_ended_is_left_alone(python):
    leader = python(SLEEP)
    leader.stdout.readline()
    over = threading.Event()
    over.set()
    processes.end(leader.pid, over, 0.0)
    assert leader.poll() is None


MARKS = {"FOLDLINE_SESSION": "s1", "FOLDLINE_TASK_ID": "a", "FOLDLINE_ATTEMPT": "1"}


def started(python, **environment):
    popen = python(SLEEP, **environment)
    popen.stdout.readline()
    return popen


def test_a_stray_is_ended_when_its_attempt_does_not_run_any_more(python):
    stray = started(python, **MARKS)
    strays = Strays("s1")
    assert strays.sweep({("a", 1)}) == []
    assert stray.poll() is None
    assert strays.sweep({("a", 2)}) == [stray.pid]
    assert stray.wait(DEADLINE) == -signal.SIGKILL
    assert strays.sweep() == []


@pytest.mark.parametrize(
    "environment",
    [MARKS | {"FOLDLINE_SESSION": "s2"}, {"FOLDLINE_SESSION": "s1"}],
    ids=["another session's", "a spawner"],
)
def test_what_is_no_attempt_of_ours_is_left_alone(python, environment):
    other = started(python, **environment)
    assert Strays("s1").sweep() == []
    assert other.poll() is None
