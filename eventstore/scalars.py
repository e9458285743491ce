"""The numbers that tasks report while they run: one value for each title, series and iteration."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from eventstore.dialects import Dialect
from eventstore.schema import scalar

# The iteration of a number that has none, such as a final accuracy: no point of any curve.
SINGLE: Final = -(2**31)


class Point(NamedTuple):
    title: str
    series: str
    iteration: int
    value: float | None  # None is kept for what is no finite number
    ago: float = 0.0  # seconds that it was made before it is added


class Sample(NamedTuple):
    """One point of a curve, or several in one."""

    iteration: int
    value: float | None
    at: int  # microseconds since 1970


@dataclass(frozen=True, slots=True)
class Summary:
    """One series: its value at the highest iteration, and over all. None where there was no finite number."""

    last: float | None
    min: float | None
    max: float | None
    iteration: int
    count: int


class Scalars:
    def __init__(self, database: Dialect) -> None:
        self._database = database
        insert = postgresql_insert if database.name == "postgresql" else sqlite_insert
        rows = insert(scalar)
        self._upsert = rows.on_conflict_do_update(
            index_elements=[column.name for column in scalar.primary_key.columns],
            set_={"value": rows.excluded.value, "reported_at": rows.excluded.reported_at},
        )

    def add(self, task_id: str, points: Sequence[Point]) -> None:
        """Keep the points; one that is there already takes the new value. A power cut may take the last ones."""
        now = time.time_ns() // 1000
        rows = {
            point[:3]: {
                "task_id": task_id,
                "title": point.title,
                "series": point.series,
                "iteration": point.iteration,
                "value": point.value if point.value is not None and math.isfinite(point.value) else None,
                "reported_at": now - round(point.ago * 1_000_000),
            }
            for point in points
        }
        if rows:
            with self._database.writing(durable=False) as connection:
                # In the order of their keys, so that two transactions cannot wait for one another.
                connection.execute(self._upsert, [rows[key] for key in sorted(rows)])

    def last(self, task_id: str) -> dict[str, dict[str, Summary]]:
        """{title: {series: summary}}"""
        over_all = (
            select(
                scalar.c.title,
                scalar.c.series,
                func.min(scalar.c.value).label("low"),
                func.max(scalar.c.value).label("high"),
                func.max(scalar.c.iteration).label("iteration"),
                func.count().label("count"),
            )
            .where(scalar.c.task_id == task_id)
            .group_by(scalar.c.title, scalar.c.series)
            .subquery()
        )
        summaries = (
            select(
                over_all.c.title,
                over_all.c.series,
                scalar.c.value,
                over_all.c.low,
                over_all.c.high,
                over_all.c.iteration,
                over_all.c["count"],
            )
            .join_from(
                over_all,
                scalar,
                (scalar.c.task_id == task_id)
                & (scalar.c.title == over_all.c.title)
                & (scalar.c.series == over_all.c.series)
                & (scalar.c.iteration == over_all.c.iteration),
            )
            .order_by(over_all.c.title, over_all.c.series)
        )
        found: dict[str, dict[str, Summary]] = {}
        with self._database.reading() as connection:
            for title, series, *numbers in connection.execute(summaries):
                found.setdefault(title, {})[series] = Summary(*numbers)
        return found

    def points(self, task_id: str, title: str, series: str) -> Sequence[tuple[int, float | None]]:
        """(iteration, value) by iteration."""
        wanted = (
            select(scalar.c.iteration, scalar.c.value)
            .where(scalar.c.task_id == task_id, scalar.c.title == title, scalar.c.series == series)
            .order_by(scalar.c.iteration)
        )
        with self._database.reading() as connection:
            return [(iteration, value) for iteration, value in connection.execute(wanted)]

    def curves(self, task_id: str, most: int | None = None) -> dict[str, dict[str, Sequence[Sample]]]:
        """{title: {series: samples by iteration}}, without single values.

        A series of more than `most` points comes as so many windows: the mean of each, at its middle.
        """
        of = (scalar.c.title, scalar.c.series)
        wanted = (
            select(*of, scalar.c.iteration, scalar.c.value, scalar.c.reported_at)
            .where(scalar.c.task_id == task_id, scalar.c.iteration != SINGLE)
            .order_by(*of, scalar.c.iteration)
        )
        found: dict[str, dict[str, Sequence[Sample]]] = {}
        with self._database.reading() as connection:
            for (title, series), rows in groupby(connection.execute(wanted), lambda row: (row.title, row.series)):
                samples = [Sample(*row[2:]) for row in rows]
                found.setdefault(title, {})[series] = _thinned(samples, most) if most else samples
        return found


def _thinned(samples: Sequence[Sample], most: int) -> Sequence[Sample]:
    if len(samples) <= most:
        return samples
    return [_mean(window) for window in _windows(samples, most)]


def _windows(samples: Sequence[Sample], count: int) -> Iterator[Sequence[Sample]]:
    edges = [number * len(samples) // count for number in range(count + 1)]
    return (samples[start:stop] for start, stop in pairwise(edges))


def _mean(window: Sequence[Sample]) -> Sample:
    middle = window[len(window) // 2]
    return middle._replace(value=_average(sample.value for sample in window))


def _average(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return math.fsum(value / len(numbers) for value in numbers) if numbers else None
