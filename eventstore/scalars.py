"""The numbers that tasks report while they run: one value for each title, series and iteration."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from eventstore.dialects import Dialect
from eventstore.schema import scalar


class Point(NamedTuple):
    title: str
    series: str
    iteration: int
    value: float | None  # None is kept for what is no finite number


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
                "reported_at": now,
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
