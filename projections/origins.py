"""What tasks made from inside their processes: tasks that they created or enqueued, runs that they submitted."""

from collections.abc import Sequence

from sqlalchemy import Table

from domain.run_events import RunCreated
from domain.task import TaskCreated, TaskEnqueued
from projections.projection import Page
from projections.sheet import Desk
from projections.tables import made_row, origin_row

KINDS = (TaskCreated, TaskEnqueued, RunCreated)


class Origins:
    name = "origins"
    version = 1
    tables: Sequence[Table] = (origin_row, made_row)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        named = {entry.event.origin for entry in page.entries if isinstance(entry.event, KINDS) and entry.event.origin}
        origins = desk.load(origin_row.c.id, named)
        made = desk.load(made_row.c.origin, named)
        for entry in page:
            if not isinstance(entry.event, KINDS) or entry.event.origin is None:
                continue
            origin = entry.event.origin
            kind = "run" if isinstance(entry.event, RunCreated) else "task"
            if origin not in origins.rows:
                origins.put({"id": origin, "position": entry.position})
            if (origin, entry.id) not in made.rows:
                made.put({"origin": origin, "id": entry.id, "kind": kind, "position": entry.position})
