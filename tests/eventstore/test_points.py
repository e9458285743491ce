"""What becomes of a point that is armed. That each of them is survived is in tests/e2e/test_crash_points.py."""

import os
import subprocess
import sys

import pytest

from eventstore import points
from eventstore.points import EXIT_CODE
from eventstore.store import StoreUnavailable


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test arms, the next one finds nothing armed."""
    monkeypatch.setattr(points, "reach", points.pass_by)


def reaches(name: str) -> bool:
    """Whether the answer is lost there."""
    try:
        points.reach(name)
    except StoreUnavailable:
        return True
    return False


def test_nothing_happens_where_nothing_is_armed():
    assert not any(reaches(name) for name in points.POINTS)


def test_an_answer_is_lost_once_the_time_that_was_asked_for():
    points.arm("commit.done:3:lost")
    assert [reaches("commit.done") for _ in range(6)] == [False, False, True, False, False, False]


def test_other_points_are_passed_by():
    points.arm("commit.done:lost")
    assert not any(reaches(name) for name in points.POINTS if name != "commit.done")
    assert reaches("commit.done")


def test_the_process_ends_at_once_unless_something_else_is_said():
    code = (
        "import atexit\n"
        "from eventstore import points\n"
        "atexit.register(print, 'tidied up')\n"
        "points.arm('lock.held')\n"
        "points.reach('lock.wanted')\n"
        "print('before', flush=True)\n"
        "points.reach('lock.held')\n"
        "print('after', flush=True)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (ended.returncode, ended.stdout) == (EXIT_CODE, "before\n")


@pytest.mark.parametrize("wrong", ["nowhere", "lock.held:0", "lock.held:2:gone", "lock.held:exit:2", ""])
def test_what_cannot_be_armed_is_refused_with_the_names_that_can(wrong: str):
    with pytest.raises(ValueError, match=r"write point.*commit\.done"):
        points.arm(wrong)
    assert points.reach is points.pass_by
