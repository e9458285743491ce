"""Server-sent events that resume by themselves from the last id they saw."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import httpx2

    from foldline.client import Client

# The server pings every 15 s: a connection silent for longer than three of them is dead.
SILENCE: Final = 50.0

log = logging.getLogger("foldline")

# Of our own: what the user's script draws from a seeded `random` must not depend on our requests.
_chance = random.Random()


def follow(
    client: "Client", path: str, params: Callable[[str], Mapping[str, Any]], since: str
) -> "Iterator[httpx2.ServerSentEvent]":
    """Events from `since` on, until one of the type "end" has come. `params(id)` asks for what follows an id."""
    import httpx2

    reached, wait = since, 0.1
    while True:
        try:
            headers = {"Accept": "text/event-stream"}
            with client.stream(path, params=params(reached), headers=headers, silence=SILENCE) as response:
                for event in httpx2.EventSource(response, max_event_size=None):
                    wait = 0.1
                    reached = event.id or reached
                    yield event
                    if event.event == "end":
                        return
        except httpx2.TransportError as why:
            log.debug("%s broke off after %r (%s); resuming", path, reached, why)
        time.sleep(wait * _chance.uniform(0.5, 1.0))
        wait = min(wait * 2, 5.0)
