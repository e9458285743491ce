"""The agent's side of spawners: one for each module, snapshot and environment, started when needed, ended when idle."""

import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from foldline.agent.environments import Environment
from foldline.agent.outcome import judge
from foldline.agent.processes import signal_group
from foldline.agent.workspace import CannotRun

Json = dict[str, Any]
Place = tuple[str, ...]

IDLE: Final = 300.0  # seconds without an attempt until a spawner ends
MOST: Final = 8  # spawners kept without work: each holds an imported project in memory
FORK_IS_SAFE: Final = sys.platform != "darwin"  # system libraries of macOS may run threads from the start

log = logging.getLogger("foldline.agent")


class SpawnerDied(CannotRun):
    """The spawner ended while it held the attempt."""


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt, as a spawner is asked to run it."""

    task: Json
    log: Path
    cwd: Path
    environment: Mapping[str, str]  # beside the spawner's own


class Forked:
    """A child of a spawner, which is told of what becomes of it; `pid` is 0 until it has begun."""

    def __init__(self) -> None:
        self.pid = 0
        self._code: int | None = None
        self._died = ""  # how the spawner ended, if that came first
        self._began_at = 0.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._when_begun: Callable[[Forked, float], None] | None = None
        self._when_ended: Callable[[], None] | None = None

    def wait(self) -> int:
        self._ended.wait()
        if self._code is None:
            raise SpawnerDied(f"the process it was forked from ended first: {self._died}; start the task again")
        return self._code

    def tell(self, begun: "Callable[[Forked, float], None]", ended: Callable[[], None]) -> None:
        """Call `begun` with the child and its time (POSIX seconds), then `ended`; at once for what was so already.

        They are called in the thread that listens to the spawner, which hears of no other child meanwhile.
        """
        with self._lock:
            self._when_begun, self._when_ended = begun, ended
            if self.pid:
                begun(self, self._began_at)  # under the lock, so that its end cannot come first
            has_ended = self._ended.is_set()
        if has_ended:
            ended()

    def begins(self, pid: int, at: float) -> None:
        with self._lock:
            self.pid, self._began_at = pid, at
            if self._when_begun is not None:
                self._when_begun(self, at)

    def ends(self, code: int | None, died: str = "") -> None:
        """With an exit code, or because its spawner ended."""
        with self._lock:
            self._code, self._died = code, died
            self._ended.set()
            tell = self._when_ended
        if tell is not None:
            tell()


class Spawner:
    """One spawner process, and a thread that reads what it says."""

    def __init__(
        self,
        root: Path | None,
        script: Json,
        environment: Mapping[str, str],
        output: Path,
        packages: Environment | None = None,
    ) -> None:
        self.last_used = time.monotonic()
        self.settled = threading.Event()  # whether it can fork is known
        self.can_fork = False
        self.died = False  # after it could fork: another may take its place
        self.waiting = 0  # attempts that want a child of it
        self._children: dict[int, Forked] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._output = output
        self._channel, theirs = socket.socketpair()
        python = packages.python if packages else sys.executable
        with theirs, output.open("wb") as written:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "foldline.agent.spawner", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                # An environment is kept while its lock is held, by the spawner for as long as it lives.
                pass_fds=[theirs.fileno(), *([packages.lock] if packages else [])],
                cwd=output.parent if root is None else root,
                env={**environment, **(packages.variables(environment) if packages else {})},
                start_new_session=True,
            )
        threading.Thread(target=self._listen, name="spawner", daemon=True).start()
        self._send({"load": script, "root": None if root is None else str(root), "output": str(output)})

    def fork(self, order: Order) -> Forked | None:
        """A child for one attempt. None when this spawner cannot fork, or not any more."""
        child = Forked()
        with self._lock:
            if not self.can_fork:
                return None
            number = next(self._numbers)
            self._children[number] = child
        self._send(
            {
                "start": number,
                "task": order.task,
                "log": str(order.log),
                "cwd": str(order.cwd),
                "env": dict(order.environment),
            }
        )
        return child

    def idle_for(self) -> float:
        """Seconds since its last child ended; 0 while it is wanted."""
        with self._lock:
            wanted = self.waiting or self._children or not self.settled.is_set()
            return 0.0 if wanted else time.monotonic() - self.last_used

    def end(self) -> None:
        """Hang up: it kills its children and ends."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        if not self.settled.is_set():
            self._process.kill()  # it is busy with the import and does not listen

    def _send(self, line: Json) -> None:
        data = json.dumps(line).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._channel.sendall(data)

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionError, ValueError), self._channel.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                try:
                    self._hear(said)
                except Exception:
                    log.exception("what a spawner said could not be heeded: %s", said)
        self.end()
        self._bury(self._process.wait())

    def _hear(self, said: Json) -> None:
        match said:
            case {"ready": ready}:
                self.can_fork = bool(ready)
                if not ready:
                    log.info("function steps get an interpreter each: %s", said["why"])
                self.settled.set()
            case {"started": number, "pid": pid, "at": at}:
                self._children[number].begins(pid, at)
            case {"ended": number, "code": code}:
                with self._lock:
                    child = self._children.pop(number)
                    self.last_used = time.monotonic()
                child.ends(code)
            case _:
                log.error("a spawner said something unknown: %s", said)

    def _bury(self, returncode: int) -> None:
        """The process is gone; what it forked must not go on unseen."""
        with self._lock:
            self.died, self.can_fork = self.can_fork, False
            orphans = list(self._children.values())
            self._children.clear()
        how = judge(returncode, self._output)[1] or "exit code 0"
        for child in orphans:
            if child.pid:
                signal_group(child.pid, signal.SIGKILL)
            child.ends(None, how)
        self.settled.set()
        with self._sending:
            self._channel.close()
        self._output.unlink(missing_ok=True)


