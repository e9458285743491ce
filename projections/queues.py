"""The list of queues. What waits in them is counted in the rows of the tasks and runs, when it is asked for."""

from collections.abc import Sequence

from sqlalchemy import Table

from domain.queue import QueueCreated, QueuePaused, QueueResumed
from projections.projection import Page, never_created
from projections.sheet import Desk
from projections.tables import queue_row

KINDS = (QueueCreated, QueuePaused, QueueResumed)


class Queues:
    name = "queues"
    version = 2
    tables: Sequence[Table] = (queue_row,)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        rows = desk.load(queue_row.c.name, page.begun_before())
        for entry in page:
            if isinstance(entry.event, QueueCreated):
                made = {"name": entry.event.name, "position": entry.position, "created_at": entry.at}
                rows.put({**made, "paused_at": None, "paused_by": "", "pause_reason": ""})
                continue
            row = rows.change(entry.id)
            if row is None:
                raise never_created(entry, "queue")
            if isinstance(entry.event, QueuePaused):
                row.update(paused_at=entry.at, paused_by=entry.event.actor, pause_reason=entry.event.reason)
            elif isinstance(entry.event, QueueResumed):
                row.update(paused_at=None, paused_by="", pause_reason="")
