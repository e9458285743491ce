"""Any pipeline, played by several agents with any luck: the run ends, and the record and all made of it agree."""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controller.exchange import Held, Report
from domain.content import Content, Edit, Parameter, Script
from domain.lifecycle import RUN_ENDED
from domain.pipeline import Approval, ContinueBehaviour, Definition, Retry, StepDefinition
from domain.refused import Refused
from domain.run import (
    ApproveStep,
    CompleteStep,
    PauseRun,
    RejectStep,
    ResumeRun,
    RetryStep,
    RunCommand,
    StartRun,
    StopRun,
)
from domain.task import ArtifactAdded, EndTask, ModelAdded, StopTask, TaskEdited
from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Store
from tests.controller.server import BY, Agent, Server, is_over, pipeline, step

GIVEN = Content(hyperparameters={"General": {"lr": Parameter(0.1)}}, script=Script(source="5" * 64))
REFERENCES = (
    *["${%s.id}", "at ${%s.parameters.General/lr}"] * 4,
    "${%s.artifacts.x.url}",
    "in ${%s.models.output.1.name}",
    "${%s.script.branch}",
)
BEHAVIOUR = ("continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort")
OUTCOMES = ("completed", "completed", "completed", "failed", "stopped")

numbers = st.integers(0, 11)


@st.composite
def steps(draw: st.DrawFn, number: int) -> StepDefinition:
    before = st.integers(0, max(number - 1, 0))
    parents = draw(st.lists(before, max_size=min(number, 3), unique=True))
    asked = draw(st.lists(st.tuples(before, st.sampled_from(REFERENCES)), max_size=min(number, 2)))
    behaviour = draw(st.none() | st.builds(ContinueBehaviour, **dict.fromkeys(BEHAVIOUR, st.booleans())))
    return step(
        f"s{number}",
        *[f"s{parent}" for parent in parents],
        task=GIVEN,
        parameter_override={f"General/p{n}": text % f"s{of}" for n, (of, text) in enumerate(asked)},
        continue_behaviour=behaviour,
        on_lost=draw(st.sampled_from(["requeue", "requeue", "fail"])),
        max_attempts=draw(st.integers(1, 3)),
        queue=draw(st.sampled_from(["default", "gpu"])),
        retry=draw(st.sampled_from([None, None, None, Retry(times=1)])),
        approval=draw(st.sampled_from([None, None, None, Approval()])),
        cache=draw(st.booleans()),
    )


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    found = [draw(steps(number)) for number in range(draw(st.integers(1, 9)))]
    return pipeline(found, abort_on_failure=draw(st.booleans()))


