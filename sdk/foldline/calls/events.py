"""The log itself: every event, in order, from a position on."""

import json
from collections.abc import Iterator, Sequence

from foldline.calls.base import Calls, given
from foldline.listing import Json, Listing
from foldline.live import follow


class Events(Calls):
    def list(
        self,
        *,
        after: str | None = None,
        stream: str | None = None,
        run_id: str | None = None,
        type: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Listing:
        """What has happened after a position, oldest first."""
        return self._list("events", limit, after=after, stream=stream, run_id=run_id, type=type)

    def follow(
        self,
        *,
        after: str | None = None,
        stream: str | None = None,
        run_id: str | None = None,
        type: str | Sequence[str] | None = None,
    ) -> Iterator[Json]:
        """What has happened after a position and then what happens, for as long as it is iterated."""

        def params(reached: str) -> Json:
            return given(after=reached or None, stream=stream, run_id=run_id, type=type)

        for event in follow(self._client, "events", params, after or ""):
            if event.data:
                yield json.loads(event.data)
