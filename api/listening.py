"""Whether somebody takes the work: a run says so when one of its queues has no agent."""

from collections.abc import Set

from api.services import Services
from domain.lifecycle import RUN_ENDED
from domain.pipeline import literal_queues
from domain.run import Run
from projections import queries


def heard_queues(services: Services) -> Set[str]:
    """The queues that an agent listens to now. A look without the lock."""
    agents = list(services.controller.state.agents.values())
    return {queue for agent in agents if agent.status == "online" for queue in agent.queues}


def warnings(run: Run, heard: Set[str]) -> list[str]:
    """What a run that goes on must say about the queues in which its steps wait or will wait."""
    if run.status in RUN_ENDED:
        return []
    queues = {run.queue} if run.queue else literal_queues(run.plan.definition)
    if run.counts["queued"]:
        queues |= {step.queue for step in run.steps.values() if step.status == "queued" and step.queue}
    return queries.warnings(sorted(queues), heard)
