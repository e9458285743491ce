"""A server without HTTP, on any store, and agents that do what a test says. `check` sees whether all hangs together."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from msgspec import Struct

from controller.exchange import Claim, Exchange, Exchanged, Held, Report
from controller.folding import plan_of
from controller.formats import event_of, fact_of
from controller.handle import Answer, By, Controller, Submission
from controller.reading import Reader
from controller.snapshots import Keeper, decode, encode
from controller.verify import verify_run, work_rows
from domain import task as tasks
from domain.agent import AgentRegistered
from domain.content import Content, Parameter
from domain.ids import run_stream, step_task_id, task_stream
from domain.lifecycle import RUN_ENDED
from domain.pipeline import Definition, PipelineParameter, Plan, StepDefinition
from domain.run import AnswerHook, Run, RunCommand, RunCreated, evolve
from domain.run_state import Hook
from domain.task import EnqueueTask, Task, TaskCommand, TaskCreated
from eventstore.store import Append, Recorded, Store

BY = By(actor="ana")
QUEUES = ("default", "gpu", "services")
LR = Content(hyperparameters={"General": {"lr": Parameter(0.1)}})
Steps = Mapping[str, Sequence[str]] | Sequence[StepDefinition]


def new_id() -> str:
    return uuid4().hex


class Clock:
    """Time that passes when told to: the database's clock (microseconds UTC), which can be set, and a monotonic one."""

    def __init__(self) -> None:
        self._seconds = 1_000.0
        self._set_by = 1_700_000_000.0

    def passes(self, seconds: float) -> None:
        self._seconds += seconds

    def is_set_by(self, seconds: float) -> None:
        """Somebody sets the database's clock."""
        self._set_by += seconds

    def monotonic(self) -> float:
        return self._seconds

    def database(self) -> int:
        return round((self._set_by + self._seconds) * 1_000_000)


def step(name: str, *parents: str, **fields: Any) -> StepDefinition:
    """A step with a template of its own, unless the fields give one."""
    inline = {} if "base_task_id" in fields else {"task": Content()}
    return StepDefinition(name=name, parents=parents, **{**inline, **fields})


def pipeline(steps: Steps, **fields: Any) -> Definition:
    """`steps` may be {name: parents}, `defaults` the parameters' values by name."""
    if isinstance(steps, Mapping):
        steps = [step(name, *parents) for name, parents in steps.items()]
    parameters = [PipelineParameter(name=name, default=value) for name, value in fields.pop("defaults", {}).items()]
    given = {"name": "iris", "project": "examples", "default_queue": "default", **fields}
    return Definition(steps=steps, parameters=parameters, **given)


