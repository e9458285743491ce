"""When a job is due: minute, hour, day, weekdays, month and year as ClearML means them, without its drift."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.automation.scheduler_times import WEEKDAYS, Timing, due, next_run, verify

MONDAY = datetime(2026, 11, 23, 10, 20, tzinfo=UTC)


def upcoming(timing: Timing, count: int, started: datetime = MONDAY) -> list[str]:
    """The first times, each the one behind the last."""
    found: list[str] = []
    last = None
    while len(found) < count and (last := next_run(timing, started=started, last=last)) is not None:
        found.append(last.strftime("%a %Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"minute": 15}, ["Mon 2026-11-23 10:35", "Mon 2026-11-23 10:50"], id="every 15 minutes"),
        pytest.param({"hour": 1}, ["Mon 2026-11-23 11:00", "Mon 2026-11-23 12:00"], id="every hour"),
        pytest.param({"hour": 1, "minute": 30}, ["Mon 2026-11-23 10:30", "Mon 2026-11-23 11:30"], id="at half past"),
        pytest.param({"hour": 1, "minute": 10}, ["Mon 2026-11-23 11:10"], id="this hour's has passed"),
        pytest.param({"hour": 5}, ["Mon 2026-11-23 15:00", "Mon 2026-11-23 20:00", "Tue 2026-11-24 01:00"], id="5 h"),
        pytest.param(
            {"day": 1, "hour": 22, "minute": 30}, ["Mon 2026-11-23 22:30", "Tue 2026-11-24 22:30"], id="every day"
        ),
        pytest.param({"day": 2, "hour": 7}, ["Wed 2026-11-25 07:00", "Fri 2026-11-27 07:00"], id="every other day"),
        pytest.param({"day": 2, "hour": 11}, ["Mon 2026-11-23 11:00", "Wed 2026-11-25 11:00"], id="still today"),
        pytest.param(
            {"day": 0, "hour": 8, "minute": 30, "weekdays": ["saturday"]},
            ["Sat 2026-11-28 08:30", "Sat 2026-12-05 08:30"],
            id="every Saturday",
        ),
        pytest.param(
            {"day": 1, "hour": 11, "weekdays": ["wednesday", "monday"]},
            ["Mon 2026-11-23 11:00", "Wed 2026-11-25 11:00", "Mon 2026-11-30 11:00"],
            id="weekdays in any order",
        ),
        pytest.param({"day": 0, "weekdays": ["monday"]}, ["Mon 2026-11-30 00:00"], id="midnight has passed"),
        pytest.param(
            {"hour": 10, "weekdays": ["saturday", "sunday"]},
            ["Sat 2026-11-28 10:00", "Sat 2026-11-28 20:00", "Sun 2026-11-29 10:00", "Sun 2026-11-29 20:00"],
            id="intervals within days",
        ),
        pytest.param(
            {"hour": 2, "weekdays": ["monday"]},
            ["Mon 2026-11-23 12:00", "Mon 2026-11-23 14:00"],
            id="intervals within today",
        ),
        pytest.param({"month": 1, "day": 5}, ["Sat 2026-12-05 00:00", "Tue 2027-01-05 00:00"], id="every month"),
        pytest.param({"month": 1, "day": 25}, ["Wed 2026-11-25 00:00", "Fri 2026-12-25 00:00"], id="still this month"),
        pytest.param(
            {"month": 1, "day": 31},
            ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00", "Sun 2027-02-28 00:00"],
            id="the last of a month that is too short",
        ),
        pytest.param({"month": 4}, ["Mon 2027-03-01 00:00", "Thu 2027-07-01 00:00"], id="every 4 months"),
        pytest.param(
            {"month": 1, "weekdays": ["friday"], "hour": 6},
            ["Fri 2026-12-04 06:00", "Fri 2027-01-01 06:00"],
            id="the first Friday of a month",
        ),
        pytest.param(
            {"year": 1, "month": 3, "day": 4}, ["Thu 2027-03-04 00:00", "Sat 2028-03-04 00:00"], id="every year"
        ),
        pytest.param({"year": 2, "month": 12}, ["Tue 2026-12-01 00:00", "Fri 2028-12-01 00:00"], id="every 2 years"),
        pytest.param({"year": 2027, "month": 2, "day": 3, "hour": 4}, ["Wed 2027-02-03 04:00"], id="a date, once"),
        pytest.param({"year": 2027, "weekdays": ["monday"]}, ["Mon 2027-01-04 00:00"], id="the first Monday of a year"),
        pytest.param({"year": 2026, "month": 11, "day": 22}, [], id="a date that has passed"),
    ],
)
def test_when_it_runs(given: dict[str, Any], expected: list[str]):
    timing = Timing(**given)
    verify(timing)
    assert upcoming(timing, max(1, len(expected))) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, "was not provided", id="nothing"),
        pytest.param({"day": 0}, "was not provided", id="no day"),
        pytest.param({"minute": 0.5}, "`minute` must be a whole number", id="half a minute"),
        pytest.param({"hour": -1}, "`hour` must be a whole number", id="negative"),
        pytest.param({"minute": True}, "`minute` must be a whole number", id="no number"),
        pytest.param({"weekdays": ["mon"], "day": 0}, "no weekday 'mon'", id="no weekday"),
        pytest.param({"weekdays": ["monday"], "day": 2}, "`day` is 0 or 1", id="weekdays and every other day"),
        pytest.param({"weekdays": ["monday"]}, "give day=0", id="weekdays alone"),
        pytest.param({"weekdays": ["monday"], "hour": 24}, "less than a day", id="no interval within a day"),
        pytest.param({"day": 1, "hour": 24}, "0 to 23, not 24", id="no hour of the day"),
        pytest.param({"month": 1, "minute": 60}, "0 to 59, not 60", id="no minute of the hour"),
        pytest.param({"month": 1, "day": 32}, "1 to 31, not 32", id="no day of the month"),
        pytest.param({"year": 1, "month": 13}, "1 to 12, not 13", id="no month of the year"),
        pytest.param({"year": 1999}, "a year from 2001 on", id="neither a year nor a number of years"),
    ],
)
def test_what_is_no_time(given: dict[str, Any], expected: str):
    with pytest.raises(ValueError, match=expected):
        verify(Timing(**given))


def test_one_time_only():
    every = Timing(minute=10)
    first = next_run(every, started=MONDAY, last=None, recurring=False)
    assert first == MONDAY + timedelta(minutes=10)
    assert next_run(every, started=MONDAY, last=first, recurring=False) is None


def test_at_once_and_then_as_ever():
    every = Timing(minute=10)
    assert next_run(every, started=MONDAY, last=None, immediately=True) == MONDAY
    assert due(every, started=MONDAY, last=None, now=MONDAY, immediately=True) == MONDAY
    assert next_run(every, started=MONDAY, last=MONDAY, immediately=True) == MONDAY + timedelta(minutes=10)


def test_of_what_was_missed_the_last_counts():
    every, now = Timing(minute=10), MONDAY + timedelta(days=3, minutes=5)
    found = due(every, started=MONDAY, last=None, now=now)
    assert found == MONDAY + timedelta(days=3)
    assert due(every, started=MONDAY, last=found, now=now) is None


small = st.integers(1, 40)
days = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True)
hours, minutes = st.integers(0, 23), st.integers(0, 59)
timings = st.one_of(
    st.builds(Timing, minute=st.integers(1, 3000)),
    st.builds(Timing, hour=small, minute=st.none() | minutes),
    st.builds(Timing, day=small, hour=hours, minute=minutes),
    st.builds(Timing, day=st.integers(0, 1), weekdays=days, hour=hours, minute=minutes),
    st.builds(Timing, weekdays=days, hour=st.integers(1, 23), minute=minutes),
    st.builds(Timing, month=st.integers(1, 15), day=st.integers(1, 31), hour=hours),
    st.builds(Timing, year=st.integers(1, 3), month=st.integers(1, 12), day=st.integers(1, 31)),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
pauses = st.lists(st.timedeltas(timedelta(seconds=1), timedelta(days=500)), min_size=1, max_size=8)


@given(timings, moments, pauses)
def test_however_seldom_it_is_looked_at_each_time_is_met_once_and_in_order(
    timing: Timing, started: datetime, between: list[timedelta]
):
    verify(timing)
    now, last, met = started, None, list[datetime]()
    for pause in between:
        now += pause
        announced = next_run(timing, started=started, last=last)
        assert announced is not None
        found = due(timing, started=started, last=last, now=now)
        if found is None:
            assert announced > now
            continue
        # It is one of its times, none is between it and now, and the next look finds nothing.
        assert announced <= found <= now
        last = found
        met.append(found)
        following = next_run(timing, started=started, last=last)
        assert following is not None
        assert following > now
        assert due(timing, started=started, last=last, now=now) is None
    assert all(one < other for one, other in pairwise([started, *met]))


@given(timings, moments)
def test_looking_late_meets_no_time_that_looking_always_does_not(timing: Timing, started: datetime):
    always = [started]
    while len(always) < 6:
        following = next_run(timing, started=started, last=always[-1])
        assert following is not None
        always.append(following)
    assert due(timing, started=started, last=always[1], now=always[5]) == always[5]
    assert due(timing, started=started, last=None, now=always[4]) == always[4]
