"""What has changed on the server since the last look: read from the log, so that nothing is missed or seen twice."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from foldline.client import Client
from foldline.listing import Json

PAGE: Final = 500
# What a run's states are called when it is read as a task.
AS_TASK: Final = {"running": "in_progress", "paused": "in_progress"}


@dataclass
class Changes:
    """Ids of what has changed, in the order in which it did first; of tasks the statuses that they came to."""

    tasks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    models: dict[str, None] = field(default_factory=dict[str, None])
    # Tasks that were published, and their models with them.
    publishing: dict[str, None] = field(default_factory=dict[str, None])
    cursor: str = ""


def head(client: Client) -> str:
    """The present end of the log."""
    return str(client.projections.list()[0]["head"])


def catch_up(client: Client, what: str, cursor: str) -> None:
    """Wait until the list of `what` knows of all events up to there: whoever made them, it follows the log."""
    client.request("GET", what, params={"limit": 1, "min_position": cursor})


def since(client: Client, cursor: str, types: Collection[str], *, without: str | None = None) -> Changes:
    """What events of these types tell; `without` is a task whose own changes are of no interest."""
    changes = Changes(cursor=cursor)
    for event in _events(client, types, changes):
        kind, _, identifier = str(event["stream"]).partition("-")
        if kind not in ("task", "run") or identifier == without:
            continue
        statuses = changes.tasks.setdefault(identifier, set())
        if event["to_state"] and event["to_state"] != event["from_state"]:
            statuses.add(AS_TASK.get(event["to_state"], str(event["to_state"])))
        if event["type"] == "ModelAdded":
            changes.models[str(event["data"]["id"])] = None
        elif event["type"] == "TaskPublished":
            changes.publishing[identifier] = None
    return changes


def _events(client: Client, types: Collection[str], changes: Changes) -> Iterator[Json]:
    """Oldest first, up to the end; the cursor of `changes` follows."""
    while True:
        params = {"after": changes.cursor, "type": sorted(types), "limit": PAGE}
        page: Json = client.request("GET", "events", params=params).json()
        yield from page["items"]
        changes.cursor = page["next_cursor"] or changes.cursor
        if len(page["items"]) < PAGE:
            return
