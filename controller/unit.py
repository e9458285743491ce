"""One command at work on an open append: what it records, and at once what follows from that for the run."""

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct, field

from controller.follow import ASKING, follow
from controller.formats import CODEC, content_from, kept, meta
from controller.state import State
from domain import agent as agents
from domain import pipeline as pipelines
from domain import queue as queues
from domain import run as runs
from domain import task as tasks
from domain.agent import Agent, AgentEvent
from domain.content import Content, edited, overridden
from domain.deadlines import next_due
from domain.events import Event
from domain.ids import run_stream, task_stream
from domain.pipeline import PipelineEvent, Plan
from domain.queue import Queue, QueueEvent
from domain.refused import Unknown
from domain.run import Decided, Fact, Run, RunEvent
from domain.run_events import (
    HostEnqueued,
    HostStarted,
    OutputEvent,
    RunCreated,
    StepAdded,
)
from domain.task import Task, TaskEvent
from eventstore import points
from eventstore.store import Append, Delete, NewEvent, Put, Recorded, Row

BEGINS = frozenset[type]({tasks.TaskCreated, tasks.TaskAdopted})
RELEASES = frozenset[type]({*tasks.ENDS, tasks.TaskReset})
QUEUES = frozenset[type]({tasks.TaskEnqueued, tasks.TaskRequeued})

CODE = "2"  # which rules decided: stands in each decision record; raise it when `domain.run.decide` changes its mind


class Woken(Struct):
    """Whom a command gives something to do: queues that got work, sessions that shall look at what they hold."""

    queues: set[str] = field(default_factory=set[str])
    sessions: set[str] = field(default_factory=set[str])


class _Decision(Struct):
    first: int
    last: int
    outputs: Any = field(default_factory=sha256)


