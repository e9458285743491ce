"""The one door for agents: reports in, what follows from them decided, next claims out, all in one append."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct, field

from controller.handle import Answer, By, Controller
from controller.state import State
from controller.unit import Unit, lease_row
from domain import agent as agents
from domain import task as tasks
from domain.agent import Agent
from domain.content import Content
from domain.ids import agent_id as id_of_agent
from domain.ids import run_stream, task_stream
from domain.lifecycle import RUN_ENDED, TASK_ENDED, words
from domain.refused import Invalid, Refused, Unknown
from domain.run import Run
from domain.run_events import HostEnded, HostLost, HostStarted
from domain.task import Task
from eventstore import points
from eventstore.measures import Histogram
from eventstore.store import Append, Delete, StoreUnavailable

T = TypeVar("T")


class Superseded(Refused):
    """The session is over: a newer one of the same agent exists, or the agent was declared lost."""


class Held(Struct, frozen=True, gc=False):
    task_id: str
    attempt: int


class Report(Struct, frozen=True, kw_only=True, gc=False):
    """How an attempt ended, by the agent that held it. `began_at`: microseconds UTC."""

    task_id: str
    attempt: int
    status: str
    reason: str = ""
    exit_code: int | None = None
    began_at: int | None = None


class Claim(Struct, frozen=True, gc=False):
    """An attempt handed to an agent: the task as it is now, and what it is made of; or the run whose host it is."""

    task: Task | None
    content: Content
    attempt: int
    lease: float
    run: Run | None = None


class Stop(Struct, frozen=True, gc=False):
    """An attempt to end. `lost`: it is not the agent's any more, and nothing is to be reported."""

    task_id: str
    attempt: int
    reason: str
    lost: bool


class Receipt(Struct, frozen=True, gc=False):
    task_id: str
    attempt: int
    accepted: bool
    reason: str = ""


class Exchanged(Struct):
    claims: list[Claim] = field(default_factory=list[Claim])
    stop: list[Stop] = field(default_factory=list[Stop])
    receipts: list[Receipt] = field(default_factory=list[Receipt])
    position: int = 0


