"""What is ready to be claimed, in memory: the `work` table as a set of heaps."""

from heapq import heappop, heappush
from typing import NamedTuple


class Item(NamedTuple):
    queue: str
    priority: int
    position: int


class Ready:
    """Per queue: highest priority first, then in the order of the log. What is removed is skipped when it comes up."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._heaps: dict[str, list[tuple[int, int, str]]] = {}
        self._lengths: dict[str, int] = {}

    def put(self, task_id: str, item: Item) -> None:
        self.remove(task_id)
        self._items[task_id] = item
        self._lengths[item.queue] = self._lengths.get(item.queue, 0) + 1
        heappush(self._heaps.setdefault(item.queue, []), (-item.priority, item.position, task_id))

    def remove(self, task_id: str) -> None:
        item = self._items.pop(task_id, None)
        if item is not None:
            self._lengths[item.queue] -= 1

    def first(self, queue: str) -> str | None:
        """The task that comes next in `queue`."""
        heap = self._heaps.get(queue, [])
        while heap:
            priority, position, task_id = heap[0]
            if self._items.get(task_id) == (queue, -priority, position):
                return task_id
            heappop(heap)
        return None

    def length(self, queue: str) -> int:
        return self._lengths.get(queue, 0)