class Unit:
    """Records events on `append` and keeps `state` true to them. `actor` and `command_id` go into their meta."""

    def __init__(
        self, append: Append, state: State, *, actor: str, command_id: str | None = None, request: str | None = None
    ) -> None:
        self.append, self.state, self.woken = append, state, Woken()
        self._command_id = command_id
        self._meta = meta(actor=actor, command=command_id, request=request)
        self._actor = actor
        self._decisions: dict[str, _Decision] = {}
        self._follow: deque[tuple[str, Fact]] = deque()
        self._following = False

    @property
    def actor(self) -> str:
        return self._actor

    # What there is

    def task(self, task_id: str) -> Task:
        """Raises Unknown."""
        found = self.state.task(self.append, task_id)
        if not found.version:
            raise Unknown(f"There is no task {task_id}.")
        return found

    def run(self, run_id: str) -> Run:
        """Raises Unknown."""
        found = self.state.run(self.append, run_id)
        if found is None:
            raise Unknown(f"There is no run {run_id}.")
        return found

    def content(self, digest: str) -> Content:
        return content_from(self.state.text(self.append, digest))

    def content_of(self, task: Task) -> Content:
        """What the task is made of now: its content, then its run's overrides, then its edits."""
        content = self.content(task.content)
        if task.overrides is not None:
            content = overridden(content, task.overrides)
        for edit in task.edits:
            content = edited(content, edit)
        return content

    # What happens

    def keep(self, value: Content | pipelines.Definition) -> str:
        """Put `value` into the content table; its SHA-256."""
        digest, row = kept(value)
        if digest not in self.state.contents:
            self.append.add([], [row])
            self.state.contents.put(digest, str(row.row["data"]))
        return digest

    def task_event(self, task_id: str, event: TaskEvent, *, lease: float = 0) -> Task:
        """Record `event` on the task; when it belongs to a run, also what the run makes of it."""
        known: Any = event if type(event) in BEGINS else self.state.task(self.append, task_id)
        # Before the event is in the log: a run that is folded only now would take it in twice.
        run = None if known.run_id is None else self.run(known.run_id)
        row = self._record_task(task_id, event, self._meta, lease=lease)
        if run is not None and row.run_version is not None:
            fact = Fact(row.stream, event, row.recorded_at, row.run_version, known.step)
            self._react(runs.evolve(run, fact), fact)
        return self.state.task(self.append, task_id)

    def run_event(
        self, run_id: str, event: RunEvent | OutputEvent, *, plan: Plan | None = None, lease: float = 0
    ) -> Run:
        """Record `event` on the run, and all that follows from it. `plan` comes with the run's first event."""
        before = Run(id=run_id, plan=plan) if plan is not None else self.run(run_id)
        after, fact, _ = self._record_run(before, Decided(run_stream(run_id), event, step_of(event)), self._meta, lease)
        return self._react(after, fact)

    def happen(self, run_id: str, decided: Decided) -> None:
        """Record what a command to the run has decided, on whichever stream it belongs."""
        if decided.stream == run_stream(run_id):
            self.run_event(run_id, decided.event)  # type: ignore[arg-type]
        else:
            self.task_event(decided.stream.partition("-")[2], decided.event)  # type: ignore[arg-type]

    def queue_event(self, name: str, event: QueueEvent) -> Queue:
        known = self.state.queues.get(name, Queue(name=name))
        row = self._add(self._new(f"queue-{name}", event, "", ""), new=not known.version)
        self.state.queues[name] = queues.evolve(known, event, row.recorded_at)
        self.woken.queues.add(name)
        return self.state.queues[name]

    def agent_event(self, agent: Agent, event: AgentEvent) -> Agent:
        after = agents.evolve(agent, event, self.append.now)
        self._add(self._new(f"agent-{agent.id}", event, agent.status, after.status), new=not agent.version)
        self.state.agents[agent.id] = after
        self.woken.sessions.add(agent.session)  # whatever happened to the agent, this session of it is over
        return after

    def pipeline_event(self, pipeline: pipelines.Pipeline, event: PipelineEvent) -> pipelines.Pipeline:
        row = self._add(self._new(f"pipeline-{pipeline.id}", event, "", ""), new=not pipeline.version)
        return self.state.pipelines.put(pipeline.id, pipelines.evolve(pipeline, event, row.recorded_at))

    def renew(self, leases: Sequence[Put]) -> None:
        """Put these leases anew, and let nobody judge them in this batch by what they were before."""
        if due := self.state.renewals.due(leases):
            self.append.add([], due)
        points.reach("lease.renewed")
        self.state.renewed.update(str(lease.row["stream"]) for lease in leases)

    def finish(self) -> None:
        """Write the decision records, one for each run that something was decided for."""
        for run_id, decision in self._decisions.items():
            row = {
                "run_id": run_id,
                "from_version": decision.first,
                "upto_version": decision.last,
                "code": CODE,
                "outputs": decision.outputs.hexdigest(),
            }
            self.append.add([], [Put("decision", row)])
            if decision.last >= self.state.large:
                self.state.grew(run_id)
        points.reach("decision.recorded")
        self.state.position = self.append.head

    # How it gets into the log

    def _react(self, run: Run, cause: Fact) -> Run:
        """All that follows from `cause`, which `run` has taken in; then what that asks of other runs and tasks."""
        points.reach("decision.wanted")
        if type(cause.event) in ASKING:
            self._follow.append((run.id, cause))

        def record(before: Run, decided: Sequence[Decided]) -> tuple[Run, Sequence[Fact]]:
            decision = self._decisions.get(run.id)
            if decision is None:
                decision = self._decisions[run.id] = _Decision(cause.run_version, cause.run_version)
            said = meta(actor=self._actor, command=self._command_id, cause=cause.run_version)
            facts: list[Fact] = []
            for one in decided:
                kind, _, task_id = one.stream.partition("-")
                if kind == "task":
                    row = self._record_task(task_id, one.event, said)  # type: ignore[arg-type]
                    fact = Fact(row.stream, one.event, row.recorded_at, row.run_version or 0, one.step)
                    before = runs.evolve(before, fact)
                else:
                    before, fact, row = self._record_run(before, one, said)
                decision.last = fact.run_version
                decision.outputs.update(output_line(one, row.data))
                facts.append(fact)
                if type(one.event) in ASKING:
                    self._follow.append((run.id, fact))
            return before, facts

        run = self.state.runs.put(run.id, runs.react(run, cause, record))
        self._set_timer(run)
        points.reach("decision.made")
        self._follow_up()
        return self.state.runs.get(run.id) or run

    def _follow_up(self) -> None:
        """Carry out what events of a run ask for outside of it. In order, and only once the run has come to rest."""
        if self._following or not self._follow:
            return
        self._following = True
        try:
            while self._follow:
                run_id, fact = self._follow.popleft()
                follow(self, run_id, fact)
        finally:
            self._following = False

    def _set_timer(self, run: Run) -> None:
        due_at = next_due(run)
        if due_at == self.state.timers.get(run.id):
            return
        if due_at is None:
            del self.state.timers[run.id]
            self.append.add([], [Delete("timer", {"run_id": run.id})])
        else:
            self.state.timers[run.id] = due_at
            self.append.add([], [Put("timer", {"run_id": run.id, "shard": 0, "due_at": due_at})])

    def _record_task(self, task_id: str, event: TaskEvent, said: str, *, lease: float = 0) -> Recorded:
        # A new task is not looked for: the expected version 0 finds it out if there is one.
        new_task = type(event) is tasks.TaskCreated
        before = Task(id=task_id) if new_task else self.state.task(self.append, task_id)
        after = tasks.evolve(before, event, self.append.now)
        stream = task_stream(task_id)
        new = self._new(stream, event, before.status, after.status, after.run_id, after.step, said)
        row = self._add(new, self._rows(before, after, event, lease), new=new_task)
        self.state.tasks.put(task_id, after)
        if before.status != after.status:
            self.state.place(task_id, row, event)
        if type(event) is tasks.TaskStarted:
            self.state.renewed.add(stream)
        self._wake(after, event)
        return row

    def _record_run(self, before: Run, decided: Decided, said: str, lease: float = 0) -> tuple[Run, Fact, Recorded]:
        """The run after the event, which is about to be in the log."""
        event: Any = decided.event
        fact = Fact(decided.stream, event, self.append.now, before.version + 1, decided.step)
        after = runs.evolve(before, fact)
        old, new = states_of(before, after, fact)
        row = self._add(
            self._new(decided.stream, event, old, new, before.id, decided.step, said),
            self._host_rows(before, after, lease),
            new=isinstance(event, RunCreated),
        )
        assert row.run_version == fact.run_version, "a run has one count"
        self.state.place_host(before.id, row, event)
        if isinstance(event, HostStarted):
            self.state.renewed.add(row.stream)
        elif isinstance(event, HostEnqueued):
            self.woken.queues.add(event.queue)
        if after.host.attempts and (after.ending or after.host.status != before.host.status):
            self.woken.sessions.add(after.host.attempts[-1].session)
        return after, fact, row

    def _host_rows(self, before: Run, after: Run, lease: float) -> Sequence[Put | Delete]:
        """The work and lease rows of the run's host, which commit with the event."""
        was, now = before.host.status, after.host.status
        if was == now:
            return ()
        rows: list[Put | Delete] = []
        if was == "running":
            rows.append(Delete("lease", {"stream": run_stream(after.id)}))
        if was == "queued":
            rows.append(Delete("work", {"task_id": after.id}))
        if now == "queued":
            rows.append(Put("work", work_row(after.id, after.host.queue, 0, self.append.head + 1, after.id)))
        if now == "running":
            held = after.host.attempts[-1]
            rows.append(
                lease_row(run_stream(after.id), held.number, held.agent_id, held.session, lease, self.append.clock)
            )
        return rows

    def _new(
        self,
        stream: str,
        event: Event,
        before: str,
        after: str,
        run_id: str | None = None,
        subject: str | None = None,
        said: str | None = None,
    ) -> NewEvent:
        kind, schema, data = CODEC.encode(event)
        return NewEvent(
            stream=stream,
            type=kind,
            schema=schema,
            data=data,
            run_id=run_id,
            subject=subject,
            from_state=before or None,
            to_state=after or None,
            meta=said or self._meta,
        )

    def _add(self, event: NewEvent, rows: Sequence[Put | Delete] = (), *, new: bool = False) -> Recorded:
        if not new:
            return self.append.record(event, rows, command_id=self._command_id)
        expect = {event.stream: 0}
        expect_runs = {event.run_id: 0} if event.run_id and event.stream == run_stream(event.run_id) else None
        [row] = self.append.add([event], rows, expect=expect, expect_runs=expect_runs, command_id=self._command_id)
        return row

    def _rows(self, before: Task, after: Task, event: TaskEvent, lease: float) -> Sequence[Put | Delete]:
        """The work and lease rows that commit with `event`: a function of it, which `verify` computes again."""
        rows: list[Put | Delete] = []
        stream = task_stream(after.id)
        if before.status == "in_progress" and after.status != "in_progress":
            rows.append(Delete("lease", {"stream": stream}))
        if after.status == "queued" and type(event) in QUEUES:
            row = work_row(after.id, after.queue or "", after.priority, self.append.head + 1, after.run_id)
            rows.append(Put("work", row, new=before.status != "queued"))
        elif before.status == "queued" and after.status != "queued":
            rows.append(Delete("work", {"task_id": after.id}))
        if type(event) is tasks.TaskStarted:
            rows.append(lease_row(stream, event.attempt, event.agent_id, event.session, lease, self.append.clock))
        return rows

    def _wake(self, task: Task, event: TaskEvent) -> None:
        if task.status == "queued" and task.queue:
            self.woken.queues.add(task.queue)
        elif task.attempts and (task.stop_requested or type(event) in RELEASES):
            self.woken.sessions.add(task.attempts[-1].session)


