"""What tasks draw: a row for each picture, figure or table, whose bytes are a blob or lie elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from eventstore.dialects import Dialect
from eventstore.schema import plot


class PlotKey(NamedTuple):
    """What tells one plot of a task from the others."""

    title: str
    series: str
    iteration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    title: str
    series: str
    iteration: int
    kind: str  # plotly, table, image, media, text, html
    digest: str | None  # SHA-256 of the blob; None when the bytes lie elsewhere
    filename: str
    url: str
    size: int | None  # in bytes, None when nobody said
    reported_at: int = 0  # microseconds since 1970, stamped by `add`

    @property
    def key(self) -> PlotKey:
        return PlotKey(self.title, self.series, self.iteration)


FIELDS = ("title", "series", "iteration", "kind", "digest", "filename", "url", "size", "reported_at")
COLUMNS = tuple(plot.c[name] for name in FIELDS)
KEY = tuple(plot.c[name] for name in PlotKey._fields)


class Plots:
    def __init__(self, database: Dialect) -> None:
        self._database = database
        insert = postgresql_insert if database.name == "postgresql" else sqlite_insert
        rows = insert(plot)
        keys = [column.name for column in plot.primary_key.columns]
        self._upsert = rows.on_conflict_do_update(
            index_elements=keys,
            set_={column.name: rows.excluded[column.name] for column in plot.columns if column.name not in keys},
        )

    def add(self, task_id: str, one: Plot, *, keep: int | None = None) -> None:
        """Keep the plot; one of the same key takes the older one's place.

        With `keep`, only so many plots of its title and series stay: those of the highest iterations.
        """
        row = {name: getattr(one, name) for name in FIELDS} | {"reported_at": time.time_ns() // 1000}
        with self._database.writing(durable=False) as connection:
            connection.execute(self._upsert, [{"task_id": task_id, **row}])
            if keep is not None:
                connection.execute(delete(plot).where(*_older(task_id, one, keep)))

    def of(self, task_id: str, key: PlotKey) -> Plot | None:
        wanted = select(*COLUMNS).where(plot.c.task_id == task_id, *_equal(key._asdict()))
        with self._database.reading() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else Plot(**row)

    def page(
        self,
        task_id: str,
        *,
        title: str | None = None,
        series: str | None = None,
        kind: str | None = None,
        after: PlotKey | None = None,
        limit: int,
    ) -> Sequence[Plot]:
        """At most `limit` of the task's plots, by title, series and iteration, behind `after`."""
        asked = {"title": title, "series": series, "kind": kind}
        wanted = select(*COLUMNS).where(
            plot.c.task_id == task_id, *_equal({name: value for name, value in asked.items() if value is not None})
        )
        if after is not None:
            wanted = wanted.where(tuple_(*(literal(value) for value in after)) < tuple_(*KEY))
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(*KEY).limit(limit)).mappings().all()
        return [Plot(**row) for row in rows]


def _older(task_id: str, one: Plot, keep: int) -> list[ColumnElement[bool]]:
    """The conditions of the plots behind the newest `keep` of this title and series."""
    mine = [plot.c.task_id == task_id, plot.c.title == one.title, plot.c.series == one.series]
    newest = select(plot.c.iteration).where(*mine).order_by(plot.c.iteration.desc()).limit(keep)
    return [*mine, plot.c.iteration.not_in(newest)]


def _equal(values: dict[str, Any]) -> list[ColumnElement[bool]]:
    return [plot.c[name] == value for name, value in values.items()]
