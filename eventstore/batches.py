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


class Batcher:
    """One shard's waiting jobs. `begin` opens a locked transaction, rolled back unless committed."""

    def __init__(self, begin: Callable[[], AbstractContextManager[OpenAppend]], name: str) -> None:
        self._begin, self._name = begin, name
        self._waiting: deque[Job] = deque()
        self._mutex = threading.Lock()
        self._idle = threading.Condition(self._mutex)
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
            self._idle.wait_for(lambda: not self._busy)

    def _rest_if_done(self) -> bool:
        with self._idle:
            if self._waiting:
                return False
            self._busy = False
            self._idle.notify_all()
            return True

    def _drain(self) -> None:
        while not self._rest_if_done():
            self._commit_waiting()

    def _commit_waiting(self) -> None:
        with self._mutex:
            jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_JOBS))]
        # A future that its caller has cancelled by now is left out; the others cannot be cancelled any more.
        self._run([job for job in jobs if job[1].set_running_or_notify_cancel()])

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