def output_line(decided: Decided, data: str) -> bytes:
    """What one decided event adds to the hash in the decision record."""
    return f"{decided.stream}\n{type(decided.event).__name__}\n{data}\n".encode()


def lease_row(stream: str, attempt: int, agent_id: str, session: str, seconds: float, now: int) -> Put:
    return Put(
        "lease",
        {
            "stream": stream,
            "shard": 0,
            "attempt": attempt,
            "agent_id": agent_id,
            "session": session,
            "seconds": seconds,
            "expires_at": now + int(seconds * 1_000_000),
        },
    )


def work_row(task_id: str, queue: str, priority: int, position: int, run_id: str | None) -> Row:
    """What is ready to be claimed: a task, or a run's host under the run's id."""
    return {
        "task_id": task_id,
        "shard": 0,
        "queue": queue,
        "priority": priority,
        "position": position,
        "run_id": run_id,
    }


def states_of(before: Run, after: Run, fact: Fact) -> tuple[str, str]:
    """Where an event of the run's own stream leads from and to: the step's status for a step's, else the run's."""
    if isinstance(fact.event, RunCreated):
        return "", after.status
    if isinstance(fact.event, StepAdded):
        return "", after.step(fact.event.step.name).status
    if fact.step is not None:
        return before.step(fact.step).status, after.step(fact.step).status
    return before.status, after.status


def step_of(event: Any) -> str | None:
    """The step that an event of a run's own stream is about."""
    if isinstance(event, StepAdded):
        return event.step.name
    return getattr(event, "step", None)