class History:
    """Every move is legal to try, whatever there is: a refusal is an answer as well."""

    def __init__(self, store: Store, runs: Sequence[Definition]) -> None:
        self.server = Server(store)
        self.agents = [self.server.agent(f"h:{n}", queues=("gpu", "default")) for n in range(3)]
        self.runs = [self.server.submit(definition, draft=number == 1) for number, definition in enumerate(runs)]

    def play(self, moves: Sequence[tuple[str, int, int]]) -> None:
        for name, who, what in moves:
            move: Callable[[Agent, int], Any] = getattr(self, f"_{name}")
            with suppress(Refused):
                move(self.agents[who % len(self.agents)], what)

    def finish(self) -> None:
        """Whoever is left works until there is nothing to do."""
        self.server.controller.resume_queue("gpu", "", BY)
        for run_id in self.runs:
            if self.server.run(run_id).status == "created":
                self.server.controller.run(run_id, StartRun(), BY)
        for turn in range(1_000):
            agent = self.agents[turn % len(self.agents)]
            self._report_all(agent, turn)
            self._help_on()
            if all(is_over(self.server.run(run_id)) for run_id in self.runs):
                return
        raise AssertionError([self.server.statuses(run_id) for run_id in self.runs])

    def _help_on(self) -> None:
        """Do for each run what it waits for people to do."""
        for run_id in self.runs:
            run = self.server.run(run_id)
            waiting = [name for name in run.plan.names if run.step(name).gates.waits_for == "approval"]
            if run.status == "paused" and not run.ending:
                self.server.tell(run_id, ResumeRun())
            elif waiting and run.status not in RUN_ENDED:
                self.server.tell(run_id, ApproveStep(step=waiting[0]))

    # The moves

    def _claim(self, agent: Agent, what: int) -> None:
        agent.ask(free=what % 3)

    def _claim_in_vain(self, agent: Agent, what: int) -> None:
        agent.ask_in_vain(free=what % 3 + 1)

    def _report(self, agent: Agent, what: int) -> None:
        if held := self._held(agent, what):
            agent.ask(Report(task_id=held.task_id, attempt=held.attempt, status=OUTCOMES[what % 5]), free=what % 2)

    def _report_in_vain(self, agent: Agent, what: int) -> None:
        if held := self._held(agent, what):
            report = Report(task_id=held.task_id, attempt=held.attempt, status=OUTCOMES[what % 5])
            agent.ask_in_vain(report, free=what % 3)

    def _report_all(self, agent: Agent, what: int) -> None:
        reports = [
            Report(task_id=held.task_id, attempt=held.attempt, status=OUTCOMES[(what + n) % 5])
            for n, held in enumerate(agent.holds())
        ]
        agent.ask(*reports, free=what % 4)

    def _obey(self, agent: Agent, what: int) -> None:
        asked = [stop for stop in agent.beat() if not stop.lost]
        agent.ask(*[Report(task_id=one.task_id, attempt=one.attempt, status="stopped") for one in asked], free=what % 2)

    def _start_anew(self, agent: Agent, _: int) -> None:
        self.agents[self.agents.index(agent)] = agent.started_anew()

    def _leave(self, agent: Agent, what: int) -> None:
        some = agent.holds()[: what % 2]
        reports = [Report(task_id=held.task_id, attempt=held.attempt, status="completed") for held in some]
        self.server.exchange.leave(agent.id, agent.session, reports)
        self._start_anew(agent, what)

    def _produce(self, agent: Agent, what: int) -> None:
        if held := self._held(agent, what):
            made = ArtifactAdded(name="xyz"[what % 3], url=f"u{what}", attempt=held.attempt, metadata={"n": what})
            self.server.do(held.task_id, made)
            self.server.do(held.task_id, ModelAdded(id=f"m{what}", kind="output", name=f"n{what}"))

    def _edit(self, agent: Agent, what: int) -> None:
        if held := self._held(agent, what):
            edit = Edit(hyperparameters={"General": {"lr": Parameter(what)}})
            self.server.do(held.task_id, TaskEdited(edit=edit, attempt=held.attempt))

    def _stop_step(self, _: Agent, what: int) -> None:
        self.server.do(self._some_task(what), StopTask(reason="no", now=what % 2 == 0))

    def _end_step(self, _: Agent, what: int) -> None:
        self.server.do(self._some_task(what), EndTask(status=OUTCOMES[what % 5]))

    def _stop_run(self, _: Agent, what: int) -> None:
        outcome = "failed" if what % 3 == 0 else "stopped"
        self.server.controller.run(self.runs[what % len(self.runs)], StopRun(reason="enough", outcome=outcome), BY)

    def _start_run(self, _: Agent, what: int) -> None:
        self.server.controller.run(self.runs[what % len(self.runs)], StartRun(), BY)

    def _pause(self, _: Agent, what: int) -> None:
        self._tell(what, PauseRun())

    def _resume(self, _: Agent, what: int) -> None:
        self._tell(what, ResumeRun())

    def _approve(self, _: Agent, what: int) -> None:
        self._tell(what, ApproveStep(step=f"s{what % 9}"))

    def _reject(self, _: Agent, what: int) -> None:
        self._tell(what, RejectStep(step=f"s{what % 9}"))

    def _retry(self, _: Agent, what: int) -> None:
        self._tell(what, RetryStep(step=f"s{what % 9}"))

    def _mark(self, _: Agent, what: int) -> None:
        self._tell(what, CompleteStep(step=f"s{what % 9}", outputs={"n": what}))

    def _pause_queue(self, _: Agent, what: int) -> None:
        change = self.server.controller.resume_queue if what % 3 else self.server.controller.pause_queue
        change("gpu", "", BY)

    def _tell(self, what: int, command: RunCommand) -> None:
        self.server.tell(self.runs[what % len(self.runs)], command)

    def _restart(self, _agent: Agent, _what: int) -> None:
        self.server = self.server.restarted()
        for agent in self.agents:
            agent.server = self.server

    def _held(self, agent: Agent, what: int) -> Held | None:
        held = agent.holds()
        return held[what % len(held)] if held else None

    def _some_task(self, what: int) -> str:
        run = self.server.run(self.runs[what % len(self.runs)])
        names = list(run.plan.steps)
        return run.step(names[what % len(names)]).task_id or "f" * 32


NO_MOVES = ("_held", "_some", "_tell", "_help")
MOVES = [name[1:] for name in vars(History) if name.startswith("_") and not name.startswith(("__", *NO_MOVES))]
OFTEN = ["claim", "report", "report_all"] * 4
moves = st.lists(st.tuples(st.sampled_from(OFTEN + MOVES), numbers, numbers), min_size=15, max_size=50)


def plays_and_verifies(store: Store, runs: Sequence[Definition], what: Sequence[tuple[str, int, int]]) -> None:
    history = History(store, runs)
    history.play(what)
    history.server.check()
    history.finish()
    history.server.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=st.lists(definitions(), min_size=1, max_size=2), what=moves)
def test_any_history_verifies(runs, what):
    with closing(MemoryStore()) as store:
        plays_and_verifies(store, runs, what)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(runs=st.lists(definitions(), min_size=1, max_size=2), what=moves)
def test_any_history_verifies_on_a_file(tmp_path_factory: pytest.TempPathFactory, runs, what):
    with closing(open_store(f"sqlite:///{tmp_path_factory.mktemp('history') / 'foldline.db'}")) as store:
        plays_and_verifies(store, runs, what)
