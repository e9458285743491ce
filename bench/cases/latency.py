"""From the call that enqueues a task to the agent's having it, far below saturation."""

import threading
import time
from collections.abc import Iterator, Set

from bench.cases.steps import QUICK_POLL
from bench.core import BY, Agent, Core, opened
from bench.line import Line, percentile
from bench.raw import hand_over
from bench.setting import POSTGRESQL, SQLITE, Setting
from controller.exchange import Exchanged
from domain.content import Content
from domain.ids import derived
from domain.task import EnqueueTask, TaskCreated
from eventstore.sql import SqlStore

AIMS = {SQLITE: {"p50_ms": 1, "p99_ms": 10}, POSTGRESQL: {"p50_ms": 2, "p99_ms": 12}}
PAUSE = 0.005  # seconds from one task's start to the next one's enqueuing


def latency(setting: Setting) -> Iterator[Line]:
    """An agent sleeps until the commit wakes it, as an agent's long poll does, and takes the one task there is."""
    n = setting.size(1_000, 20)
    for database in setting.databases:
        raw = hand_over(setting, database, n, PAUSE)
        with opened(setting.fresh(database)) as core:
            times = _handed_over(core, n)
        peers = [setting.peers.run("with_dbos", "latency", setting.fresh(database), min(n, 20))]
        peers += [setting.peers.run("with_dbos", "latency", setting.fresh(database), min(n, 40), poll=QUICK_POLL)]
        yield Line(
            case="latency",
            n=n,
            seconds=sum(times),
            database=database,
            times=times,
            peers={str(found["peer"]): found["rate"] for found in peers if found},
            aims=AIMS[database],
            more={
                "raw_p50_ms": percentile(raw, 50),
                "raw_p99_ms": percentile(raw, 99),
                "peer_p50_ms": {str(found["peer"]): found["p50_ms"] for found in peers if found},
            },
        )


def _handed_over(core: Core[SqlStore], n: int) -> list[float]:
    agent = core.agent(slots=1)
    ids = [derived("bench", "late", number) for number in range(n)]
    for task_id in ids:
        core.controller.create_task(task_id, TaskCreated(name="late", project="bench", content=""), Content(), BY)
    times: list[float] = []
    with _Sleeper(core, agent) as sleeper:
        for task_id in ids:
            began = time.perf_counter()
            core.controller.task(task_id, EnqueueTask(queue="default"), BY)
            times.append(sleeper.started() - began)
            time.sleep(PAUSE)
    return times


class _Sleeper:
    """An agent in a thread of its own: it sleeps until the controller signals work, and asks for it."""

    def __init__(self, core: Core[SqlStore], agent: Agent) -> None:
        self._core, self._agent = core, agent
        self._woken, self._taken, self._ended = threading.Event(), threading.Semaphore(0), False
        self._started_at = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Sleeper":
        self._unlisten = self._core.controller.signals.listen(self._wake)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._woken.set()
        self._thread.join()
        self._unlisten()

    def started(self) -> float:
        """Waits for the next task to be taken; when that was."""
        self._taken.acquire()
        return self._started_at

    def _wake(self, queues: Set[str], _sessions: Set[str]) -> None:
        if queues:
            self._woken.set()

    def _run(self) -> None:
        answer = Exchanged()
        while True:
            self._woken.wait()
            self._woken.clear()
            if self._ended:
                return
            answer = self._core.ask(self._agent, answer)
            if answer.claims:
                self._started_at = time.perf_counter()
                self._taken.release()
