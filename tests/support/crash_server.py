"""A server without HTTP, in a process that may end at any of its points: what a test asks of it goes over a socket.

`main`, in a process of its own, has imported everything once and forks one server for each that is asked for, so that
a crash and a restart cost milliseconds, not a second.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from controller.exchange import Exchange, Held, Report
from controller.handle import By, Controller, HeldHost, Submission
from controller.loop import Loop
from controller.reading import Reader
from domain.agent import AgentRegistered
from domain.content import Content
from domain.pipeline import Definition
from domain.refused import Refused
from domain.run import RunCommand
from domain.task import TaskCommand, TaskCreated
from eventstore import points, postgresql
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import Sealer
from eventstore.sql import open_store
from eventstore.store import StoreUnavailable
from projections.all import PROJECTIONS
from projections.runner import Runner

ACTOR = "ana"
END = "end"


@dataclass(frozen=True, slots=True)
class Ask:
    """A server to be forked. `crash_at`: what points.arm takes; `counts`: it only counts what is reached."""

    url: str
    address: str
    crash_at: str | None = None
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Got:
    """A claim: the task, or the run whose host it is, and the step."""

    id: str
    attempt: int
    step: str | None
    run_id: str | None
    is_host: bool


@dataclass(frozen=True, slots=True)
class Exchanged:
    claims: Sequence[Got]
    stop: Sequence[tuple[str, int, bool]]
    refused: Sequence[str]


class Service:
    """What may be asked; each answer stands for a commit. Commands carry a key and may be repeated."""

    def __init__(self, url: str, key: Path) -> None:
        # So few that also a small append is written in more than one round trip.
        postgresql.MOST_IN_FLIGHT = 3
        self.store = open_store(url)
        self.controller = Controller(self.store)
        self.exchange_ = Exchange(self.controller)
        self.loop_ = Loop(self.controller)
        self.runner = Runner(self.store)
        self.sealer = Sealer(self.store, Keyring(key))
        self.counted: dict[str, int] = dict.fromkeys(points.POINTS, 0)

    def create_queue(self, key: str, name: str) -> None:
        self.controller.create_queue(name, self._by(key))

    def register_pipeline(self, key: str, definition: Definition) -> str:
        return self.controller.register_pipeline(definition, self._by(key)).id

    def submit(self, key: str, definition: Definition, host: HeldHost | None = None) -> str:
        given = Submission(definition=definition, host=host)
        return self.controller.submit_run("0" * 32, given, self._by(key)).id

    def create_task(self, key: str, name: str) -> str:
        created = TaskCreated(name=name, project="examples", content="", on_lost="fail")
        return self.controller.create_task("0" * 32, created, Content(), self._by(key)).id

    def start_task(self, key: str, task_id: str, session: str, lease: float) -> None:
        self.controller.start_task(task_id, session, "here", lease, self._by(key))

    def task(self, key: str, task_id: str, command: TaskCommand) -> None:
        self.controller.task(task_id, command, self._by(key))

    def run(self, key: str, run_id: str, command: RunCommand) -> None:
        self.controller.run(run_id, command, self._by(key))

    def end_host(self, key: str, run_id: str) -> None:
        self.controller.end_host(run_id, "completed", "", self._by(key))

    def register(self, asked: AgentRegistered) -> str:
        return self.exchange_.register(asked).id

    def exchange(
        self, agent_id: str, session: str, held: Sequence[Held], reports: Sequence[Report], free: int
    ) -> Exchanged:
        found = self.exchange_.exchange(agent_id, session, held=held, reports=reports, free=free)
        claims = [
            Got(claim.run.id, claim.attempt, None, claim.run.id, True)
            if claim.run is not None
            else Got(claim.task.id, claim.attempt, claim.task.step, claim.task.run_id, False)  # type: ignore[union-attr]
            for claim in found.claims
        ]
        stop = [(one.task_id, one.attempt, one.lost) for one in found.stop]
        return Exchanged(claims, stop, [one.reason for one in found.receipts if not one.accepted])

    def loop(self) -> int:
        return self.loop_.once()

    def project(self) -> None:
        self.runner.catch_up()

    def sign(self) -> None:
        self.sealer.seal()

    def rebuild(self) -> None:
        for one in PROJECTIONS:
            self.runner.rebuild(one.name)

    def tail(self, after: int) -> list[tuple[int, bytes]]:
        """The log from a position on: positions and hashes."""
        return [(row.position, row.leaf) for row in self.store.read(after=after, limit=100_000)]

    def status(self, run_id: str) -> str:
        return Reader(self.store).run(run_id).status

    def statuses(self, run_id: str) -> dict[str, str]:
        run = Reader(self.store).run(run_id)
        return {name: run.step(name).status for name in run.plan.names}

    def task_status(self, task_id: str) -> str:
        return Reader(self.store).task(task_id).status

    def asked(self, run_id: str) -> list[tuple[str, str, str]]:
        """The open questions to the run's host: id, kind, step."""
        hooks = Reader(self.store).run(run_id).hooks.values()
        return sorted((one.asked.id, one.asked.kind, one.asked.step) for one in hooks)

    def counts(self) -> dict[str, int]:
        return self.counted

    def arm(self, crash_at: str) -> None:
        points.arm(crash_at)

    def count(self, name: str) -> None:
        self.counted[name] += 1

    def close(self) -> None:
        self.store.close()

    def _by(self, key: str) -> By:
        return By(actor=ACTOR, key=key, request="r")


def serve(listener: socket.socket, ask: Ask) -> None:
    """Answer whoever connects, each in a thread, until one says END."""
    with closing(Service(ask.url, Path(ask.address).with_name("audit.key"))) as service:
        if ask.counts:
            points.reach = service.count
        elif ask.crash_at:
            points.arm(ask.crash_at)
        over = threading.Event()

        def listen() -> None:
            while True:
                connection = Connection(listener.accept()[0].detach())
                threading.Thread(target=answer, args=(connection, service, over), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        over.wait()


def answer(connection: Connection, service: Service, over: threading.Event) -> None:
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        if name == END:
            over.set()
            return
        connection.send(_outcome(getattr(service, name), arguments))


def _outcome(method: Callable[..., Any], arguments: Sequence[Any]) -> tuple[str, Any]:
    try:
        return "done", method(*arguments)
    except StoreUnavailable as error:
        return "unavailable", str(error)
    except Refused as refused:
        return "refused", str(refused)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


def main(address: str) -> None:
    """Fork a server for each Ask, and say its process id; for a process id, wait for its end and say its exit code.

    When nobody asks any more, the servers that are left are killed.
    """
    running: set[int] = set()
    with Listener(address, "AF_UNIX") as orders, orders.accept() as parent:
        while True:
            try:
                order = parent.recv()
            except EOFError:
                break
            if isinstance(order, Ask):
                running.add(said := _forked(order))
            else:
                said = os.waitstatus_to_exitcode(os.waitpid(order, 0)[1])
                running.discard(order)
            parent.send(said)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _forked(ask: Ask) -> int:
    # Bound before the fork, so that whoever knows of the server can reach it.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ask.address)
    listener.listen(64)
    pid = os.fork()
    if pid:
        listener.close()
        return pid
    try:
        serve(listener, ask)
    finally:
        os._exit(0)
