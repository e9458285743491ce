"""People, agents and a host who use a server that crashes under them: all they do they do again until it is answered.

They remember what they were told; `check` compares that with the log, and the log with all that is made of it.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from controller.exchange import Held, Report
from controller.formats import event_of
from controller.handle import HeldHost
from domain.agent import AgentRegistered
from domain.content import Content, Script
from domain.ids import derived
from domain.lifecycle import RUN_ENDED, TASK_ENDED
from domain.pipeline import Approval, Definition, HostDefinition, Retry, StepDefinition
from domain.run import AnswerHook, ApproveStep
from domain.run_commands import AddStep
from eventstore.audit.verification import verify
from eventstore.points import EXIT_CODE
from eventstore.sql import SqlStore, open_store
from eventstore.store import Recorded
from projections.differences import differences
from projections.runner import Runner
from tests.controller.server import Server
from tests.projections.rows import all_rows
from tests.support.crash_server import Got
from tests.support.crashing import Crashed, CrashServer, Forker, Unavailable

QUEUES = ("default", "services")
MOST_TRIES = 20
MOST_ROUNDS = 400
HOST = HostDefinition(task=Content(script=Script(entry_point="pipe.py")))
LEASE = 0.02  # seconds that the caller's own process is waited for


def step(name: str, *parents: str, **fields: Any) -> StepDefinition:
    return StepDefinition(name=name, parents=parents, **{"task": Content(), **fields})


def child() -> Definition:
    return Definition(
        name="child", project="examples", default_queue="default", steps=[step("first"), step("second", "first")]
    )


def everything(child_id: str) -> Definition:
    """A join, a retry that waits, hooks, an approval, a pipeline as a step."""
    steps = [
        step("a"),
        step("b"),
        step("join", "a", "b"),
        step("again", retry=Retry(times=1, delay=0.001)),
        step("hooked", "join", hooks=("pre", "post")),
        StepDefinition(name="approved", parents=["join"], approval=Approval(message="well?")),
        StepDefinition(name="nested", parents=["again"], pipeline_id=child_id),
        step("end", "hooked", "approved", "nested"),
    ]
    return Definition(name="everything", project="examples", default_queue="default", steps=steps, host=HOST)


def dynamic() -> Definition:
    return Definition(name="dynamic", project="examples", default_queue="default", host=HOST, dynamic=True)


@dataclass
class Hand:
    """An agent: what it holds, and what it has not got rid of yet."""

    name: str
    queues: Sequence[str]
    session: str
    id: str = ""
    held: dict[str, Got] = field(default_factory=dict[str, Got])
    reports: dict[str, Report] = field(default_factory=dict[str, Report])


class World:
    """`crashes` are armed one after another, each in the server that follows the crash before it."""

    def __init__(self, forker: Forker, url: str, crashes: Sequence[str] = (), *, counts: bool = False) -> None:
        self.url = url
        self.story: list[str] = []
        self.counted: dict[str, int] = {}
        self.handed_out: dict[tuple[str, int], str] = {}
        self.ended: Counter[tuple[str, int]] = Counter()
        self.seen: list[tuple[int, bytes]] = []
        self._forker, self._crashes, self._counts = forker, list(crashes), counts
        self._keys = count()
        self._hands: list[Hand] = []
        self._server = self._started()

    @property
    def left(self) -> int:
        """How many crashes have not taken place."""
        return len(self._crashes)

    # What they do

    def play(self) -> None:
        """Two pipelines and a task of somebody's own, from their beginning to their end."""
        turn = next(self._keys)
        for name in QUEUES:
            self.command("create_queue", name)
        child_id = self.command("register_pipeline", child())
        self._hands = [self._hand(f"h:{n}", ["default"], turn) for n in range(2)]
        host = self._hand("s:0", ["services"], turn)
        static = self.command("submit", everything(child_id))
        session = derived("session", "own", turn)
        calls = self.command("submit", dynamic(), HeldHost(session=session, host="here"))
        lost = self.command("create_task", "held by nobody")
        self.command("start_task", lost, derived("session", "lost", turn), LEASE)
        added = 0
        for round_ in range(MOST_ROUNDS):
            for hand in self._hands:
                self._works(hand)
            self._hosts(host, static)
            self._approves(static)
            added = self._adds(calls, session, added)
            self.ask("loop")
            if round_ % 2:  # in the one between, a page has more to take
                self.ask("project")
                self.ask("sign")
            if self._over(static, calls, lost):
                break
        else:
            raise AssertionError(f"no end: {self.ask('statuses', static)}, {self.ask('statuses', calls)}")
        self._finishes(host)
        if self._counts or any(crash.startswith("rebuild.") for crash in self._crashes):
            self.ask("rebuild")
        assert self.ask("status", static) == self.ask("status", calls) == "completed"
        assert self.ask("task_status", lost) == "failed"

    def finish(self) -> None:
        """End the last server as one ends it who wants to keep what it has."""
        if self._counts:
            self.counted = self.ask("counts")
        self._server.end()

    def command(self, name: str, *arguments: Any) -> Any:
        """Give a command until it is answered, always under the same key; then look at the log, as a tail reader."""
        answer = self.ask(name, f"k{next(self._keys)}", *arguments)
        self._look()
        return answer

    def ask(self, name: str, *arguments: Any) -> Any:
        for _ in range(MOST_TRIES):
            try:
                return self._server.ask(name, *arguments)
            except Unavailable as lost:
                self.story.append(f"{name}: {lost}")
                self._crashes.pop(0)
                self._arm()
            except Crashed:
                code = self._server.ended()
                assert code == EXIT_CODE, f"the server ended with {code} in {name}, after {self.story}"
                self.story.append(f"{name}: crash at {self._crashes.pop(0)}")
                self._server = self._started()
        raise AssertionError(f"{name} is never answered: {self.story}")

    def _started(self) -> CrashServer:
        return self._forker.serve(self.url, self._crashes[0] if self._crashes else None, counts=self._counts)

    def _arm(self) -> None:
        if self._crashes:
            self._server.ask("arm", self._crashes[0])

    def _look(self) -> None:
        self.seen += self.ask("tail", len(self.seen))

    def _hand(self, name: str, queues: Sequence[str], turn: int) -> Hand:
        hand = Hand(name, queues, derived("session", name, turn))
        asked = AgentRegistered(name=name, session=hand.session, queues=queues, slots=1, host="h")
        hand.id = self.ask("register", asked)
        return hand

    def _works(self, hand: Hand) -> None:
        """One exchange; what it brings is done at once, and reported with the next one."""
        self._exchange(hand, free=1)
        for got in list(hand.held.values()):
            if got.is_host:
                continue
            fails = got.step == "again" and got.attempt == 1
            hand.reports[got.id] = Report(
                task_id=got.id, attempt=got.attempt, status="failed" if fails else "completed"
            )

    def _exchange(self, hand: Hand, *, free: int) -> None:
        held = [Held(got.id, got.attempt) for got in hand.held.values()]
        reports = list(hand.reports.values())
        answer = self.ask("exchange", hand.id, hand.session, held, reports, free)
        assert answer.refused == [], (answer.refused, self.story)
        for report in reports:
            self.ended[report.task_id, report.attempt] += 1
            del hand.reports[report.task_id], hand.held[report.task_id]
        for got in answer.claims:
            assert got.id not in hand.held, (got, self.story)
            assert (got.id, got.attempt) not in self.handed_out, (got, self.story)
            self.handed_out[got.id, got.attempt] = hand.session
            hand.held[got.id] = got
        self._look()

    def _hosts(self, host: Hand, run_id: str) -> None:
        if run_id not in host.held:
            return self._exchange(host, free=1)
        for hook_id, _kind, _step in self.ask("asked", run_id):
            given = AnswerHook(hook_id=hook_id, session=host.session, attempt=host.held[run_id].attempt, verdict=True)
            self.command("run", run_id, given)

    def _finishes(self, host: Hand) -> None:
        for got in host.held.values():
            host.reports[got.id] = Report(task_id=got.id, attempt=got.attempt, status="completed")
        self._exchange(host, free=0)

    def _approves(self, run_id: str) -> None:
        if self.ask("statuses", run_id)["approved"] == "waiting":
            self.command("run", run_id, ApproveStep(step="approved", actor="ana"))

    def _adds(self, run_id: str, session: str, added: int) -> int:
        """As a decorated pipeline function does: one call after the other, each with the result of the last."""
        statuses = self.ask("statuses", run_id)
        if added == 2 or any(status != "completed" for status in statuses.values()):
            return added
        one = step(f"call {added}", *statuses)
        given = AddStep(session=session, attempt=1, call=added, step=one, content="", fingerprint=f"f{added}")
        self.command("run", run_id, given)
        return added + 1

    def _over(self, static: str, calls: str, lost: str) -> bool:
        if self.ask("statuses", calls).get("call 1") == "completed" and self.ask("status", calls) not in RUN_ENDED:
            self.command("end_host", calls)
        ended = all(self.ask("status", run_id) in RUN_ENDED for run_id in (static, calls))
        return ended and self.ask("task_status", lost) in TASK_ENDED

    # What must hold

    def check(self) -> None:
        """To be called when no server is left. What was acknowledged is in the log, once, and all agrees with it."""
        with closing(open_store(self.url)) as store:
            server = Server(store, queues=())
            log = server.events()
            assert [(row.position, row.leaf) for row in log[: len(self.seen)]] == self.seen, self.story
            self._check_attempts(server)
            assert_all_agrees(server)

    def _check_attempts(self, server: Server) -> None:
        """Each attempt was started once, for whom it was handed to; each end that was acknowledged is there once."""
        starts = [(_attempt(row), event_of(row).session) for row in server.events("TaskStarted", "HostStarted")]  # type: ignore[union-attr]
        assert len(dict(starts)) == len(starts), self.story
        assert self.handed_out.items() <= dict(starts).items(), self.story
        ends = Counter(_attempt(row) for row in server.events("TaskCompleted", "TaskFailed", "HostEnded"))
        assert {attempt: ends[attempt] for attempt in self.ended} == self.ended, self.story
        assert set(self.ended.values()) == {1}


def assert_all_agrees(server: Server) -> None:
    """Every run verifies; work, leases, memory and the projections' rows are what the log says; so does the audit."""
    server.check()
    store = server.store
    assert isinstance(store, SqlStore)
    report = verify(store)
    assert report.findings == []
    assert report.signed > 0
    runner = Runner(store)
    runner.catch_up()
    for run_id in {row.run_id for row in server.events() if row.run_id}:
        assert differences(store, run_id) == []
    live = all_rows(store)
    for lag in runner.lag():
        runner.rebuild(lag.name)
    assert all_rows(store) == live


def _attempt(row: Recorded) -> tuple[str, int]:
    return row.stream.partition("-")[2], event_of(row).attempt  # type: ignore[union-attr]
