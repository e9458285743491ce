"""The list of agents, as domain.agent folds them. When one was last heard of is no event: its lease says so."""

from collections.abc import Sequence

from sqlalchemy import Table

from domain.agent import AgentLeft, AgentLost, AgentRegistered
from eventstore.codec import encode
from projections.projection import Entry, Page, never_created
from projections.sheet import Desk, Row
from projections.tables import agent_row

KINDS = (AgentRegistered, AgentLeft, AgentLost)
MOST_SLOTS = 2**63 - 1  # what the column holds


class Agents:
    name = "agents"
    version = 1
    tables: Sequence[Table] = (agent_row,)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        rows = desk.load(agent_row.c.id, page.begun_before())
        for entry in page:
            row = rows.change(entry.id)
            if isinstance(entry.event, AgentRegistered):
                rows.put(_registered(entry, entry.event, first=row["position"] if row else entry.position))
                continue
            if row is None:
                raise never_created(entry, "agent")
            row["version"] = entry.version
            _end(row, entry)


def _end(row: Row, entry: Entry) -> None:
    event = entry.event
    if not isinstance(event, AgentLeft | AgentLost) or event.session != row["session"]:
        return  # the end of an older session means nothing for the agent
    row.update(status="left", changed_at=entry.at)
    if isinstance(event, AgentLost):
        row.update(status="lost", reason=event.reason)


def _registered(entry: Entry, event: AgentRegistered, *, first: int) -> Row:
    return {
        "id": entry.id,
        "position": first,
        "version": entry.version,
        "name": event.name,
        "status": "online",
        "reason": "",
        "session": event.session,
        "queues": encode(event.queues),
        "slots": min(event.slots, MOST_SLOTS),
        "services": event.services,
        "host": event.host,
        "agent_version": event.agent_version,
        "registered_at": entry.at,
        "changed_at": entry.at,
    }