class Exchange:
    """What agents ask of the controller. Every method may be called from any thread."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.claims = Histogram()  # seconds from a task's entry into its queue to its start

    def register(self, asked: agents.AgentRegistered) -> Answer:
        """Begin a session; what an older session of the same agent still held is lost at once."""
        agent_id = id_of_agent(asked.name)

        def job(unit: Unit) -> Answer:
            for name in asked.queues:
                if name not in unit.state.queues:
                    known = ", ".join(sorted(unit.state.queues))
                    raise Invalid(f"There is no queue {name!r} to listen to; there are: {known}.", "queues")
            agent = unit.state.agents.get(agent_id, Agent(id=agent_id))
            for event in agents.register(asked, agent):
                lose_session(unit, agent.session, f"agent {asked.name} started anew")
                agent = unit.agent_event(agent, event)
            self._renew(unit, agent, ())
            return Answer(agent_id, agent.version, unit.append.head)

        return self._run(agent_id, job)

    def exchange(
        self, agent_id: str, session: str, *, held: Sequence[Held], reports: Sequence[Report], free: int
    ) -> Exchanged:
        """Take the reports, renew what is held, say what is to stop, and hand out up to `free` claims.

        Raises Superseded, and Unknown for an agent that never registered.
        """

        def job(unit: Unit) -> Exchanged:
            agent = _of_session(unit, agent_id, session)
            answer = Exchanged()
            for report in reports:
                answer.receipts.append(_take_report(unit, session, report))
                points.reach("report.taken")
            named = {one.task_id for one in held} | {one.task_id for one in reports}
            known = unit.state.held.get(session, {})
            lost_on_the_way = [Held(task_id, attempt) for task_id, attempt in known.items() if task_id not in named]
            self._renew(unit, agent, [*held, *lost_on_the_way])
            answer.stop = _to_stop(unit, session, held, reports)
            for lost in lost_on_the_way:
                answer.claims.append(self._claim(unit, lost.task_id))
            while len(answer.claims) < free and (task_id := _next(unit, agent)) is not None:
                answer.claims.append(self._start(unit, agent, task_id))
            answer.position = unit.append.head
            return answer

        answer = self._run(agent_id, job)
        points.reach("exchange.answered")
        return answer

    def heartbeat(self, agent_id: str, session: str, held: Sequence[Held]) -> list[Stop]:
        """Renew the leases; answer what is to stop. Raises Superseded, Unknown."""

        def job(unit: Unit) -> list[Stop]:
            agent = _of_session(unit, agent_id, session)
            self._renew(unit, agent, held)
            return _to_stop(unit, session, held, ())

        return self._run(agent_id, job)

    def leave(self, agent_id: str, session: str, reports: Sequence[Report]) -> list[Receipt]:
        """End the session after the last reports; what it still held is lost at once."""

        def job(unit: Unit) -> list[Receipt]:
            agent = _of_session(unit, agent_id, session)
            receipts = [_take_report(unit, session, report) for report in reports]
            lose_session(unit, session, f"agent {agent.name} left")
            agent = unit.agent_event(agent, agents.AgentLeft(session=session))
            unit.append.add([], [Delete("lease", {"stream": f"agent-{agent_id}"})])
            return receipts

        return self._run(agent_id, job)

    def heartbeat_task(self, task_id: str, session: str, attempt: int, lease: float) -> Stop | None:
        """Renew what the caller's own process holds, a task or a run's host; whether it shall stop.

        Raises Refused when the attempt is not this session's any more.
        """

        def job(unit: Unit) -> Stop | None:
            if _is_host(unit, task_id):
                run = unit.run(task_id)
                if not run.host.held_by(session, attempt):
                    raise Refused(f"Attempt {attempt} is not the host of run {run.name!r} any more: end this process.")
                holder, stream = run.host.attempts[-1].agent_id, run_stream(task_id)
                stop = next(iter(stop_of_host(run, session, attempt)), None)
            else:
                task = unit.task(task_id)
                if not task.held_by(session, attempt):
                    raise Refused(
                        f"Attempt {attempt} of task {task.name!r} is over: the task is {words(task.status)}, "
                        f"attempt {task.attempt}. This process should end."
                    )
                holder, stream = task.attempts[-1].agent_id, task_stream(task_id)
                stop = Stop(task_id, attempt, task.stop_reason, False) if task.stop_requested else None
            unit.renew([lease_row(stream, attempt, holder, session, lease, unit.append.clock)])
            return stop

        return self._run("", job)

    def has_work(self, queues: Sequence[str]) -> bool:
        """Whether a claim on one of `queues` might succeed; a look without the lock, so only a hint."""
        state = self._controller.state
        return any(state.ready.length(queue) and not is_paused(state, queue) for queue in queues)

    def queues_of(self, agent_id: str) -> Sequence[str]:
        agent = self._controller.state.agents.get(agent_id)
        return agent.queues if agent else ()

    def _run(self, agent_id: str, job: Callable[[Unit], T]) -> T:
        controller = self._controller

        def once(append: Append) -> T:
            controller.state.open(append)
            return controller.at_work(append, By(actor=f"agent:{agent_id}" if agent_id else "task"), job)

        try:
            return controller.store.append(once).result()
        except StoreUnavailable:
            controller.unheard.set()
            raise

    def _renew(self, unit: Unit, agent: Agent, held: Sequence[Held]) -> None:
        """Put the leases of the agent and of what it names anew: a lease is only judged by what was last said of it."""
        lease, now = self._controller.lease, unit.append.clock
        rows = [lease_row(f"agent-{agent.id}", 0, agent.id, agent.session, lease, now)]
        known = unit.state.held.get(agent.session, {})
        for one in held:
            if known.get(one.task_id) == one.attempt:
                rows.append(lease_row(stream_of(unit, one.task_id), one.attempt, agent.id, agent.session, lease, now))
        unit.renew(rows)

    def _start(self, unit: Unit, agent: Agent, task_id: str) -> Claim:
        points.reach("claim.chosen")
        lease = self._controller.lease
        if task_id in unit.state.hosts:
            attempt = unit.run(task_id).host.attempt + 1
            started = HostStarted(attempt=attempt, agent_id=agent.id, session=agent.session, host=agent.host)
            unit.run_event(task_id, started, lease=lease)
        else:
            command = tasks.StartTask(agent_id=agent.id, session=agent.session, host=agent.host)
            task, now = unit.task(task_id), unit.append.now
            for event in tasks.decide(command, task):
                unit.task_event(task_id, event, lease=lease)
            self.claims.add((now - (task.queued_at or now)) / 1_000_000)
        points.reach("claim.taken")
        return self._claim(unit, task_id)

    def _claim(self, unit: Unit, task_id: str) -> Claim:
        if task_id in unit.state.hosts:
            run = unit.run(task_id)
            content = Content() if run.content is None else unit.content(run.content)
            return Claim(None, content, run.host.attempt, self._controller.lease, run)
        task = unit.task(task_id)
        return Claim(task, unit.content_of(task), task.attempt, self._controller.lease)


def _is_host(unit: Unit, task_id: str) -> bool:
    """Whether this is the id of a run: what goes by it is the run's host, also when that has ended."""
    if task_id in unit.state.hosts:
        return True
    return not unit.state.task(unit.append, task_id).version and unit.state.run(unit.append, task_id) is not None


def stream_of(unit: Unit, task_id: str) -> str:
    """That of the task, or of the run whose host goes by its id."""
    return run_stream(task_id) if task_id in unit.state.hosts else task_stream(task_id)


