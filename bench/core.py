"""The write side over one database, and an agent that only says that it has done what it was given."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from controller.exchange import Exchange, Exchanged, Held, Report
from controller.handle import By, Controller, Submission
from controller.snapshots import Keeper
from controller.unit import Unit
from domain.agent import AgentRegistered
from domain.content import Content
from domain.ids import derived, task_stream
from domain.pipeline import Definition, StepDefinition
from domain.task import EnqueueTask, TaskCreated, decide
from eventstore.snapshots import Snapshots
from eventstore.sql import SqlStore, open_store
from eventstore.store import Append, Store

S = TypeVar("S", bound=Store)

QUEUE = "default"
TEMPLATE = derived("bench", "template")
BY = By(actor="bench")
# No lease runs out while a case is measured: nobody judges them here.
LEASE = 60.0


@dataclass(frozen=True, slots=True)
class Agent:
    id: str
    session: str
    slots: int


@dataclass(slots=True)
class Played:
    """`steps` were claimed and reported; `times` are the seconds of each exchange."""

    steps: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list[float])


class Core(Generic[S]):
    """With one queue and one template, which are made when they are not there."""

    def __init__(self, store: S, keeper: Keeper | None = None) -> None:
        self.store = store
        self.controller = Controller(self.store, lease=LEASE, keeper=keeper)
        self.exchange = Exchange(self.controller)
        self.controller.create_queue(QUEUE, BY)
        if not self.store.stream(task_stream(TEMPLATE), limit=1):
            created = TaskCreated(name="nothing", project="bench", content="")
            self.controller.create_task(TEMPLATE, created, Content(), BY)

    def agent(self, slots: int, name: str = "agent") -> Agent:
        session = derived("bench", "session", name)
        asked = AgentRegistered(name=name, session=session, queues=[QUEUE], slots=slots)
        return Agent(self.exchange.register(asked).id, session, slots)

    def submit(self, number: int, steps: Sequence[StepDefinition], *, name: str = "") -> str:
        """Start a run of these steps; its id."""
        definition = Definition(name=name or f"bench {number}", project="bench", default_queue=QUEUE, steps=steps)
        return self.controller.submit_run(derived("bench", "run", number), Submission(definition=definition), BY).id

    def enqueue(self, first: int, count: int) -> None:
        """Create and enqueue this many tasks that belong to no run, in one append."""

        def job(unit: Unit) -> None:
            content = unit.keep(Content())
            for number in range(first, first + count):
                task_id = derived("bench", "task", number)
                unit.task_event(task_id, TaskCreated(name=f"task {number}", project="bench", content=content))
                for event in decide(EnqueueTask(queue=QUEUE), unit.task(task_id)):
                    unit.task_event(task_id, event)

        self._at_work(job)

    def ask(self, agent: Agent, done: Exchanged) -> Exchanged:
        """Report all that was claimed, and take what is next."""
        reports = [
            Report(task_id=claim.task.id, attempt=claim.attempt, status="completed")
            for claim in done.claims
            if claim.task is not None
        ]
        held: list[Held] = []
        return self.exchange.exchange(agent.id, agent.session, held=held, reports=reports, free=agent.slots)

    def play(self, agent: Agent) -> Played:
        """Run all there is."""
        gc.collect()  # what was before is not to be paid for here
        played, answer = Played(), Exchanged()
        began = time.perf_counter()
        while True:
            asked = time.perf_counter()
            answer = self.ask(agent, answer)
            now = time.perf_counter()
            played.times.append(now - asked)
            if not answer.claims:
                played.seconds = now - began
                return played
            played.steps += len(answer.claims)

    def _at_work(self, job: Callable[[Unit], None]) -> None:
        def once(append: Append) -> None:
            self.controller.state.open(append)
            self.controller.at_work(append, BY, job)

        self.store.append(once).result()


@contextmanager
def opened(url: str) -> Iterator[Core[SqlStore]]:
    store = open_store(url)
    keeper = Keeper(Snapshots(store.database))  # of large runs, as a server has one
    keeper.start()
    try:
        yield Core(store, keeper)
    finally:
        keeper.stop()
        store.close()


def in_a_row(count: int) -> list[StepDefinition]:
    """Steps of which each waits for the one before."""
    return [_step(f"s{number}", [f"s{number - 1}"] if number else []) for number in range(count)]


def fanned_out(count: int) -> list[StepDefinition]:
    """One step, then this many side by side, then one that waits for all of them."""
    names = [f"s{number}" for number in range(count)]
    return [_step("first"), *(_step(name, ["first"]) for name in names), _step("join", names)]


def side_by_side(rows: int, count: int) -> list[StepDefinition]:
    """This many rows of steps, each row as of `in_a_row`."""
    return [
        _step(f"r{row} s{number}", [f"r{row} s{number - 1}"] if number else [])
        for row in range(rows)
        for number in range(count)
    ]


def _step(name: str, parents: Sequence[str] = ()) -> StepDefinition:
    return StepDefinition(name=name, base_task_id=TEMPLATE, parents=parents)