class Server:
    def __init__(
        self, store: Store, *, lease: float = 10.0, queues: Sequence[str] = QUEUES, keeper: Keeper | None = None
    ) -> None:
        self.store = store
        self.controller = Controller(store, lease=lease, keeper=keeper)
        self.exchange = Exchange(self.controller)
        self.reader = Reader(store, keeper)
        for queue in queues:
            self.controller.create_queue(queue, BY)

    def restarted(self) -> "Server":
        """Another process on the same store, which has not looked into it yet."""
        return Server(self.store, lease=self.controller.lease, queues=())

    # What people do

    def create(self, name: str = "train", *, by: By = BY, content: Content | None = None, **fields: Any) -> str:
        created = TaskCreated(**{"name": name, "project": "examples", "content": "", **fields})
        return self.controller.create_task(new_id(), created, content or LR, by).id

    def enqueued(self, name: str = "train", *, queue: str = "default", priority: int = 0, **fields: Any) -> str:
        task_id = self.create(name, **fields)
        self.do(task_id, EnqueueTask(queue=queue, priority=priority))
        return task_id

    def do(self, task_id: str, command: TaskCommand, by: By = BY, **fields: Any) -> Answer:
        return self.controller.task(task_id, command, by, **fields)

    def submit(self, steps: Steps | Definition, *, by: By = BY, run_id: str | None = None, **fields: Any) -> str:
        definition = steps if isinstance(steps, Definition) else pipeline(steps)
        submission = Submission(definition=definition, **fields)
        return self.controller.submit_run(run_id or new_id(), submission, by).id

    def tell(self, run_id: str, command: RunCommand, by: By = BY, **fields: Any) -> Answer:
        return self.controller.run(run_id, command, by, **fields)

    def follows(self, run_id: str) -> None:
        """Keep the run in memory from now on, and read on what other servers write."""

        def job(append: Append) -> None:
            self.controller.state.open(append)
            self.controller.state.run(append, run_id)

        self.store.append(job).result()

    def agent(self, name: str = "h:0", **fields: Any) -> "Agent":
        return Agent(self, name, **fields)

    # What can be seen

    @property
    def head(self) -> int:
        return self.store.head()

    def task(self, task_id: str) -> Task:
        return self.reader.task(task_id)

    def run(self, run_id: str) -> Run:
        return self.reader.run(run_id)

    def of_step(self, run_id: str, name: str) -> Task:
        return self.reader.task(step_task_id(run_id, name))

    def statuses(self, run_id: str) -> dict[str, str]:
        run = self.run(run_id)
        return {name: run.step(name).status for name in run.plan.names}

    def asked(self, run_id: str, kind: str = "", step: str = "") -> list[Hook]:
        """The open questions to the run's host, the oldest first."""
        hooks = sorted(self.run(run_id).hooks.values(), key=lambda hook: (hook.at, hook.asked.id))
        return [
            one
            for one in hooks
            if one.asked.kind in (kind or one.asked.kind) and one.asked.step in (step or one.asked.step)
        ]

    def child(self, run_id: str, name: str) -> str:
        """The run that the step is."""
        found = self.run(run_id).step(name).run_id
        assert found is not None
        return found

    def events(self, *types: str) -> list[Recorded]:
        """The whole log, or what is of these types in it."""
        rows = self.store.read(limit=1_000_000)
        return [row for row in rows if not types or row.type in types]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.store.select(table)]

    # Whether it hangs together

    def check(self) -> None:
        """All runs verify; work, leases, memory and reader agree with a plain fold of the log."""
        log = self.events()
        assert [row.position for row in log] == list(range(1, len(log) + 1))
        for run_id in sorted({row.run_id for row in log if row.run_id is not None}):
            found = verify_run(self.store, run_id)
            assert found.ok, found.differences
        folded = folded_tasks(log)
        assert self.rows("work") == sorted(work_rows(log), key=lambda row: str(row["task_id"]))
        held = {task_stream(task.id): task.attempts[-1] for task in folded.values() if task.status == "in_progress"}
        for run_id in {row.run_id for row in log if row.run_id is not None}:
            host = Reader(self.store).run(run_id).host
            if host.status == "running":
                held[run_stream(run_id)] = host.attempts[-1]
        leases = {row["stream"]: row for row in self.rows("lease") if not row["stream"].startswith("agent-")}
        assert {stream: (row["attempt"], row["session"]) for stream, row in leases.items()} == {
            stream: (attempt.number, attempt.session) for stream, attempt in held.items()
        }
        self._check_memory(log, folded)

    def _check_memory(self, log: Sequence[Recorded], folded: Mapping[str, Task]) -> None:
        self.controller.catch_up()
        state, fresh = self.controller.state, Controller(self.store)
        fresh.catch_up()
        assert state.position == fresh.state.position == len(log)
        assert (state.held, state.queues, state.agents) == (fresh.state.held, fresh.state.queues, fresh.state.agents)
        assert (state.hosts, state.timers) == (fresh.state.hosts, fresh.state.timers)
        for queue in state.queues:
            assert (state.ready.length(queue), state.ready.first(queue)) == (
                fresh.state.ready.length(queue),
                fresh.state.ready.first(queue),
            )
        for task_id, task in folded.items():
            for known in (state.tasks.get(task_id), self.reader.task(task_id), Reader(self.store).task(task_id)):
                assert known is None or plain(known) == plain(task)
        for run_id in {row.run_id for row in log if row.run_id is not None}:
            run = Reader(self.store).run(run_id)
            assert plain(evolved(self.store, run_id)) == plain(run), "folded at once and event by event"
            for known in (state.runs.get(run_id), self.reader.run(run_id)):
                assert known is None or plain(known) == plain(run)
                assert known is None or plain(decode(encode(known), self.reader.text)) == plain(run), "as a snapshot"


def evolved(store: Store, run_id: str) -> Run:
    """The run as the domain folds it: event by event."""
    rows = store.run(run_id)
    first = fact_of(next(rows))
    assert isinstance(first.event, RunCreated)
    run = evolve(Run(id=run_id, plan=plan_of(first.event.definition, Reader(store).text)), first)
    for row in rows:
        run = evolve(run, fact_of(row))
    return run


def plain(value: Any) -> Any:
    """`value` as JSON would have it: whether it came from memory or from the log makes no difference."""
    if isinstance(value, Plan):
        return plain(value.definition)
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def folded_tasks(log: Sequence[Recorded]) -> dict[str, Task]:
    folded: dict[str, Task] = {}
    for row in log:
        kind, _, task_id = row.stream.partition("-")
        if kind == "task":
            before = folded.get(task_id, Task(id=task_id))
            folded[task_id] = tasks.evolve(before, event_of(row), row.recorded_at)  # pyright: ignore[reportArgumentType]
    return folded


