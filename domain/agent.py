"""An agent: who runs tasks. One session at a time; a new session of the same agent ends the old one."""

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain.refused import Invalid


class AgentRegistered(Struct, frozen=True, kw_only=True, gc=False):
    name: str
    session: str
    queues: Sequence[str]
    slots: int
    services: bool = False
    host: str = ""
    pid: int | None = None
    agent_version: str = ""


class AgentLeft(Struct, frozen=True, kw_only=True, gc=False):
    """It said goodbye: it takes nothing any more and holds nothing."""

    session: str


class AgentLost(Struct, frozen=True, kw_only=True, gc=False):
    """It was not heard of for a whole lease."""

    session: str
    reason: str


AgentEvent = AgentRegistered | AgentLeft | AgentLost


class Agent(Struct, frozen=True, kw_only=True, gc=False):
    id: str
    version: int = 0
    status: str = "absent"
    name: str = ""
    session: str = ""
    queues: tuple[str, ...] = ()
    slots: int = 0
    services: bool = False
    host: str = ""
    registered_at: int | None = None


def register(command: AgentRegistered, agent: Agent) -> Sequence[AgentRegistered]:
    """The event of a new session; none when this session is known. Raises Invalid."""
    if not command.name.strip():
        raise Invalid("An agent needs a name.", "name")
    if not command.queues:
        raise Invalid("An agent needs at least one queue to listen to.", "queues")
    if command.slots < 1:
        raise Invalid("An agent needs at least one slot.", "slots")
    return [] if agent.session == command.session and agent.status == "online" else [command]


def evolve(agent: Agent, event: AgentEvent, at: int) -> Agent:
    version = agent.version + 1
    match event:
        case AgentRegistered():
            return replace(
                agent,
                version=version,
                status="online",
                name=event.name,
                session=event.session,
                queues=tuple(event.queues),
                slots=event.slots,
                services=event.services,
                host=event.host,
                registered_at=at,
            )
        case AgentLeft():
            return replace(agent, version=version, status=_unless_newer(agent, event.session, "left"))
        case AgentLost():
            return replace(agent, version=version, status=_unless_newer(agent, event.session, "lost"))
        case _:
            assert_never(event)


def _unless_newer(agent: Agent, session: str, status: str) -> str:
    """What the end of an older session means for the agent: nothing."""
    return status if session == agent.session else agent.status