def _of_session(unit: Unit, agent_id: str, session: str) -> Agent:
    agent = unit.state.agents.get(agent_id)
    if agent is None:
        raise Unknown(f"There is no agent {agent_id}: register first.")
    if agent.session != session or agent.status != "online":
        raise Superseded(
            f"Session {session[:8]} of agent {agent.name} is over ({agent.status}): "
            "end what still runs, then register with a new session."
        )
    return agent


def _next(unit: Unit, agent: Agent) -> str | None:
    """The next task for the agent: its queues in the order it named them, each by priority, then in order."""
    for queue in agent.queues:
        if is_paused(unit.state, queue):
            continue
        task_id = unit.state.ready.first(queue)
        if task_id is not None:
            return task_id
    return None


def is_paused(state: State, queue: str) -> bool:
    known = state.queues.get(queue)
    return known is not None and known.paused is not None


def _take_report(unit: Unit, session: str, report: Report) -> Receipt:
    if _is_host(unit, report.task_id):
        return _take_host_report(unit, session, report)
    command = tasks.EndTask(
        status=report.status,
        reason=report.reason,
        attempt=report.attempt,
        session=session,
        exit_code=report.exit_code,
        began_at=report.began_at,
    )
    try:
        events = tasks.decide(command, unit.task(report.task_id))
    except Refused as refused:
        return Receipt(report.task_id, report.attempt, False, str(refused))
    for event in events:
        unit.task_event(report.task_id, event)
    return Receipt(report.task_id, report.attempt, True)


def _take_host_report(unit: Unit, session: str, report: Report) -> Receipt:
    host = unit.run(report.task_id).host
    last = host.attempts[-1] if host.attempts else None
    if last is not None and (last.number, last.session) == (report.attempt, session) and last.status in TASK_ENDED:
        return Receipt(report.task_id, report.attempt, True)  # said before
    if not host.held_by(session, report.attempt):
        said = f"Attempt {report.attempt} is not the host of run {report.task_id} any more."
        return Receipt(report.task_id, report.attempt, False, said)
    if report.status == "failed" and report.exit_code is None and report.began_at is not None:
        # A signal has killed it, not its own code: another one goes on where it was.
        unit.run_event(report.task_id, HostLost(attempt=report.attempt, reason=report.reason))
        return Receipt(report.task_id, report.attempt, True)
    ended = HostEnded(
        attempt=report.attempt,
        status=report.status,
        reason=report.reason,
        exit_code=report.exit_code,
        began_at=report.began_at,
    )
    unit.run_event(report.task_id, ended)
    return Receipt(report.task_id, report.attempt, True)


def _to_stop(unit: Unit, session: str, held: Sequence[Held], reports: Sequence[Report]) -> list[Stop]:
    reported = {(one.task_id, one.attempt) for one in reports}
    found: list[Stop] = []
    for one in held:
        if (one.task_id, one.attempt) in reported:
            continue
        if _is_host(unit, one.task_id):
            found += stop_of_host(unit.run(one.task_id), session, one.attempt)
            continue
        try:
            task = unit.task(one.task_id)
        except Unknown:
            found.append(Stop(one.task_id, one.attempt, "there is no such task", True))
            continue
        if not task.held_by(session, one.attempt):
            ended = f"attempt {one.attempt} is over: the task is {words(task.status)}"
            found.append(Stop(one.task_id, one.attempt, ended, True))
        elif task.stop_requested:
            found.append(Stop(one.task_id, one.attempt, task.stop_reason, False))
    return found


def stop_of_host(run: Run, session: str, attempt: int) -> list[Stop]:
    """Whether the host has to end: it lost its place, or the run was told to stop. A run's own end is no reason."""
    if not run.host.held_by(session, attempt):
        return [Stop(run.id, attempt, f"attempt {attempt} is not the host of the run any more", True)]
    if run.ending and run.status not in RUN_ENDED and run.plan.definition.dynamic:
        return [Stop(run.id, attempt, run.reason or run.failure, False)]
    return []


def lose_session(unit: Unit, session: str, reason: str) -> None:
    """Everything that `session` holds is lost: requeued or ended, as each task says."""
    for task_id, attempt in list(unit.state.held.get(session, {}).items()):
        lose_attempt(unit, task_id, attempt, reason)


def lose_attempt(unit: Unit, task_id: str, attempt: int, reason: str) -> None:
    if task_id in unit.state.hosts:
        host = unit.run(task_id).host
        if host.status == "running" and host.attempt == attempt:
            unit.run_event(task_id, HostLost(attempt=attempt, reason=reason))
        return
    for event in tasks.decide(tasks.LoseTask(attempt=attempt, reason=reason), unit.task(task_id)):
        unit.task_event(task_id, event)