class Agent:
    """Knows what it was told, as a real one does: `held` is what it believes to hold."""

    def __init__(self, server: Server, name: str, *, queues: Sequence[str] = ("default",), session: str = "") -> None:
        self.server, self.name, self.queues = server, name, queues
        self.session = session or new_id()
        self.held: dict[str, int] = {}
        self.registered = self._register()
        self.id = self.registered.id

    def _register(self) -> Answer:
        asked = AgentRegistered(name=self.name, session=self.session, queues=self.queues, slots=1, host="h")
        return self.server.exchange.register(asked)

    def started_anew(self) -> "Agent":
        """The agent's next process."""
        return Agent(self.server, self.name, queues=self.queues)

    def ask(self, *reports: Report, free: int = 1, server: Server | None = None) -> Exchanged:
        """One exchange, of which the agent learns the answer."""
        answer = self.ask_in_vain(*reports, free=free, server=server)
        for report in reports:
            if self.held.get(report.task_id) == report.attempt:
                del self.held[report.task_id]
        for stop in answer.stop:
            if stop.lost:
                self.held.pop(stop.task_id, None)
        self.held.update({claimed(claim): claim.attempt for claim in answer.claims})
        return answer

    def ask_in_vain(self, *reports: Report, free: int = 1, server: Server | None = None) -> Exchanged:
        """One exchange whose answer the agent never sees."""
        exchange = (server or self.server).exchange
        return exchange.exchange(self.id, self.session, held=self.holds(), reports=reports, free=free)

    def claim(self, server: Server | None = None) -> Claim:
        [claim] = self.ask(free=1, server=server).claims
        return claim

    def end(self, claim: Claim, status: str = "completed", *, free: int = 0, **fields: Any) -> Exchanged:
        return self.ask(ended(claim, status, **fields), free=free)

    def answer(self, run_id: str, kind: str = "", step: str = "", **said: Any) -> None:
        """As the run's host, answer the oldest question of this kind. Raises Refused."""
        hook = self.server.asked(run_id, kind, step)[0]
        given = AnswerHook(hook_id=hook.asked.id, session=self.session, attempt=self.held[run_id], **said)
        self.server.tell(run_id, given)

    def beat(self, *, everything: bool = True) -> list[Any]:
        """A heartbeat, which names what it holds, or nothing."""
        held = self.holds() if everything else []
        return self.server.exchange.heartbeat(self.id, self.session, held)

    def holds(self) -> list[Held]:
        return [Held(task_id, attempt) for task_id, attempt in self.held.items()]

    def work(self, outcome: Callable[[Claim], str] = lambda _: "completed") -> list[str]:
        """Run one task after the other until there is none; the names of those it ran."""
        names: list[str] = []
        claims = self.ask().claims
        while claims:
            [claim] = claims
            names.append(claim.task.name if claim.task else "")
            claims = self.end(claim, outcome(claim), free=1).claims
        return names


def claimed(claim: Claim) -> str:
    """The id of the task, or of the run whose host it is."""
    found = claim.task or claim.run
    assert found is not None
    return found.id


def name_of(claim: Claim) -> str:
    """The name of the claimed task."""
    assert claim.task is not None
    return claim.task.name


def ended(claim: Claim, status: str = "completed", **fields: Any) -> Report:
    return Report(task_id=claimed(claim), attempt=claim.attempt, status=status, **fields)


def is_over(run: Run) -> bool:
    return run.status in RUN_ENDED


def together(store: Any, *calls: Callable[[], Any]) -> list[Any]:
    """What each of the calls answers or raises when their jobs wait at the shard, in this order, for one batch."""
    answers: list[Any] = [None] * len(calls)
    waits = threading.Semaphore(0)
    append = store.append

    def noted(job: Callable[[Append], Any], **fields: Any) -> Any:
        future = append(job, **fields)
        waits.release()
        return future

    def call(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]

    def hold_the_shard(_: Append) -> None:
        for thread in threads:
            thread.start()
            assert waits.acquire(timeout=20)

    store.append = noted
    try:
        append(hold_the_shard).result()
        for thread in threads:
            thread.join(20)
    finally:
        store.append = append
    return answers


def race(*calls: Callable[[], Any]) -> list[Any]:
    """What each of the calls answers or raises when they begin at the same moment, each in a thread."""
    answers: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def call(number: int) -> None:
        barrier.wait(20)
        try:
            answers[number] = calls[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers
