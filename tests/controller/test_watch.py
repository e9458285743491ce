"""For how long a server could have been heard of: what counts, and what begins the count anew."""

import pytest

from controller.watch import Watch
from tests.controller.server import Clock


class Looks:
    """A watch that is looked at once a second, beside a database whose clock is asked each time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.watch = Watch(1.0, self.clock.monotonic)

    def for_seconds(self, seconds: int, waiting: float = 0.0) -> "Looks":
        """`waiting`: of each second, how long the database took to answer after it had looked at its clock."""
        for _ in range(seconds):
            self.clock.passes(1 - waiting)
            asked, said = self.clock.monotonic(), self.clock.database()
            self.clock.passes(waiting)
            self.watch.compare(asked, said)
        return self

    def judges(self, *leases: float) -> list[bool]:
        return [self.watch.may_judge(lease) for lease in leases]


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_who_has_never_looked_judges_nobody(looks):
    assert looks.judges(0, 1) == [False, False]


def test_the_count_begins_with_the_first_look(looks):
    assert looks.for_seconds(10).judges(9, 10) == [True, False]
    assert looks.for_seconds(1).judges(10, 11) == [True, False]


def test_a_pause_counts_for_the_leases_in_which_two_heartbeats_would_have_been_missed(looks):
    looks.for_seconds(100).clock.passes(4)
    assert looks.for_seconds(1).judges(1, 10, 13, 14, 60) == [False, False, False, True, True]
    assert looks.for_seconds(10).judges(1, 10, 13) == [True, True, False]


def test_a_longer_pause_is_not_forgotten_over_a_shorter_one(looks):
    looks.for_seconds(100).clock.passes(30)
    looks.for_seconds(5).clock.passes(4)
    assert looks.for_seconds(20).judges(10, 20, 40) == [True, True, False]
    assert looks.for_seconds(16).judges(40, 60) == [True, False]


@pytest.mark.parametrize("seconds", [-3600, -20, -2, 2, 20, 3600])
def test_a_clock_that_was_set_begins_the_count_anew(looks, seconds):
    looks.for_seconds(100).clock.is_set_by(seconds)
    assert looks.for_seconds(10).judges(9, 10) == [True, False]


def test_clocks_that_part_slowly_are_none_that_were_set(looks):
    for _ in range(100):
        looks.clock.is_set_by(0.5)
        looks.for_seconds(1)
    assert looks.judges(60) == [True]


def test_a_database_that_takes_its_time_has_not_been_set(looks):
    looks.for_seconds(50).for_seconds(1, waiting=0.99).for_seconds(1).for_seconds(1, waiting=0.99)
    assert looks.judges(50) == [True]


def test_whatever_else_the_caller_notices_begins_the_count_anew(looks):
    looks.for_seconds(100).watch.begin_anew()
    assert looks.judges(1) == [False]
    assert looks.for_seconds(10).judges(9, 10) == [True, False]
