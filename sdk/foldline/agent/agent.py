"""The agent process: a name, a session with the server, signals, and the way out."""

import contextlib
import logging
import os
import secrets
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from foldline.agent import containers, names, spool
from foldline.agent.names import Name
from foldline.agent.patience import patiently
from foldline.agent.session import Session
from foldline.agent.strays import Strays
from foldline.client import Client
from foldline.errors import FoldlineError
from foldline.version import VERSION

Json = dict[str, Any]

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# For what is still on its way when the processes of a stopped agent are gone: output, then reports.
LAST_WORDS: Final = 10.0
TICK: Final = 1.0  # seconds
ONE_REQUEST: Final = 1.0  # seconds within which signals count as one
# Sessions lost within a minute, that many: not the server's mood but another agent with our name.
TWIN: Final = 4

log = logging.getLogger("foldline.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What `foldline agent start` was told. None stands for the default."""

    queues: Sequence[str] = ()  # "default"; in services mode "services"
    slots: int | None = None  # attempts at a time: 1; in services mode 20
    services: bool = False
    name: str | None = None  # the first free of <hostname>:1, <hostname>:2, ...
    url: str | None = None  # FOLDLINE_URL
    token: str | None = None  # FOLDLINE_TOKEN
    home: Path | None = None  # FOLDLINE_HOME, else ~/.foldline: state of agents, cached sources
    grace: float = 10.0  # seconds from SIGTERM to SIGKILL
    docker: bool = False  # tasks with a container run in it

    def chosen_queues(self) -> list[str]:
        return list(self.queues) or ["services" if self.services else "default"]

    def chosen_slots(self) -> int:
        slots = self.slots if self.slots is not None else (20 if self.services else 1)
        if slots < 1:
            raise FoldlineError(f"an agent needs at least one slot, not {slots}")
        return slots

    def chosen_home(self) -> Path:
        return Path(self.home or os.environ.get("FOLDLINE_HOME") or "~/.foldline").expanduser().resolve()


class StopRequests:
    """How often the agent was asked to stop: once, and it drains; twice, and it stops what runs.

    A pipe rather than a threading.Event: a signal handler that sets an Event while its own thread is about to wait
    for it never returns.
    """

    def __init__(self) -> None:
        self.count = 0
        self._closed = False
        self._signalled_at = float("-inf")
        self._ears, self._mouth = os.pipe()
        os.set_blocking(self._ears, False)
        os.set_blocking(self._mouth, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        os.close(self._ears)
        os.close(self._mouth)

    def ask(self) -> None:
        self.count += 1
        self.wake()

    def wake(self) -> None:
        """Let `wait` return: something else has happened."""
        if not self._closed:
            with contextlib.suppress(BlockingIOError):  # full: it will wake up anyway
                os.write(self._mouth, b"!")

    def wait(self, seconds: float) -> int:
        """The count, after `seconds` or as soon as there is news."""
        if select.select([self._ears], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._ears, 65536)
        return self.count

    @contextlib.contextmanager
    def on_signals(self) -> Generator[None, None, None]:
        """Signals ask, inside the `with` block. Only the main thread can have handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # One that is ignored stays so: nohup means it.
        heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._signalled) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: object) -> None:
        # Of one Ctrl-C two signals arrive when a wrapper passes on what the terminal has sent to us as well.
        if time.monotonic() - self._signalled_at > ONE_REQUEST:
            self._signalled_at = time.monotonic()
            self.ask()


class Agent:
    """Registers, works, and registers again with a new session when the server has ended the old one."""

    def __init__(self, options: AgentOptions, name: Name, requests: StopRequests) -> None:
        self._options = options
        self._name = name.text
        self._spool = name.folder / "spool"
        self._requests = requests
        self._queues = options.chosen_queues()
        self._slots = options.chosen_slots()
        # Patience is the agent's own: it goes on with its attempts meanwhile, and tells when the server is away.
        self._client = Client(options.url, options.token, timeout=10.0, patience=0.0)
        self._lost_at: deque[float] = deque(maxlen=TWIN)

    def work(self) -> int:
        """Serve until asked to stop: 0, or 1 when results could not be delivered. Raises what refuses registration."""
        with self._client:
            return self._work()

    def _work(self) -> int:
        while not self._requests.count:
            self._clear_old_sessions()
            registration = patiently(self._register, self._requests.wait)
            if registration is None:
                return 0
            with self._session(registration) as session:
                exit_code = self._attend(session)
                if exit_code is not None:
                    return exit_code
                why = session.exchange.why_over
            log.warning("the session is over: %s", why)
            self._beware_of_a_twin()
        return 1

    def _register(self) -> Json:
        return self._client.agents.register(
            name=self._name,
            session=secrets.token_hex(16),
            queues=self._queues,
            slots=self._slots,
            services=self._options.services,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
        )

    def _session(self, registration: Json) -> Session:
        log.info(
            "agent %s listens to %s at %s, slots: %d",
            self._name,
            ", ".join(self._queues),
            self._client.url,
            self._slots,
        )
        return Session(
            self._client,
            registration,
            slots=self._slots,
            spool=self._spool,
            sources=self._options.chosen_home() / "cache" / "sources",
            token=self._options.token,
            grace=self._options.grace,
            docker=self._options.docker,
            wake=self._requests.wake,
        )

    def _attend(self, session: Session) -> int | None:
        """Until the agent may go: its exit code. None when the server has ended the session."""
        heeded, give_up = 0, float("inf")
        while not session.is_over():
            asked = self._requests.wait(TICK)
            if asked >= 1 and heeded < 1:
                log.info("draining; attempts that still run: %d (ask again to stop them)", session.running())
            if asked:
                session.drain()
            if asked >= 2 and heeded < 2:
                log.info("stopping; attempts that still run: %d", session.running())
                give_up = time.monotonic() + self._options.grace + LAST_WORDS
            if asked >= 2:
                session.fail_all(f"agent {self._name} was stopped")
            heeded = asked
            if heeded and session.is_idle():
                session.leave()
                return 0
            if time.monotonic() > give_up:
                log.error("leaving with results that could not be delivered; the server will count them as lost")
                session.leave()
                return 1
        return None

    def _clear_old_sessions(self) -> None:
        """End and remove what a session left whose agent died: its scripts may be running still."""
        sessions = spool.old_sessions(self._spool)
        for pid in Strays(*sessions).sweep():
            log.warning("ended process %d, left behind by an agent of this name that died", pid)
        for session in sessions:
            spool.clear(self._spool, session)

    def _beware_of_a_twin(self) -> None:
        now = time.monotonic()
        self._lost_at.append(now)
        if len(self._lost_at) == TWIN and now - self._lost_at[0] < 60.0:
            raise FoldlineError(
                f"the server keeps ending the sessions of {self._name!r}: an agent of the same name runs on another "
                "machine; start one of them with another --name"
            )


def run(options: AgentOptions) -> int:
    """Be an agent until a signal ends it. Returns the exit code; raises FoldlineError when it cannot start."""
    _log_to_stderr()
    options.chosen_slots()
    if options.docker:
        containers.check()
    with (
        StopRequests() as requests,
        requests.on_signals(),
        names.claim(options.chosen_home() / "agents", options.name) as name,
    ):
        return Agent(options, name, requests).work()


def _log_to_stderr() -> None:
    """Unless the program that runs us has arranged for it."""
    if log.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
