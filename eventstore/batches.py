"""Group commit: jobs wait at their shard, and whoever finds it idle runs all that wait in one transaction."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, Protocol, TypeVar

from eventstore import points
from eventstore.measures import Measures
from eventstore.store import Append, StoreBusy, StoreUnavailable

T = TypeVar("T")
Job = tuple[Callable[[Append], Any], "Future[Any]", float]  # the float: when it came, by perf_counter

MOST_JOBS = 500
# Some seconds of work. Who waited longer would have given up, and what is done for those who gave up helps nobody.
MOST_WAITING = 5_000

# What a commit may wait for those whom the last one has answered, in parts of the time that one took, and in seconds.
SHARE_OF_COMMIT = 0.25
LONGEST_GATHER = 0.002
LEAST_HOPE = 0.3  # of them that come back in time: when it is fewer, waiting costs more than it spares
NEW_HOPE = 0.004  # with each commit that does not wait, so that it is tried again at times
MEMORY = 8  # commits


class OpenAppend(Append, Protocol):
    """What a store gives the batcher beyond what jobs may see."""

    @property
    def added(self) -> int:
        """How many times something was added: tells whether a job that failed has left a trace."""
        ...

    def commit(self) -> None:
        """Make all of it durable, then run what `on_commit` was given. Raises when nothing became durable."""
        ...


class ShardClosed(Exception):
    """The store is closed, or closing."""


class Gathering:
    """Whether to wait a moment for the callers who were just answered. As a rule they ask again at once.

    Without it two halves form: each waits while the other's commit is on its way, and there are twice as many commits.
    """

    def __init__(self) -> None:
        self._hope = 1.0  # the share of them that came back in time, lately

    def patience(self, took: float) -> float:
        """Seconds to wait at most, after a commit that `took` so many."""
        if self._hope < LEAST_HOPE:
            self._hope += NEW_HOPE
            return 0.0
        return min(took * SHARE_OF_COMMIT, LONGEST_GATHER)

    def learn(self, share: float) -> None:
        """So many of them came back in time."""
        self._hope += (share - self._hope) / MEMORY


class Batcher:
    """One shard's waiting jobs. `begin` opens a locked transaction, rolled back unless committed."""

    def __init__(self, begin: Callable[[], AbstractContextManager[OpenAppend]], name: str) -> None:
        self._begin, self._name = begin, name
        self._waiting: deque[Job] = deque()
        self._mutex = threading.Lock()
        self._idle = threading.Condition(self._mutex)
        self._enough = threading.Condition(self._mutex)
        self._wanted = 0  # how many are to wait before the next commit begins; 0 while nobody looks out for them
        self._gathering = Gathering()
        self._busy = self._closed = False
        self.measures = Measures()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a transaction."""
        return len(self._waiting)

    def submit(self, job: Callable[[Append], T]) -> "Future[T]":
        """Raises StoreBusy, without having taken the job, when too many wait already."""
        future: Future[T] = Future()
        came = perf_counter()
        with self._mutex:
            if self._closed:
                raise ShardClosed("the store is closed")
            if len(self._waiting) >= MOST_WAITING:
                self.measures.turned_away += 1
                raise StoreBusy(f"{MOST_WAITING:,} commands wait to be written already")
            self._waiting.append((job, future, came))
            if self._busy:
                if self._wanted and len(self._waiting) >= self._wanted:
                    self._enough.notify()
                return future  # whoever is committing now takes it along next
            self._busy = True
        try:
            self._commit_waiting()
        finally:
            # The caller has its answer and shall not go on working for the others: they get a thread of their own.
            if not self._rest_if_done():
                threading.Thread(target=self._drain, name=f"commit-{self._name}", daemon=True).start()
        return future

    def close(self) -> None:
        """Refuse new jobs, and wait until those taken are answered."""
        with self._idle:
            self._closed = True
            self._enough.notify()
            self._idle.wait_for(lambda: not self._busy)

    def _rest_if_done(self) -> bool:
        with self._idle:
            if self._waiting:
                return False
            self._busy = False
            self._idle.notify_all()
            return True

    def _drain(self) -> None:
        answered, took = 0, 0.0
        while True:
            self._gather(answered, took)
            if self._rest_if_done():
                return
            began = perf_counter()
            answered = self._commit_waiting()
            took = perf_counter() - began

    def _gather(self, answered: int, took: float) -> None:
        """Wait a moment for those whom the last commit has answered, when there is more than one to commit for."""
        with self._mutex:
            there = len(self._waiting)
            if not answered or there + answered == 1 or not (patience := self._gathering.patience(took)):
                return
            self._wanted = min(there + answered, MOST_JOBS)
            self._enough.wait_for(lambda: self._closed or len(self._waiting) >= self._wanted, patience)
            self._gathering.learn(min((len(self._waiting) - there) / answered, 1.0))
            self._wanted = 0

    def _commit_waiting(self) -> int:
        """How many jobs it has taken."""
        with self._mutex:
            jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_JOBS))]
        # A future that its caller has cancelled by now is left out; the others cannot be cancelled any more.
        self._run([job for job in jobs if job[1].set_running_or_notify_cancel()])
        return len(jobs)

    def _run(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        broken: BaseException | None = None
        began = locked = decided = perf_counter()
        events = 0
        try:
            points.reach("batch.taken")
            with self._begin() as batch:
                locked, head = perf_counter(), batch.head
                for job, future, _ in jobs:
                    before = batch.added
                    try:
                        answers.append((future, job(batch), None))
                    except BaseException as error:
                        if batch.added != before:
                            raise  # it has left half of something: this batch cannot be saved
                        answers.append((future, None, error))
                decided = perf_counter()
                batch.commit()
                events = batch.head - head
            points.reach("answer.ready")
        except BaseException as error:
            broken = error
        if broken is None:
            self.measures.committed([job[2] for job in jobs], began, locked, decided, perf_counter(), events)
            for future, answer, error in answers:
                future.set_exception(error) if error is not None else future.set_result(answer)
            points.reach("answer.given")
            return
        self.measures.failed += 1
        if len(jobs) == 1 or isinstance(broken, StoreUnavailable):
            # With the database away it is nobody's fault, and what may have become durable is not run again.
            for _, future, _ in jobs:
                future.set_exception(broken)
        else:
            # One of them broke the transaction: each alone, so that only the guilty one fails.
            for job in jobs:
                self._run([job])
