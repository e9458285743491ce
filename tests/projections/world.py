"""A service in small: tasks, runs, queues and agents as the domain decides them, in the log of a store.

It keeps what the domain's own folds make of them, which is what the rows are held against.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from controller.unit import states_of
from domain import agent as agents
from domain import pipeline as pipelines
from domain import queue as queues
from domain import run as runs
from domain import task as tasks
from domain.content import Content, Script, edited, overridden
from domain.events import TYPES, UPCASTS, Event
from domain.ids import agent_id, pipeline_id, run_stream, task_stream
from domain.pipeline import Definition, Pipeline, Plan, StepDefinition, checked
from domain.run import Decided, Fact, Run, RunCreated
from domain.run_events import CacheAnswered, CacheAsked
from domain.task import Task
from eventstore.codec import Codec, digest, encode
from eventstore.sql import SqlStore
from eventstore.store import Append, NewEvent, Put, Recorded

T = TypeVar("T")
CODEC = Codec(TYPES, UPCASTS)
STEP_CONTENT = Content(tags=["template"], script=Script(source="0" * 64))


class World:
    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.tasks: dict[str, Task] = {}
        self.contents: dict[str, Content] = {}  # what each task was made with
        self.runs: dict[str, Run] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.agents: dict[str, agents.Agent] = {}
        self.ids = (f"{number:032x}" for number in range(1, 10**9))
        self._batch: Append | None = None

    def together(self, play: Callable[[], T]) -> T:
        """All that `play` does in one append."""
        if self._batch is not None:
            return play()

        def job(batch: Append) -> T:
            self._batch = batch
            try:
                return play()
            finally:
                self._batch = None

        return self.store.append(job).result()

    def append(
        self, stream: str, event: Event, run_id: str | None = None, step: str | None = None, **said: Any
    ) -> Recorded:
        kind, schema, data = CODEC.encode(event)
        new = NewEvent(stream=stream, type=kind, schema=schema, data=data, run_id=run_id, subject=step, **said)
        return self.together(lambda: self._open().add([new])[0])

    def keep(self, value: Content | Definition) -> str:
        text = encode(value)
        row = Put("content", {"digest": digest(text), "data": text})
        self.together(lambda: self._open().add([], [row]))
        return digest(text)

    # Tasks

    def task(self, name: str = "train", content: Content = Content(), **fields: Any) -> str:
        """A new task's id."""
        task_id = next(self.ids)
        created = {"name": name, "project": "iris", "content": self.keep(content), "type": content.type, **fields}
        self.contents[task_id] = content
        self.do(task_id, tasks.TaskCreated(**created))
        return task_id

    def do(self, task_id: str, command: tasks.TaskCommand) -> None:
        """Raises Refused."""
        task = self.tasks.get(task_id, Task(id=task_id))
        for event in tasks.decide(command, task):
            self.together(lambda event=event: self.record(task_id, event))

    def record(self, task_id: str, event: tasks.TaskEvent) -> None:
        """`event` and what follows from it, whether or not today's rules would allow it."""
        self.together(lambda: self._record_task(task_id, event))

    def begin(self, task_id: str, agent: str = "", session: str = "s" * 32) -> None:
        self.do(task_id, tasks.StartTask(agent_id=agent, session=session, host="host-1"))

    def end(self, task_id: str, status: str = "completed", reason: str = "", began_at: int | None = None) -> None:
        self.do(task_id, tasks.EndTask(status=status, reason=reason, began_at=began_at))

    def lose(self, task_id: str, reason: str = "agent a was not heard of for 10 s") -> None:
        self.do(task_id, tasks.LoseTask(attempt=self.tasks[task_id].attempt, reason=reason))

    def content_of(self, task_id: str) -> Content:
        task, content = self.tasks[task_id], self.contents[task_id]
        if task.overrides is not None:
            content = overridden(content, task.overrides)
        for edit in task.edits:
            content = edited(content, edit)
        return content

    # Pipelines and runs

    def register(self, definition: Definition) -> str:
        key = pipeline_id(definition.project, definition.name)
        known = self.pipelines.get(key, Pipeline(id=key))
        for event in pipelines.register(definition, self.keep(definition), known):
            self._pipeline_event(key, event)
        return key

    def submit(self, definition: Definition, *, draft: bool = False, **created: Any) -> str:
        """A new run's id."""
        run_id, key = next(self.ids), self.register(definition)

        def play() -> None:
            number = self.pipelines[key].runs + 1
            self._pipeline_event(key, pipelines.PipelineSubmitted(run_id=run_id, number=number))
            fields = {
                "name": f"{definition.name} #{number}",
                "project": definition.project,
                "definition": self.keep(definition),
                "contents": [self.keep(STEP_CONTENT)],
                "pipeline_id": key,
                "pipeline_version": self.pipelines[key].pipeline_version,
                "number": number,
                "queues": ["default", "gpu"],
                **created,
            }
            self.runs[run_id] = Run(id=run_id, plan=Plan(definition, {self.keep(STEP_CONTENT): STEP_CONTENT}))
            self._happen(run_id, Decided(run_stream(run_id), RunCreated(**fields)))
            if not draft:
                self.command(run_id, runs.StartRun())

        self.together(play)
        return run_id

    def command(self, run_id: str, command: runs.RunCommand) -> None:
        """Raises Refused."""
        decided = runs.command(command, self.runs[run_id])
        self.together(lambda: [self._happen(run_id, one) for one in decided])

    def run_event(self, run_id: str, event: runs.RunEvent, step: str | None = None) -> None:
        """`event` and what follows from it, whether or not today's rules would allow it."""
        self.together(lambda: self._happen(run_id, Decided(run_stream(run_id), event, step)))

    def step(self, run_id: str, name: str) -> str:
        """The id of the step's task."""
        task_id = self.runs[run_id].step(name).task_id
        assert task_id is not None, f"step {name!r} has no task yet"
        return task_id

    # Queues and agents

    def queue(self, name: str, event: queues.QueueEvent | None = None) -> None:
        self.append(f"queue-{name}", event or queues.QueueCreated(name=name))

    def agent(self, name: str = "a", session: str = "s" * 32, queues: Sequence[str] = ("default",)) -> str:
        """The id of the agent, which begins a new session."""
        event = agents.AgentRegistered(name=name, session=session, queues=queues, slots=2, host="host-1")
        self.agent_event(agent_id(name), event)
        return agent_id(name)

    def agent_event(self, key: str, event: agents.AgentEvent) -> None:
        row = self.append(f"agent-{key}", event)
        self.agents[key] = agents.evolve(self.agents.get(key, agents.Agent(id=key)), event, row.recorded_at)

    # How it gets into the log

    def _open(self) -> Append:
        assert self._batch is not None
        return self._batch

    def _pipeline_event(self, key: str, event: pipelines.PipelineEvent) -> None:
        row = self.append(f"pipeline-{key}", event)
        known = self.pipelines.get(key, Pipeline(id=key))
        self.pipelines[key] = pipelines.evolve(known, event, row.recorded_at)

    def _record_task(self, task_id: str, event: tasks.TaskEvent) -> None:
        known = event if isinstance(event, tasks.TaskCreated) else self.tasks[task_id]
        decided = Decided(task_stream(task_id), event, known.step)
        if known.run_id is None:
            self._record(decided, None)
        else:
            self._happen(known.run_id, decided)

    def _happen(self, run_id: str, cause: Decided) -> None:
        """`cause` and what follows from it, in the run and for what it asks of others."""
        asked: list[CacheAsked] = []

        def take(one: Decided) -> Fact:
            before, now = self.runs[run_id], self._open().now
            fact = Fact(one.stream, one.event, now, before.version + 1, one.step)
            after = self.runs[run_id] = runs.evolve(before, fact)
            row = self._record(one, run_id, before, after)
            assert (row.run_version, row.recorded_at) == (fact.run_version, fact.at)
            if isinstance(one.event, CacheAsked) and one.event.look:
                asked.append(one.event)
            return fact

        def record(_: Run, decided: Sequence[Decided]) -> tuple[Run, Sequence[Fact]]:
            facts = [take(one) for one in decided]
            return self.runs[run_id], facts

        fact = take(cause)
        runs.react(self.runs[run_id], fact, record)
        for question in asked:
            self._happen(run_id, Decided(run_stream(run_id), self._answer(question), question.step))

    def _answer(self, asked: CacheAsked) -> CacheAnswered:
        """Every other step's results are known."""
        if asked.scope < "8":
            return CacheAnswered(step=asked.step, reason="nothing was kept", differs=["General/lr"])
        data = tasks.ArtifactAdded(name="kept", url="foldline://blobs/x")
        return CacheAnswered(step=asked.step, task_id="c" * 32, reason="reused", artifacts=[data])

    def _record(
        self, one: Decided, run_id: str | None, before: Run | None = None, after: Run | None = None
    ) -> Recorded:
        kind, _, key = one.stream.partition("-")
        event: Any = one.event
        if kind == "task":
            old = self.tasks.get(key, Task(id=key))
            new = self.tasks[key] = tasks.evolve(old, event, self._open().now)
            if run_id is not None:
                self.contents.setdefault(key, STEP_CONTENT)
            states = old.status, new.status
        else:
            assert before is not None
            assert after is not None
            states = states_of(before, after, Fact(one.stream, event, 0, after.version, one.step))
        said = {"from_state": states[0] or None, "to_state": states[1] or None}
        return self.append(one.stream, event, run_id, one.step, **said)


def pipeline(steps: Mapping[str, Sequence[str]], **fields: Any) -> Definition:
    """A definition of steps with their parents."""
    content = digest(encode(STEP_CONTENT))
    made = [StepDefinition(name=name, parents=parents, content=content) for name, parents in steps.items()]
    given = {"name": "iris", "project": "examples", "default_queue": "default", "steps": made, **fields}
    return checked(Definition(**given))
