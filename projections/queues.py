"""The list of queues. What waits in them is counted in the rows of the tasks, when it is asked for."""

from collections.abc import Sequence

from sqlalchemy import Table

from domain.queue import QueueCreated
from projections.projection import Page
from projections.sheet import Desk
from projections.tables import queue_row


class Queues:
    name = "queues"
    version = 1
    tables: Sequence[Table] = (queue_row,)
    reads = frozenset[type]((QueueCreated,))

    def fold(self, page: Page, desk: Desk) -> None:
        rows = desk.sheet(queue_row)
        for entry in page:
            if isinstance(entry.event, QueueCreated):
                rows.put({"name": entry.event.name, "position": entry.position, "created_at": entry.at})
