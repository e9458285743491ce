"""Who wants to know that the log has grown."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Call = Callable[[int, int], None]


class Signals:
    """The subscribers of one store. Each head is announced once, whoever notices it first."""

    def __init__(self, shards: int) -> None:
        self._heads = [0] * shards
        self._calls: dict[object, Call] = {}
        self._mutex = threading.Lock()

    def subscribe(self, call: Call) -> Callable[[], None]:
        ticket = object()
        with self._mutex:
            self._calls[ticket] = call

        def end() -> None:
            with self._mutex:
                self._calls.pop(ticket, None)

        return end

    def announce(self, shard: int, head: int) -> bool:
        """Tell everybody, unless they have been told. Returns whether it was news."""
        with self._mutex:
            if head <= self._heads[shard]:
                return False
            self._heads[shard] = head
            calls = list(self._calls.values())
        for call in calls:
            try:
                call(shard, head)
            except Exception:
                log.exception("a subscriber failed at shard %d, position %d", shard, head)
        return True
