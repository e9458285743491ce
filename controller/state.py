"""The write side's memory: the aggregates in use, each folded up to one position of the log.

Touched only on an open append, under the shard's lock. One look at the shard's head tells whether it is current; when
another process wrote in between, it reads on. When a batch fails it is thrown away whole and read again.
"""

from itertools import islice
from typing import TypeVar

from controller.formats import event_of, fact_of
from controller.ready import Item, Ready
from controller.renewals import Renewals
from controller.signals import Signals
from controller.snapshots import Keeper, open_run
from domain import agent as agents
from domain import pipeline as pipelines
from domain import queue as queues
from domain import run as runs
from domain import task as tasks
from domain.agent import Agent
from domain.pipeline import Pipeline
from domain.queue import Queue
from domain.run import Run
from domain.run_events import HostEnded, HostEnqueued, HostLost, HostStarted
from domain.task import Task
from eventstore.store import Append, Recorded, StoreBroken

T = TypeVar("T")
MOST_EVENTS_TO_READ_ON = 20_000
NO_RUN = 2**31  # a run version that there is not


class Recent(dict[str, T]):
    """The values put last. Trimmed to `most` between batches only: what is not committed yet cannot be read again."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: str, value: T) -> T:
        self.pop(key, None)  # so that it stands behind the others, which are older
        self[key] = value
        return value

    def trim(self) -> None:
        if len(self) > self._most:
            for key in list(islice(self, len(self) - self._most)):
                del self[key]


class State:
    """`signals` learn what other processes wrote when it is read on; whoever writes here tells them by itself.

    `keeper` opens large runs, and gets them once what has happened to them is durable.
    """

    def __init__(self, signals: Signals, keeper: Keeper | None = None) -> None:
        self._signals, self._keeper = signals, keeper
        self.large = NO_RUN if keeper is None else keeper.least
        """The run version from which on a run is offered to the keeper."""
        self._grown: dict[str, Run] = {}  # large runs as this batch leaves them
        self._batch: Append | None = None
        self._committed = True
        self._stale_timers: set[str] = set()
        self.clear()

    def clear(self) -> None:
        self.position: int | None = None
        self.tasks = Recent[Task](50_000)
        self.runs = Recent[Run](2_000)
        self.pipelines = Recent[Pipeline](2_000)
        self.contents = Recent[str](5_000)
        self.queues: dict[str, Queue] = {}
        self.agents: dict[str, Agent] = {}
        self.ready = Ready()
        self.held: dict[str, dict[str, int]] = {}  # {session: {task id: attempt}}; a host under its run's id
        self._holders: dict[str, str] = {}  # {task id: session}
        self.hosts: set[str] = set()  # runs whose host is queued or held
        self.timers: dict[str, int] = {}  # {run id: when it has to be looked at, in microseconds UTC}
        self.renewals = Renewals()
        self.renewed: set[str] = set()  # whose leases this batch has put: `select` sees committed rows only

    def open(self, append: Append) -> None:
        """Make it current for the next command on `append`."""
        if append is self._batch:
            return
        if not self._committed:
            self.clear()  # the last batch has failed: what it left here never happened
        self._committed = False  # until this batch has; also when it cannot be read on and stops half way
        for recent in (self.tasks, self.runs, self.pipelines, self.contents):
            recent.trim()
        self.renewed.clear()
        self._grown.clear()
        self._read_on_to(append)
        self.position = append.head
        append.on_commit(self._confirm)
        self._batch = append

    def _read_on_to(self, append: Append) -> None:
        behind = None if self.position is None else append.head - self.position
        if behind is None or behind < 0 or behind > MOST_EVENTS_TO_READ_ON:
            self._load(append)
            self._signals.wake({queue for queue in self.queues if self.ready.length(queue)}, set(self.held))
        elif behind:
            queues: set[str] = set()
            sessions: set[str] = set()
            self._stale_timers.clear()
            for row in append.read(after=self.position or 0, limit=behind):
                self._note_whom_it_concerns(row, queues, sessions)
                self._read_on(row)
            for run_id in self._stale_timers:
                self._read_timer(append, run_id)
            self._signals.wake(queues, sessions)

    def _read_timer(self, append: Append, run_id: str) -> None:
        rows = append.select("timer", run_id=run_id)
        if rows:
            self.timers[run_id] = int(rows[0]["due_at"] or 0)
        else:
            self.timers.pop(run_id, None)

    def behind(self, head: int) -> bool:
        """Whether the log, which has come to `head`, holds what is not taken in yet. A look without the lock."""
        position = self.position
        return position is None or position < head

    def _confirm(self) -> None:
        self._committed = True
        if self._keeper is not None:
            for run in self._grown.values():
                self._keeper.offer(run)

    def grew(self, run_id: str) -> None:
        """Say that the run, a large one, is further on: to be offered to the keeper once the batch has committed."""
        if (run := self.runs.get(run_id)) is not None:
            self._grown[run_id] = run

    def _load(self, append: Append) -> None:
        self.clear()
        for row in append.streams("queue-"):
            self._read_on(row)
        for row in append.streams("agent-"):
            self._read_on(row)
        for row in append.select("work"):
            item = Item(str(row["queue"]), int(row["priority"] or 0), int(row["position"] or 0))
            self.ready.put(str(row["task_id"]), item)
            if row["task_id"] == row["run_id"]:
                self.hosts.add(str(row["task_id"]))
        for row in append.select("lease"):
            kind, _, key = str(row["stream"]).partition("-")
            if kind in ("task", "run"):
                self._hold(key, str(row["session"]), int(row["attempt"] or 0))
            if kind == "run":
                self.hosts.add(key)
        for row in append.select("timer"):
            self.timers[str(row["run_id"])] = int(row["due_at"] or 0)

    def _read_on(self, row: Recorded) -> None:
        """Take in an event that somebody else appended. What is not in memory is read when it is needed."""
        kind, _, key = row.stream.partition("-")
        event = event_of(row)
        match kind:
            case "queue":
                self.queues[key] = queues.evolve(self.queues.get(key, Queue(name=key)), event, row.recorded_at)  # type: ignore[arg-type]
            case "agent":
                self.agents[key] = agents.evolve(self.agents.get(key, Agent(id=key)), event, row.recorded_at)  # type: ignore[arg-type]
            case "pipeline":
                if (pipeline := self.pipelines.get(key)) is not None:
                    self.pipelines.put(key, pipelines.evolve(pipeline, event, row.recorded_at))  # type: ignore[arg-type]
            case "task":
                if (task := self.tasks.get(key)) is not None:
                    self.tasks.put(key, tasks.evolve(task, event, row.recorded_at))  # type: ignore[arg-type]
                self.place(key, row, event)
            case "run":
                self.place_host(key, row, event)
            case _:
                pass
        if row.run_id is not None:
            if (run := self.runs.get(row.run_id)) is not None:
                self.runs.put(row.run_id, runs.evolve(run, fact_of(row)))
            self._stale_timers.add(row.run_id)

    def _note_whom_it_concerns(self, row: Recorded, queues: set[str], sessions: set[str]) -> None:
        kind, _, key = row.stream.partition("-")
        if kind == "agent" and key in self.agents:
            sessions.add(self.agents[key].session)  # it may be over
        elif kind == "run" and key in self._holders:
            sessions.add(self._holders[key])  # its host may have to stop
        elif kind == "run" and isinstance(event := event_of(row), HostEnqueued):
            queues.add(event.queue)
        elif kind == "queue":
            queues.add(key)
        elif kind == "task":
            event = event_of(row)
            if isinstance(event, tasks.TaskEnqueued | tasks.TaskRequeued):
                queues.add(event.queue)
            elif isinstance(event, (tasks.TaskStopRequested, tasks.TaskReset, *tasks.ENDS)):
                sessions.update({self._holders[key]} if key in self._holders else ())

    def place(self, task_id: str, row: Recorded, event: object) -> None:
        """Keep the ready list and the list of who holds what true to an event of a task."""
        if isinstance(event, tasks.TaskEnqueued):
            self.ready.put(task_id, Item(event.queue, event.priority, row.position))
        elif isinstance(event, tasks.TaskStarted):
            self.ready.remove(task_id)
            self._hold(task_id, event.session, event.attempt)
        elif isinstance(event, tasks.TaskRequeued):
            self._let_go(task_id)
            self.ready.put(task_id, Item(event.queue, event.priority, row.position))
        elif row.to_state != row.from_state and row.from_state == "queued":
            self.ready.remove(task_id)
        elif row.to_state != row.from_state and row.from_state == "in_progress":
            self._let_go(task_id)

    def place_host(self, run_id: str, row: Recorded, event: object) -> None:
        """The same for the host of a run."""
        match event:
            case HostEnqueued():
                self.hosts.add(run_id)
                self.ready.put(run_id, Item(event.queue, 0, row.position))
            case HostStarted():
                self.hosts.add(run_id)
                self.ready.remove(run_id)
                self._hold(run_id, event.session, event.attempt)
            case HostLost() | HostEnded():
                self.hosts.discard(run_id)
                self.ready.remove(run_id)
                self._let_go(run_id)
            case _:
                pass

    def _hold(self, task_id: str, session: str, attempt: int) -> None:
        self._let_go(task_id)
        self.held.setdefault(session, {})[task_id] = attempt
        self._holders[task_id] = session

    def _let_go(self, task_id: str) -> None:
        session = self._holders.pop(task_id, None)
        if session is not None:
            held = self.held[session]
            del held[task_id]
            if not held:
                del self.held[session]

    # Reading what is not in memory

    def task(self, append: Append, task_id: str) -> Task:
        """The task, absent when there is none."""
        found = self.tasks.get(task_id)
        if found is None:
            found = Task(id=task_id)
            for row in append.stream(f"task-{task_id}"):
                found = tasks.evolve(found, event_of(row), row.recorded_at)  # type: ignore[arg-type]
            if found.version:
                self.tasks.put(task_id, found)
        return found

    def run(self, append: Append, run_id: str) -> Run | None:
        found = self.runs.get(run_id)
        if found is None:
            found = open_run(run_id, append, lambda digest: self.text(append, digest), self._keeper)
            if found is not None:
                self.runs.put(run_id, found)
                if found.version >= self.large:
                    self.grew(run_id)
        return found

    def pipeline(self, append: Append, pipeline_id: str) -> Pipeline:
        found = self.pipelines.get(pipeline_id)
        if found is None:
            found = Pipeline(id=pipeline_id)
            for row in append.stream(f"pipeline-{pipeline_id}"):
                found = pipelines.evolve(found, event_of(row), row.recorded_at)  # type: ignore[arg-type]
            if found.version:
                self.pipelines.put(pipeline_id, found)
        return found

    def text(self, append: Append, digest: str) -> str:
        """What the content table keeps under `digest`."""
        found = self.contents.get(digest)
        if found is None:
            rows = append.select("content", digest=digest)
            if not rows:
                raise StoreBroken(f"content {digest} is missing")
            found = self.contents.put(digest, str(rows[0]["data"]))
        return found
