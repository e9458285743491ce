"""Where an outcome is played: a server on a store in memory, its loop, a clock that is told to pass, and agents."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import Any

from controller.exchange import Report
from controller.handle import HeldHost
from controller.loop import Loop
from domain.content import Content, Script
from domain.lifecycle import RUN_ENDED
from domain.pipeline import ContinueBehaviour, HostDefinition, StepDefinition
from domain.run import StopRun
from domain.task import StopTask
from eventstore.memory import MemoryStore
from tests.controller.server import BY, Agent, Clock, Server, pipeline, step

LEASE = 10.0  # seconds
HOST = HostDefinition(task=Content(script=Script(entry_point="pipe.py")))
CODE = Content(script=Script(source="5" * 64, entry_point="train.py"))  # what can be cached
Fields = Mapping[str, Any]
NOTHING: Fields = MappingProxyType({})
Scenario = Callable[["World"], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    """The way to the outcome whose key in the table is the function's name."""
    key = play.__name__.replace("_", "-")
    assert key not in SCENARIOS, key
    SCENARIOS[key] = play
    return play


class World:
    """One run: step `train`, then `report`, unless a scenario says otherwise."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self.clock = clock
        self.server = Server(store, lease=LEASE)
        self.loop = Loop(self.server.controller, monotonic=clock.monotonic)
        self.agent = self.server.agent("h:0")
        self.services = self.server.agent("s:0", queues=("services",))
        self.alive: list[Agent] = [self.agent, self.services]
        self.run_id = ""
        self.beside = self.server.restarted()  # another server, which only reads what this one writes

    def submits(self, *more: StepDefinition, whole: Fields = NOTHING, given: Fields = NOTHING, **train: Any) -> str:
        """A run of train with these fields, report, and `more`; `whole` is said about the pipeline, `given` at submit.

        Raises Refused.
        """
        report = [] if any(one.name == "report" for one in more) else [step("report", "train")]
        definition = pipeline([step("train", **train), *report, *more], **whole)
        self.run_id = self.server.submit(definition, **given)
        self.beside.follows(self.run_id)
        return self.run_id

    def submits_hooked(self, *hooks: str, whole: Fields = NOTHING, **train: Any) -> None:
        """A run whose host is asked about train, and runs already."""
        self.submits(hooks=hooks, whole={"host": HOST, **whole}, **train)
        self.services.claim()

    def answers(self, kind: str, name: str = "train", **said: Any) -> None:
        self.services.answer(self.run_id, kind, name, **said)

    def works(self, **outcomes: str) -> None:
        """The agent runs all there is: as completed, or as it says here by the step's name."""

        claims = self.agent.ask().claims
        while claims:
            [claim] = claims
            status = outcomes.get(claim.task.step or "" if claim.task else "", "completed")
            reason = "exit code 3" if status == "failed" else ""
            claims = self.agent.end(claim, status, free=1, reason=reason).claims

    def obeys(self) -> None:
        """The agents end as stopped what they were told to stop."""
        for agent in self.alive:
            asked = [stop for stop in agent.beat() if not stop.lost]
            reports = [Report(task_id=one.task_id, attempt=one.attempt, status="stopped") for one in asked]
            agent.ask(*reports, free=0)

    def passes(self, seconds: float) -> None:
        """Time passes; those agents that are alive send their heartbeats."""
        while seconds > 0:
            self.clock.passes(min(seconds, LEASE / 4))
            seconds -= LEASE / 4
            for agent in self.alive:
                agent.beat()
            self.loop.once()

    def dies(self, agent: Agent) -> None:
        """The agent falls silent, and is found out."""
        self.alive.remove(agent)
        self.passes(3 * LEASE)

    def restarts(self) -> None:
        """The server is killed and started again on the same store."""
        self.server = self.server.restarted()
        self.loop = Loop(self.server.controller, monotonic=self.clock.monotonic)
        for agent in self.alive:
            agent.server = self.server

    def stops_step(self, name: str) -> None:
        """A person stops the step's task."""
        task_id = self.server.run(self.run_id).step(name).task_id
        assert task_id is not None
        self.server.do(task_id, StopTask())

    def stops(self, **said: Any) -> None:
        self.server.tell(self.run_id, StopRun(**said))

    def child_of(self, name: str = "inner", **fields: Any) -> str:
        """The id of a registered pipeline that a step can be: one step `deep`."""
        inner = pipeline([step("deep", **fields)], name=name)
        return self.server.controller.register_pipeline(inner, BY).id

    @property
    def statuses(self) -> Mapping[str, str]:
        return self.server.statuses(self.run_id)

    @property
    def over(self) -> bool:
        return self.server.run(self.run_id).status in RUN_ENDED


def allows(**flags: bool) -> ContinueBehaviour:
    """Strict but for these."""
    strict = {"continue_on_fail": False, "continue_on_abort": False}
    return ContinueBehaviour(**{**strict, **flags})


def own_process(session: str) -> HeldHost:
    return HeldHost(session=session, host="laptop", lease=LEASE)


@contextmanager
def new_world() -> Iterator[World]:
    clock = Clock()
    with closing(MemoryStore(clock=clock.database)) as store:
        yield World(store, clock)
