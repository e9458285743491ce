"""One attempt, from its claim to its report: prepare, run, judge, clean up."""

import contextlib
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any, Final

from foldline import sources
from foldline.agent import containers, outcome, preparation, processes, workspace
from foldline.agent.containers import Contained
from foldline.agent.hands import Hands
from foldline.agent.logs import Log, LogShipper
from foldline.agent.patience import patiently
from foldline.agent.preparation import Premises, Preparation
from foldline.agent.processes import Process, Started
from foldline.agent.spawners import Forked, Order, Spawners
from foldline.agent.spool import Spool
from foldline.agent.tools import Stopped, Tools
from foldline.agent.workspace import CannotRun
from foldline.client import Client
from foldline.errors import FoldlineError

Json = dict[str, Any]

LOG_PATIENCE: Final = 5.0  # seconds that a report waits for the output before it

Outcome = tuple[str, str, int | None]  # status, reason and exit code

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
    docker: bool = False  # whether tasks with a container run in it
    fetching: threading.Lock = field(default_factory=threading.Lock)
    hands: Hands = field(default_factory=Hands)

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.sources.parent, self.docker)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt is being ended before its time. Without a status it is lost: nobody wants its report."""

    reason: str
    status: str | None = "stopped"


@dataclass(frozen=True, slots=True)
class Place:
    """What one attempt leaves on disk."""

    folder: Path
    output: Path
    log: Log


class Attempt:
    """Begins in a thread of the shop's; `stop` may be called from any.

    When the process has ended, `report(attempt, report)` hands over how; None instead of a report when it was lost.
    A child of a spawner has no thread that waits for it: what hears of its end goes on from there.
    """

    def __init__(self, claim: Json, shop: Workshop, report: "Callable[[Attempt, Json | None], None]") -> None:
        self.key = (str(claim["task_id"]), int(claim["attempt"]))
        self._claim = claim
        self._script: Json = claim["task"].get("script") or {}
        self._shop = shop
        self._report = report
        self._lock = threading.Lock()
        self._ending: Ending | None = None
        self._stopping = threading.Event()
        self._over = threading.Event()  # there is no process, or none any more
        self._place: Place | None = None
        self._premises: Premises | None = None
        self._process: Process | None = None
        self._began_at: str | None = None

    def __str__(self) -> str:
        step = self._claim.get("step")
        name = f"step {step!r}" if step else f"task {self._claim['task'].get('name', '')!r}"
        return f"{name} ({self.key[0]}, attempt {self.key[1]})"

    def start(self) -> None:
        self._shop.hands.do(self._live)

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

    def put_away(self) -> None:
        """Its report was answered, or nobody wants one: its files go, once the server has its log."""
        if self._place is not None:
            clear = partial(shutil.rmtree, self._place.folder, ignore_errors=True)
            self._place.log.when_settled(partial(self._shop.hands.do_later, clear))

    def _live(self) -> None:
        """Until its process runs, where that is a spawner's child; until it has ended where not."""
        try:
            self._place = self._take_place()
        except OSError as error:
            self._over.set()
            self._report(self, self._as_report("failed", f"the agent has no place to run it: {error}", None))
            return
        try:
            process = self._begin(self._place)
        except Exception as error:
            self._has_ended(self._not_run(error))
            return
        if process is None:
            self._has_ended(("stopped", "", None))
        elif isinstance(process, Forked):
            process.tell(self._has_begun, lambda: self._has_ended(self._judged(process)))
        else:
            self._has_begun(process, time.time())
            self._has_ended(self._judged(process))

    def _take_place(self) -> Place:
        folder = self._shop.spool.attempt(*self.key)
        output = folder / "log"
        return Place(folder, output, self._shop.logs.follow(*self.key, output))

    def _has_begun(self, process: Process, at: float) -> None:
        """It runs, since `at` (POSIX seconds)."""
        self._began_at = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self._lock:
            self._process = process
            ending = self._ending
        log.info("running %s as process %d", self, process.pid)
        if ending is not None:  # it came before there was a process to end
            self._end(process, ending)

    def _has_ended(self, how: Outcome) -> None:
        """By itself, or because it was to; or it has not even begun."""
        assert self._place is not None
        if self._premises is not None:
            self._premises.release()
        with self._lock:
            # From here on a stop comes too late: it ended by itself.
            self._over.set()
            ending = self._ending
        is_lost = ending is not None and ending.status is None
        if ending is not None and not is_lost:
            how = str(ending.status), ending.reason, how[2]
        if self._shop.logs.finish(self._place.log) or is_lost:
            self._tell(None if is_lost else how)
        else:
            self._shop.hands.do(partial(self._tell_after_log, self._place.log, how))

    def _tell_after_log(self, written: Log, how: Outcome) -> None:
        self._shop.logs.finish(written, LOG_PATIENCE)
        self._tell(how)

    def _tell(self, how: Outcome | None) -> None:
        """Report it; what was lost (None) nobody waits for."""
        if how is None:
            self._report(self, None)
            self.put_away()
            return
        status, reason, code = how
        log.info("%s: %s%s", self, status, reason and f" ({reason})")
        self._report(self, self._as_report(status, reason, code))

    def _judged(self, process: Process) -> Outcome:
        """How it has ended, once it has."""
        assert self._place is not None
        try:
            return self._judged_by_code(process.wait(), self._place.output)
        except Exception as error:
            return self._not_run(error)

    def _judged_by_code(self, returncode: int, output: Path) -> Outcome:
        status, reason = outcome.judge(returncode, output)
        premises = self._premises
        assert premises is not None
        if premises.container is not None and returncode == containers.CANNOT_START:
            reason = f"the container could not be started: {outcome.last_line(outcome.tail(output))}"
        if reason and (missing := sources.missing_file(reason, premises.space.work)):
            reason = f"{reason}; {missing}"
            _add_line(output, missing)
        return status, reason, returncode if returncode >= 0 else None

    def _not_run(self, error: Exception) -> Outcome:
        """Why it could not begin, or be seen to its end; its log says so too."""
        reason = str(error)
        if not isinstance(error, CannotRun):
            log.error("%s could not be run", self, exc_info=error)
            reason = f"the agent could not run it: {error or type(error).__name__}"
        if self._place is not None:
            _add_line(self._place.output, reason)
        return "failed", reason, None

    def _prepare(self, folder: Path, output: Path) -> Premises | None:
        """Where it will run, or None when it was stopped first."""
        environment = {**self._shop.environment, **self._environment()}
        tools = Tools(output, environment, self._stopping)
        try:
            return self._shop.preparation.prepare(self._claim["task"], folder, tools, self._fetch, self._record)
        except Stopped:
            return None

    def _begin(self, place: Place) -> Process | None:
        """Its process, or None when it was stopped before there was one."""
        folder, output = place.folder, place.output
        self._premises = premises = self._prepare(folder, output)
        if premises is None or self._stopping.is_set():
            return None
        if self._script.get("function"):
            return self._function(premises, folder, output)
        space = premises.space
        command = workspace.script_command(space, self._script, premises.python)
        paths = workspace.import_folders(space)
        return self._exec(premises, command, output, space.cwd, self._variables(premises, *paths), folder)

    def _function(self, premises: Premises, folder: Path, output: Path) -> Process | None:
        """Forked by a spawner where that can be, else in an interpreter of its own. None when it was stopped first."""
        space, root = premises.space, premises.root
        if root is None and not (self._script.get("module") or self._script.get("pickle")):
            # Inline text is nobody else's, so there is no import to share.
            workspace.entry_point(space, self._script)
            return self._alone(replace(premises, root=space.work), folder, output)
        if premises.needs_own_process:
            return self._alone(premises, folder, output)
        order = Order(self._claim["task"], output, space.cwd, self._variables(premises, root))
        forked = self._shop.spawners.fork(root, order, self._stopping, premises.packages)
        if forked is not None or self._stopping.is_set():
            return forked
        return self._alone(premises, folder, output)

    def _alone(self, premises: Premises, folder: Path, output: Path) -> Process:
        file, space, root = folder / "order.json", premises.space, premises.root
        checkout = [] if premises.checkout is None else list(dict.fromkeys([space.cwd, premises.checkout]))
        order = {
            "root": None if root is None else str(root),
            "task": self._claim["task"],
            "cwd": str(space.cwd),
            "env": self._variables(premises, root, *checkout),
            "paths": [str(path) for path in checkout],
        }
        file.write_text(dumps(order), encoding="utf-8")
        # Without -P, and with the sources on its path already, it could take a module of theirs for one of its own.
        command = [premises.python, "-P", "-m", "foldline.agent.child", str(file)]
        return self._exec(premises, command, output, folder, self._variables(premises), folder)

    def _fetch(self, digest: str) -> Path:
        """The unpacked snapshot. Raises Stopped when the attempt was stopped before it came."""

        def ask() -> Path:
            with self._shop.fetching:
                return sources.fetch(self._shop.client, digest, self._shop.sources)

        try:
            found = patiently(ask, self._stopping.wait)
        except FoldlineError as error:
            raise CannotRun(f"its sources could not be fetched: {error}") from error
        if found is None:
            raise Stopped
        return found

    def _record(self, runtime: Json) -> None:
        """Keep something about this attempt in the task's runtime. Raises Stopped when it was stopped meanwhile."""
        fields = {"runtime": runtime, "attempt": self.key[1]}
        try:
            done = patiently(lambda: self._shop.client.tasks.edit(self.key[0], fields), self._stopping.wait)
        except FoldlineError as error:
            raise CannotRun(f"{', '.join(runtime)} could not be recorded: {error}") from error
        if done is None:
            raise Stopped

    def _exec(
        self,
        premises: Premises,
        command: list[str],
        output: Path,
        cwd: Path,
        environment: Mapping[str, str],
        folder: Path,
    ) -> Process:
        if premises.container is not None:
            command = preparation.contained(premises, command, folder, cwd, self.key)
        # The process writes into the file itself: no pipe that fills, or breaks when the agent dies.
        with output.open("ab") as written:
            started = Started(
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
        return started if premises.container is None else Contained(started, containers.name_of(*self.key))

    def _environment(self, *paths: Path | None) -> dict[str, str]:
        """What its process has beside what all have; `paths` are the first that Python searches."""
        return workspace.own_environment(self._shop.environment, self._claim, [path for path in paths if path])

    def _variables(self, premises: Premises, *paths: Path | None) -> dict[str, str]:
        """The same for where it runs: in an environment of packages, or in a container."""
        return {**self._environment(*paths), **premises.variables(self._shop.environment, paths)}

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


def _add_line(output: Path, line: str) -> None:
    with contextlib.suppress(OSError), output.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
