"""When a scheduled job is due: ClearML's minute, hour, day, weekdays, month and year, as a pure function. All in UTC.

The longest unit given says how far apart the runs are, the shorter ones when exactly: `hour=1, minute=30` is every
hour at half past, `day=2, hour=7` every other day at 7:00, `month=1, day=5` the 5th of each month. Of `day=0` or
`day=1` with weekdays the hour is a time of those days; without a day, hour and minute are an interval within them.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# A year from here on is a date; up to LONGEST it is a number of years.
FIRST_YEAR: Final = 2000
LONGEST: Final = 100
DAY: Final = timedelta(days=1)

Kind = Literal["date", "months", "weekdays", "within weekdays", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What was given of the six; 0 is as good as nothing, except for `day` beside weekdays."""

    minute: int | None = None
    hour: int | None = None
    day: int | None = None
    weekdays: Sequence[str] = ()
    month: int | None = None
    year: int | None = None

    @property
    def kind(self) -> Kind:
        if self.year and self.year > FIRST_YEAR:
            return "date"
        if self.year or self.month:
            return "months"
        if self.weekdays:
            return "weekdays" if self.day is not None else "within weekdays"
        return "steps"

    @property
    def once(self) -> bool:
        return self.kind == "date"


def verify(timing: Timing) -> None:
    """Raises ValueError, saying what to give instead, for what is no time."""
    for name in ("minute", "hour", "day", "month", "year"):
        value: object = getattr(timing, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"Schedule `{name}` must be a whole number from 0 on, not {value!r}")
    if unknown := [day for day in timing.weekdays if day not in WEEKDAYS]:
        raise ValueError(f"there is no weekday {unknown[0]!r}: `weekdays` is a list of {', '.join(WEEKDAYS)}")
    if not any((timing.minute, timing.hour, timing.day, timing.month, timing.year, timing.weekdays)):
        raise ValueError("Schedule time/date was not provided: give minute, hour, day, weekdays, month or year")
    if timing.year and LONGEST < timing.year <= FIRST_YEAR:
        raise ValueError(f"`year` is a year from {FIRST_YEAR + 1} on or a number of years up to {LONGEST}")
    if timing.weekdays and timing.kind == "weekdays" and timing.day not in (0, 1):
        raise ValueError("`weekdays` and `day` together: `day` is 0 or 1, and the weekdays say which days")
    if timing.kind == "within weekdays" and not timedelta() < _offset(timing) < DAY:
        raise ValueError(
            "`weekdays` without `day`: `hour` and `minute` are an interval of less than a day within those days; "
            "give day=0 for a time of day"
        )
    _verify_clock(timing)


def next_run(
    timing: Timing, *, started: datetime, last: datetime | None, recurring: bool = True, immediately: bool = False
) -> datetime | None:
    """When it runs next, which may be past; None for never. `last` is the time that its last run was meant for."""
    if last is None:
        return started if immediately else _after(timing, started, started)
    return None if not recurring or timing.once else _after(timing, started, last)


def due(
    timing: Timing,
    *,
    started: datetime,
    last: datetime | None,
    now: datetime,
    recurring: bool = True,
    immediately: bool = False,
) -> datetime | None:
    """The time for which it is to run now; None when it is not. Of several that were missed the last one counts."""
    found = next_run(timing, started=started, last=last, recurring=recurring, immediately=immediately)
    if found is None or found > now:
        return None
    later = _after(timing, started, max(found, now - _longest_gap(timing)))
    while later is not None and later <= now:
        found, later = later, _after(timing, started, later)
    return found


def _verify_clock(timing: Timing) -> None:
    """Where hour and minute are a time of day, and not an interval, they are one that clocks show."""
    if timing.kind in ("date", "months", "weekdays") or timing.day:
        if (timing.hour or 0) > 23:
            raise ValueError(f"`hour` is an hour of the day here, 0 to 23, not {timing.hour}")
        if (timing.minute or 0) > 59:
            raise ValueError(f"`minute` is a minute of the hour here, 0 to 59, not {timing.minute}")
    if timing.kind in ("date", "months") and not 0 <= (timing.day or 1) <= 31:
        raise ValueError(f"`day` is a day of the month here, 1 to 31, not {timing.day}")
    if timing.year and (timing.month or 1) > 12:
        raise ValueError(f"`month` is a month of the year here, 1 to 12, not {timing.month}")


def _after(timing: Timing, started: datetime, moment: datetime) -> datetime | None:
    """The first time behind `moment`, and behind `started`; None when there is none any more."""
    moment = max(moment, started)
    match timing.kind:
        case "date":
            found = _of_month(timing, int(timing.year or 0), timing.month or 1)
            return found if found > moment else None
        case "months":
            return _after_months(timing, started, moment)
        case "weekdays":
            days = (_midnight(moment) + DAY * number for number in range(8))
            times = (day + _offset(timing) for day in days if _named(day) in timing.weekdays)
            return next((found for found in times if found > moment), None)
        case "within weekdays":
            return _after_within(timing, moment)
        case "steps":
            first, step = _steps(timing, started)
            return first if first > moment else first + step * ((moment - first) // step + 1)


def _steps(timing: Timing, started: datetime) -> tuple[datetime, timedelta]:
    """The first time behind `started`, and how far apart they are: today's, if that is still to come."""
    if timing.day:
        first, step = _midnight(started) + _offset(timing), DAY * timing.day
    elif timing.hour:
        hour = started.replace(minute=0, second=0, microsecond=0)
        first, step = hour + timedelta(minutes=timing.minute or 0), timedelta(hours=timing.hour)
    else:
        first, step = started, timedelta(minutes=timing.minute or 0)
    return (first if first > started else first + step), step


def _after_months(timing: Timing, started: datetime, moment: datetime) -> datetime:
    """Counted from the month of `started`, or with a year from the month given, in whole steps."""
    step = 12 * timing.year if timing.year else int(timing.month or 1)
    month = (timing.month or started.month) if timing.year else started.month
    passed = (moment.year - started.year) * 12 + moment.month - month
    number = max(0, passed // step - 1)
    while (found := _of_month(timing, started.year, month + number * step)) <= moment:
        number += 1
    return found


def _after_within(timing: Timing, moment: datetime) -> datetime | None:
    step = _offset(timing)
    for number in range(8):
        day = _midnight(moment) + DAY * number
        found = day + step * max(1, (moment - day) // step + 1)
        if _named(day) in timing.weekdays and found < day + DAY:
            return found
    raise AssertionError("a week has every weekday")


def _of_month(timing: Timing, year: int, month: int) -> datetime:
    """The time in that month, counted on over years: on its last day where it is too short, then a weekday asked."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    day = min(timing.day or 1, monthrange(year, month)[1])
    found = datetime(year, month, day, tzinfo=UTC) + _offset(timing)
    while timing.weekdays and _named(found) not in timing.weekdays:
        found += DAY
    return found


def _longest_gap(timing: Timing) -> timedelta:
    """No two times are further apart."""
    if timing.kind == "months":
        return DAY * 31 * ((12 * timing.year if timing.year else int(timing.month or 1)) + 2)
    if timing.kind == "steps":
        return _steps(timing, datetime(FIRST_YEAR, 1, 1, tzinfo=UTC))[1]
    return DAY * 8


def _offset(timing: Timing) -> timedelta:
    return timedelta(hours=timing.hour or 0, minutes=timing.minute or 0)


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time(), UTC)


def _named(day: datetime) -> str:
    return WEEKDAYS[day.weekday()]