class Spawners:
    """The spawners of one agent, which itself never forks."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._spawners: dict[Place, Spawner] = {}

    def fork(
        self, root: Path | None, order: Order, stop: threading.Event, packages: Environment | None = None
    ) -> Forked | None:
        """A child of the spawner that has imported what `order` needs, once it has; in the environment `packages`.

        None when the attempt needs an interpreter of its own, or when `stop` was set first.
        """
        if not FORK_IS_SAFE:
            return None
        spawner = self._wanted(root, order.task["script"], packages)
        try:
            while not spawner.settled.wait(0.2):
                if stop.is_set():
                    return None
            return None if stop.is_set() else spawner.fork(order)
        finally:
            self._unwanted(spawner)

    def end_idle(self, idle: float = IDLE, most: int = MOST) -> None:
        """End those without work for `idle` seconds, and the longest idle of more than `most`."""
        with self._lock:
            idle_for = {place: seconds for place, each in self._spawners.items() if (seconds := each.idle_for())}
            longest_first = sorted(idle_for, key=idle_for.__getitem__, reverse=True)
            for number, place in enumerate(longest_first):
                if number < len(longest_first) - most or idle_for[place] >= idle:
                    self._spawners.pop(place).end()

    def close(self) -> None:
        with self._lock:
            for spawner in self._spawners.values():
                spawner.end()
            self._spawners.clear()

    def _wanted(self, root: Path | None, script: Json, packages: Environment | None) -> Spawner:
        place = _place(root, script, packages)
        with self._lock:
            spawner = self._spawners.get(place)
            if spawner is None or spawner.died:
                output = self._folder / f"spawner-{next(self._numbers)}.out"
                spawner = self._spawners[place] = Spawner(root, script, self._environment, output, packages)
            spawner.waiting += 1
            return spawner

    def _unwanted(self, spawner: Spawner) -> None:
        with self._lock:
            spawner.waiting -= 1
            if spawner.waiting or spawner.settled.is_set():
                return
            # An import that hangs would hang the next attempt too: that one gets a new try.
            spawner.end()
            self._spawners = {place: each for place, each in self._spawners.items() if each is not spawner}


def _place(root: Path | None, script: Json, packages: Environment | None) -> Place:
    """What has to be equal for two attempts to be forked from the same import."""
    names = ("entry_point", "module", "working_dir", "pickle")
    arguments = map(str, script.get("arguments") or ())
    python = packages.python if packages else ""
    return (str(root or ""), python, *(str(script.get(name) or "") for name in names), *arguments)
