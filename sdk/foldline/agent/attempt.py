"""One attempt, from its claim to its report: prepare, run, judge, clean up."""

import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any, Final

from foldline import sources
from foldline.agent import outcome, processes, workspace
from foldline.agent.logs import LogShipper
from foldline.agent.patience import patiently
from foldline.agent.processes import Process, Started
from foldline.agent.spawners import Order, Spawners
from foldline.agent.spool import Spool
from foldline.agent.workspace import CannotRun, Workspace
from foldline.client import Client
from foldline.errors import FoldlineError

Json = dict[str, Any]

LOG_PATIENCE: Final = 5.0  # seconds that a report waits for the output before it

log = logging.getLogger("foldline.agent")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the attempts of one session share."""

    client: Client
    spool: Spool
    logs: LogShipper
    spawners: Spawners
    environment: Mapping[str, str]
    sources: Path  # the cache of unpacked snapshots, shared with other agents of this machine
    grace: float  # seconds from SIGTERM to SIGKILL
    fetching: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt is being ended before its time. Without a status it is lost: nobody wants its report."""

    reason: str
    status: str | None = "stopped"


class Attempt:
    """Lives in a thread of its own; `stop` may be called from any other.

    When the process has ended, `report(attempt, report)` hands over how; None instead of a report when it was lost.
    """

    def __init__(self, claim: Json, shop: Workshop, report: "Callable[[Attempt, Json | None], None]") -> None:
        self.key = (str(claim["task_id"]), int(claim["attempt"]))
        self.delivered = threading.Event()
        self._claim = claim
        self._script: Json = claim["task"].get("script") or {}
        self._shop = shop
        self._report = report
        self._lock = threading.Lock()
        self._ending: Ending | None = None
        self._stopping = threading.Event()
        self._over = threading.Event()  # there is no process, or none any more
        self._process: Process | None = None
        self._began_at: str | None = None

    def __str__(self) -> str:
        step = self._claim.get("step")
        name = f"step {step!r}" if step else f"task {self._claim['task'].get('name', '')!r}"
        return f"{name} ({self.key[0]}, attempt {self.key[1]})"

    def start(self) -> None:
        threading.Thread(target=self._live, name=f"attempt-{self.key[0][:8]}", daemon=True).start()

    def stop(self, ending: Ending) -> None:
        """End its processes. Returns at once; again is harmless."""
        with self._lock:
            first = self._ending is None
            becomes_lost = self._ending is not None and self._ending.status is not None and ending.status is None
            if self._over.is_set() or not (first or becomes_lost):
                return
            self._ending = ending
            process = self._process
        self._stopping.set()
        log.info("ending %s: %s", self, ending.reason)
        if process is not None:
            self._end(process, ending)

    def wait(self, seconds: float | None) -> bool:
        """Whether its process has ended, within `seconds`."""
        return self._over.wait(seconds)

    def _live(self) -> None:
        try:
            folder = self._shop.spool.attempt(*self.key)
            output = folder / "log"
            written = self._shop.logs.follow(*self.key, output)
        except OSError as error:
            self._over.set()
            self._report(self, self._as_report("failed", f"the agent has no place to run it: {error}", None))
            return
        status, reason, code = self._run(folder, output)
        with self._lock:
            # From here on a stop comes too late: it ended by itself.
            self._over.set()
            ending = self._ending
        if ending is not None and ending.status is None:
            self._shop.logs.finish(written)
            self._report(self, None)
        else:
            self._shop.logs.finish(written, LOG_PATIENCE)
            if ending is not None:
                status, reason = str(ending.status), ending.reason
            log.info("%s: %s%s", self, status, reason and f" ({reason})")
            self._report(self, self._as_report(status, reason, code))
            self.delivered.wait()
        written.settled.wait()
        shutil.rmtree(folder, ignore_errors=True)

    def _run(self, folder: Path, output: Path) -> tuple[str, str, int | None]:
        """Status, reason and exit code, whatever goes wrong."""
        try:
            return self._run_process(folder, output)
        except CannotRun as error:
            reason = str(error)
        except Exception as error:
            log.exception("%s could not be run", self)
            reason = f"the agent could not run it: {error or type(error).__name__}"
        with contextlib.suppress(OSError), output.open("a", encoding="utf-8") as file:
            file.write(f"{reason}\n")
        return "failed", reason, None

    def _run_process(self, folder: Path, output: Path) -> tuple[str, str, int | None]:
        process = self._begin(folder, output)
        if process is None:
            return "stopped", "", None
        self._began_at = _now()
        with self._lock:
            self._process = process
            ending = self._ending
        if ending is not None:  # it came before there was a process to end
            self._end(process, ending)
        log.info("running %s as process %d", self, process.pid)
        returncode = process.wait()
        status, reason = outcome.judge(returncode, output)
        return status, reason, returncode if returncode >= 0 else None

    def _begin(self, folder: Path, output: Path) -> Process | None:
        """Its process, or None when it was stopped before there was one."""
        snapshot = self._script.get("source")
        unpacked = self._fetch(str(snapshot)) if snapshot else None
        if self._stopping.is_set():
            return None
        space = workspace.prepare(folder, self._script, unpacked)
        if not self._script.get("function"):
            command = workspace.script_command(space, self._script)
            return self._exec(command, output, space.cwd, self._environment(space.cwd, space.work))
        return self._function(folder, output, space, unpacked)

    def _function(self, folder: Path, output: Path, space: Workspace, unpacked: Path | None) -> Process | None:
        """Forked by a spawner where that can be, else in an interpreter of its own. None when it was stopped first."""
        if unpacked is None and not self._script.get("module"):
            # Inline text is nobody else's, so there is no import to share.
            workspace.entry_point(space, self._script)
            return self._alone(folder, output, space, space.work)
        order = Order(self._claim["task"], output, space.cwd, self._environment(unpacked))
        forked = self._shop.spawners.fork(unpacked, order, self._stopping)
        if forked is not None or self._stopping.is_set():
            return forked
        return self._alone(folder, output, space, unpacked)

    def _alone(self, folder: Path, output: Path, space: Workspace, root: Path | None) -> Process:
        file = folder / "order.json"
        order = {
            "root": None if root is None else str(root),
            "task": self._claim["task"],
            "cwd": str(space.cwd),
            "env": self._environment(root),
        }
        file.write_text(dumps(order), encoding="utf-8")
        # Without -P, and with the sources on its path already, it could take a module of theirs for one of its own.
        command = [sys.executable, "-P", "-m", "foldline.agent.child", str(file)]
        return self._exec(command, output, folder, self._environment())

    def _fetch(self, digest: str) -> Path | None:
        """The unpacked snapshot; None when the attempt was stopped before it came."""

        def ask() -> Path:
            with self._shop.fetching:
                return sources.fetch(self._shop.client, digest, self._shop.sources)

        try:
            return patiently(ask, self._stopping.wait)
        except FoldlineError as error:
            raise CannotRun(f"its sources could not be fetched: {error}") from error

    def _exec(self, command: list[str], output: Path, cwd: Path, environment: Mapping[str, str]) -> Process:
        # The process writes into the file itself: no pipe that fills, or breaks when the agent dies.
        with output.open("ab") as written:
            return Started(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env={**self._shop.environment, **environment},
                    start_new_session=True,
                )
            )

    def _environment(self, *paths: Path | None) -> dict[str, str]:
        """What its process has beside what all have; `paths` are the first that Python searches."""
        return workspace.own_environment(self._shop.environment, self._claim, [path for path in paths if path])

    def _end(self, process: Process, ending: Ending) -> None:
        # What a lost attempt could save nobody wants, and the next one may be running already.
        grace = 0.0 if ending.status is None else self._shop.grace
        threading.Thread(target=processes.end, args=(process.pid, self._over, grace), name="end", daemon=True).start()

    def _as_report(self, status: str, reason: str, code: int | None) -> Json:
        return {
            "task_id": self.key[0],
            "attempt": self.key[1],
            "status": status,
            "reason": reason[: outcome.REASON_LENGTH],
            "exit_code": code,
            "began_at": self._began_at,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
