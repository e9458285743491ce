"""Plays a run without a store, agents or time: a test says what happens to which step, in which order.

What a command decides goes to a log, and from there into the run, just as the controller does it. While it plays it
holds every change of a task and of a step against the charts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domain import deadlines
from domain import run as runs
from domain import task as tasks
from domain.content import Content
from domain.ids import run_stream, step_task_id, task_stream
from domain.lifecycle import RUN, STEP, STEP_ENDED, TASK
from domain.pipeline import Definition, PipelineParameter, Plan, StepDefinition, checked
from domain.run import AddStep, AnswerHook, Decided, Fact, Run, RunCreated, StartRun, Step, StopRun
from domain.run_events import (
    AdoptionAsked,
    AdoptionRefused,
    CacheAnswered,
    CacheAsked,
    ChildRunEnded,
    HookRequested,
    HostEnded,
    HostLost,
    HostStarted,
    RunEvent,
)
from domain.run_state import Hook
from domain.task import (
    ArtifactAdded,
    EndTask,
    EnqueueTask,
    LoseTask,
    StartTask,
    StopTask,
    Task,
    TaskAdopted,
    TaskCommand,
)

RUN_ID = "2f" + "0" * 30
TEMPLATE = "7e" * 32  # SHA-256 of every step's template, where the test names no other
SECOND = 1_000_000  # microseconds; also how long every event takes
LEGAL_RUN = {(before, after) for (before, _), after in RUN.items()}
LEGAL_TASK = {(before, after) for (before, _), after in TASK.items()}
LEGAL_STEP = {(before, after) for (before, _), after in STEP.items()}

# Shapes that tests speak of: {step: its parents}.
CHAIN = {"a": [], "b": ["a"], "c": ["b"]}
FAN_OUT = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}
JOIN = {"a": [], "b": [], "c": ["a", "b"]}
DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
APART = {"a": [], "b": ["a"], "x": [], "y": ["x"]}

Steps = Mapping[str, Sequence[str]] | Sequence[StepDefinition]


def step(name: str, *parents: str, **fields: Any) -> StepDefinition:
    """A step as it stands in a pinned definition."""
    return StepDefinition(name=name, parents=parents, **{"base_task_id": "b" * 32, "content": TEMPLATE, **fields})


def pipeline(steps: Steps, **fields: Any) -> Definition:
    """A checked definition; `steps` may be {name: parents}."""
    if isinstance(steps, Mapping):
        steps = [step(name, *parents) for name, parents in steps.items()]
    parameters = [PipelineParameter(name=name, default=value) for name, value in fields.pop("defaults", {}).items()]
    given = {"name": "iris", "project": "examples", "default_queue": "default", **fields}
    return checked(Definition(steps=steps, parameters=parameters, **given))


class Play:
    """One run. Every method is one append: a command, what it decides, and what follows for the run."""

    def __init__(
        self,
        definition: Definition,
        template: Content | Mapping[str, Content] = Content(),
        *,
        draft: bool = False,
        queues: Sequence[str] = ("default", "services"),
        **created: Any,
    ) -> None:
        contents = {TEMPLATE: template} if isinstance(template, Content) else template
        self.plan = Plan(definition, contents)
        self.run = Run(id=RUN_ID, plan=self.plan)
        self.tasks: dict[str, Task] = {}
        self.log: list[Fact] = []
        self.appends: list[int] = []  # where in the log each append begins
        self._shadow = self.run
        self._late = 0  # microseconds that have passed between events
        self.kept: dict[str, CacheAnswered] = {}  # steps whose results are kept already
        self.drafts: set[str] = set()  # tasks that a step may adopt
        event = RunCreated(
            **{"name": "iris #1", "project": definition.project, "definition": "d" * 64, "queues": queues, **created}
        )
        self._append(Decided(run_stream(RUN_ID), event))
        if not draft:
            self.start()

    # What people and agents do

    def start(self) -> None:
        self.command(StartRun())

    def stop(self, reason: str = "", outcome: str = "stopped") -> None:
        self.command(StopRun(reason=reason, outcome=outcome))

    def command(self, given: runs.RunCommand) -> None:
        for decided in runs.command(given, self.run):
            self._append(decided)

    def begin(self, *names: str) -> None:
        for name in names:
            self.task(name, StartTask(agent_id="a" * 32, session="s1"))

    def complete(self, *names: str) -> None:
        for name in names:
            self._end(name, "completed")

    def fail(self, name: str, reason: str = "exit code 3") -> None:
        self._end(name, "failed", reason)

    def report_stopped(self, name: str, reason: str = "") -> None:
        self._end(name, "stopped", reason)

    def lose(self, name: str, reason: str = "agent lost") -> None:
        self._begun(name)
        self.task(name, LoseTask(attempt=self.step(name).attempts, reason=reason))

    def stop_task(self, name: str, reason: str = "") -> None:
        """A person stops the step's task, not the run."""
        self.task(name, StopTask(reason=reason))

    def artifact(self, name: str, artifact: str = "data", **fields: Any) -> None:
        self.task(name, ArtifactAdded(**{"name": artifact, "url": f"foldline://blobs/{artifact}", **fields}))

    # The host, the clock, and what a run asks for outside of it

    def host_starts(self, session: str = "h1", agent: str = "a" * 32) -> None:
        """Without an agent it is the caller's own process."""
        attempt = self.run.host.attempt + 1
        self.say(HostStarted(attempt=attempt, agent_id=agent, session=session, host="h"))

    def host_lost(self, reason: str = "agent lost") -> None:
        self.say(HostLost(attempt=self.run.host.attempt, reason=reason))

    def host_ends(self, status: str = "completed", reason: str = "") -> None:
        self.say(HostEnded(attempt=self.run.host.attempt, status=status, reason=reason))

    def answer(self, name: str, kind: str, **said: Any) -> None:
        """The host answers the oldest open question of this kind about the step. Raises Refused."""
        hook_id, _ = self.asked(name, kind)[0]
        held = self.run.host.attempts[-1]
        self.command(AnswerHook(hook_id=hook_id, session=held.session, attempt=held.number, **said))

    def asked(self, name: str, kind: str) -> list[tuple[str, Hook]]:
        """The open questions of this kind about the step, the oldest first."""
        found = [one for one in self.run.hooks.items() if (one[1].asked.step, one[1].asked.kind) == (name, kind)]
        return sorted(found, key=lambda one: one[1].at)

    def questions(self) -> list[tuple[str, str]]:
        """What the host was asked so far: kind and step."""
        return [(fact.event.kind, fact.event.step) for fact in self.log if isinstance(fact.event, HookRequested)]

    def adds(self, name: str, *parents: str, call: int | None = None, **fields: Any) -> None:
        """The host calls a component. Raises Refused."""
        held = self.run.host.attempts[-1]
        more = {"base_task_id": None, "content": None, "task": Content(), **fields}
        fingerprint = more.pop("fingerprint", name)
        added = AddStep(
            session=held.session,
            attempt=held.number,
            call=len(self.run.calls) if call is None else call,
            step=step(name, *parents, **more),
            content=TEMPLATE,
            fingerprint=fingerprint,
        )
        self.command(added)

    def child_ends(self, name: str, status: str = "completed", reason: str = "", **outputs: Any) -> None:
        run_id = self.step(name).run_id or ""
        self.say(ChildRunEnded(step=name, run_id=run_id, status=status, reason=reason, **outputs))

    def passes(self, seconds: float) -> None:
        """Time passes, and with it what was due."""
        self._late += round(seconds * SECOND)
        while due := deadlines.passed(self.run, self.now):
            self.say(due[0])

    @property
    def now(self) -> int:
        """Microseconds UTC."""
        return len(self.log) * SECOND + self._late

    def enqueue(self, name: str) -> None:
        """A person puts the step's task into a queue."""
        self.task(name, EnqueueTask(queue="default"))

    def say(self, event: RunEvent) -> None:
        """An event that no command to the run brings about."""
        self._append(Decided(run_stream(RUN_ID), event, getattr(event, "step", None)))

    def play(self, moves: str) -> "Play":
        """`moves` such as "a completes, b fails, stop": in this order."""
        words = {"begins": self.begin, "completes": self.complete, "fails": self.fail, "stops": self.report_stopped}
        words |= {"lost": self.lose, "asked": self.stop_task}
        for move in filter(None, map(str.strip, moves.split(","))):
            match move.split():
                case ["stop"]:
                    self.stop()
                case [name, word]:
                    words[word](name)
                case _:
                    raise ValueError(move)
        return self

    def task(self, name: str, command: TaskCommand) -> None:
        """Raises Refused. What the command decides is one append."""
        for event in tasks.decide(command, self.tasks[name]):
            self._append(Decided(task_stream(self.tasks[name].id), event, name))

    def _begun(self, name: str) -> None:
        if self.step(name).status == "queued":
            self.begin(name)

    def _end(self, name: str, status: str, reason: str = "") -> None:
        self._begun(name)
        attempt = self.tasks[name].attempt
        self.task(name, EndTask(status=status, reason=reason, attempt=attempt, session="s1"))

    # What can be seen

    def step(self, name: str) -> Step:
        return self.run.step(name)

    @property
    def statuses(self) -> dict[str, str]:
        return {name: self.step(name).status for name in self.run.plan.names}

    @property
    def reasons(self) -> dict[str, str]:
        return {name: self.step(name).reason for name in self.run.plan.names if self.step(name).reason}

    def of_type(self, kind: type) -> list[Fact]:
        return [fact for fact in self.log if isinstance(fact.event, kind)]

    def created(self, name: str) -> tasks.TaskCreated:
        """The event by which the step's task was made."""
        [event] = [fact.event for fact in self.of_type(tasks.TaskCreated) if fact.step == name]
        assert isinstance(event, tasks.TaskCreated)
        return event

    # How it gets into the log

    def _append(self, cause: Decided) -> None:
        self.appends.append(len(self.log))
        self.run, [fact] = self._record(self.run, [cause])
        begin = len(self.log) - 1
        self.run = runs.react(self.run, fact, self._record)
        for one in self.log[begin:]:
            self._follow(one)

    def _follow(self, fact: Fact) -> None:
        """What the controller does about an event outside of the run, and tells it of."""
        if fact.step is None or self.step(fact.step).status in STEP_ENDED:
            return
        match fact.event:
            case CacheAsked(look=True):
                self.say(self.kept.get(fact.step, CacheAnswered(step=fact.step, reason="nothing was kept")))
            case AdoptionAsked():
                self._adopt(fact.step, fact.event)
            case _:
                pass

    def _adopt(self, name: str, asked: AdoptionAsked) -> None:
        if asked.task_id not in self.drafts:
            self.say(AdoptionRefused(step=name, reason=f"task {asked.task_id} is completed"))
            return
        self.drafts.discard(asked.task_id)
        draft = self.run.plan.steps[name].draft
        adopted = TaskAdopted(name=name, project="x", content="c", run_id=RUN_ID, step=name, draft=draft)
        self._append(Decided(task_stream(asked.task_id), adopted, name))

    def _record(self, run: Run, decided: Iterable[Decided]) -> tuple[Run, list[Fact]]:
        facts: list[Fact] = []
        for one in decided:
            version = len(self.log) + 1
            fact = Fact(one.stream, one.event, at=version * SECOND + self._late, run_version=version, step=one.step)
            self.log.append(fact)
            facts.append(fact)
            self._check_states(fact)
            if one.step is not None and one.stream != run_stream(RUN_ID):
                self._take_in(one.step, fact)
        return runs.fold(facts, run), facts

    def _take_in(self, name: str, fact: Fact) -> None:
        """The step's task, as its own stream knows it."""
        task_id = fact.stream.removeprefix("task-")
        known = self.tasks.get(name)
        if isinstance(fact.event, TaskAdopted):
            known = Task(id=task_id, version=1, status="created")
        before = known or Task(id=step_task_id(RUN_ID, name))
        assert fact.stream == task_stream(before.id)
        after = tasks.evolve(before, fact.event, fact.at)  # pyright: ignore[reportArgumentType]
        assert before.status == after.status or (before.status, after.status) in LEGAL_TASK, (name, fact)
        self.tasks[name] = after

    def _check_states(self, fact: Fact) -> None:
        before, self._shadow = self._shadow, runs.evolve(self._shadow, fact)
        led = (before.status, self._shadow.status)
        assert led[0] == led[1] or led in LEGAL_RUN, f"the run went from {led[0]} to {led[1]}: {fact}"
        if fact.step is None:
            return
        old, new = before.step(fact.step).status, self._shadow.step(fact.step).status
        assert old == new or (old, new) in LEGAL_STEP, f"step {fact.step} went from {old} to {new}: {fact}"


def decided_again(plan: Plan, log: Sequence[Fact], appends: Sequence[int]) -> list[Decided]:
    """What today's rules make of the recorded causes: `log` once more, if they are still the same rules."""
    run = Run(id=RUN_ID, plan=plan)
    out: list[Decided] = []
    for begin, end in zip(appends, [*appends[1:], len(log)], strict=True):
        cause, *recorded = log[begin:end]
        out.append(Decided(cause.stream, cause.event, cause.step))
        rest = iter(recorded)

        def record(run: Run, decided: Sequence[Decided], rest: Any = rest) -> tuple[Run, list[Fact]]:
            out.extend(decided)
            facts = [fact for _, fact in zip(decided, rest, strict=False)]
            return runs.fold(facts, run), facts

        run = runs.react(runs.evolve(run, cause), cause, record)
    return out


def letters(text: str) -> dict[str, str]:
    """{"a": "completed", "b": "skipped"} of "a completed, b skipped"."""
    return dict(pair.split() for pair in text.split(", "))
