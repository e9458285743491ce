"""Whether somebody takes the work: a run says so when one of its queues has no agent."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from api.services import Services
from domain.lifecycle import RUN_ENDED
from domain.queue import QueuePaused
from domain.run import Run
from projections import queries
from projections.runs import step_queues


@dataclass(frozen=True, slots=True)
class Listening:
    """The queues that an agent listens to now, and those that are paused."""

    heard: Set[str] = frozenset()
    paused: Mapping[str, QueuePaused] = field(default_factory=dict[str, QueuePaused])


def listening(services: Services) -> Listening:
    """As of now. A look without the lock."""
    state = services.controller.state
    agents, queues = list(state.agents.values()), list(state.queues.values())
    return Listening(
        {queue for agent in agents if agent.status == "online" for queue in agent.queues},
        {queue.name: queue.paused for queue in queues if queue.paused is not None},
    )


def warnings(run: Run, heard: Set[str]) -> list[str]:
    """What a run that goes on must say about the queues in which its steps, and its host, wait or will wait."""
    if run.status in RUN_ENDED:
        return []
    definition = run.plan.definition
    queues = {run.queue} if run.queue else step_queues(definition)
    if run.counts["queued"]:
        queues |= {step.queue for step in run.steps.values() if step.status == "queued" and step.queue}
    host_queue = run.host.queue or (definition.host.queue if definition.host else "")
    return queries.warnings(queries.with_host(queues, host_queue, run.host.status), heard)
