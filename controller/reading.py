"""One task or one run, always as of now: folded from its own events, and read on from where the last look ended."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TypeVar

from controller.folding import fold_on, fold_run, plan_of
from controller.formats import content_from, event_of, fact_of
from controller.snapshots import Keeper, open_run
from controller.state import Recent
from domain import pipeline as pipelines
from domain import run as runs
from domain import task as tasks
from domain.content import Content, edited, overridden
from domain.pipeline import Definition, Pipeline
from domain.refused import Unknown
from domain.run import Fact, Run
from domain.task import Task
from eventstore.store import Recorded, Store, StoreBroken

T = TypeVar("T")


class Reader:
    """Reads committed state only, beside the writers. Every method may be called from any thread.

    `keeper` opens large runs, and gets those that had to be folded from their first event.
    """

    def __init__(self, store: Store, keeper: Keeper | None = None) -> None:
        self._store, self._keeper = store, keeper
        self._mutex = threading.Lock()
        self._tasks, self._runs = Recent[Task](5_000), Recent[Run](500)
        self._texts = Recent[str](2_000)

    def task(self, task_id: str, *, upto: int | None = None) -> Task:
        """The task now, or as it was at version `upto`. Raises Unknown."""
        known = self._remembered(self._tasks, task_id)
        if known is None or (upto is not None and known.version > upto):
            known = Task(id=task_id)
        for row in self._store.stream(f"task-{task_id}", after=known.version):
            if upto is not None and row.version > upto:
                break
            known = tasks.evolve(known, event_of(row), row.recorded_at)  # type: ignore[arg-type]
        if not known.version:
            raise Unknown(f"There is no task {task_id}.")
        if upto is None:
            self._remember(self._tasks, task_id, known)
        return known

    def run(self, run_id: str, *, at: int | None = None) -> Run:
        """The run now, or as of run version `at`. Raises Unknown."""
        known = self._remembered(self._runs, run_id)
        if known is None and at is None:
            known = self._opened(run_id)
        elif known is None or (at is not None and known.version > at):
            known = fold_run(run_id, self._store.told(run_id, upto=at), self.text)
        else:
            known = fold_on(known, self._store.told(run_id, after=known.version, upto=at))
        if known is None:
            raise Unknown(f"There is no run {run_id}.")
        if at is None:
            self._remember(self._runs, run_id, known)
        return known

    def _opened(self, run_id: str) -> Run | None:
        run = open_run(run_id, self._store, self.text, self._keeper)
        if run is not None and self._keeper is not None:
            self._keeper.offer(run)
        return run

    def is_run(self, run_id: str) -> bool:
        return next(iter(self._store.run(run_id, upto=1)), None) is not None

    def facts(self, run_id: str, *, after: int = 0, upto: int | None = None) -> Iterator[tuple[Recorded, Fact]]:
        """The run's history by run version. Raises Unknown when there is no such run."""
        found = False
        for row in self._store.run(run_id, after=after, upto=upto):
            found = True
            yield row, fact_of(row)
        if not found and not self.is_run(run_id):
            raise Unknown(f"There is no run {run_id}.")

    def states(self, run_id: str, *, upto: int | None = None) -> Iterator[tuple[Recorded, Run, Run]]:
        """Each event of the run with the run before and after it."""
        rows = self._store.run(run_id, upto=upto)
        first = next(rows, None)
        if first is None:
            raise Unknown(f"There is no run {run_id}.")
        fact = fact_of(first)
        if not isinstance(fact.event, runs.RunCreated):
            raise StoreBroken(f"run {run_id} begins with {first.type}")
        before = Run(id=run_id, plan=plan_of(fact.event.definition, self.text))
        run = runs.evolve(before, fact)
        yield first, before, run
        for row in rows:
            before, run = run, runs.evolve(run, fact_of(row))
            yield row, before, run

    def version_at(self, run_id: str, wanted: Callable[[Recorded], bool]) -> int:
        """The last run version whose event is `wanted`, as all before it are and none after it; 0 when none is."""

        def unwanted(version: int) -> bool:
            return not any(wanted(row) for row in self._store.run(run_id, after=version - 1, upto=version))

        return bisect_left(range(1, self.run(run_id).version + 1), True, key=unwanted)

    def pipeline(self, pipeline_id: str, *, upto: int | None = None) -> Pipeline:
        """The pipeline now, or as it was at version `upto`. Raises Unknown."""
        found = Pipeline(id=pipeline_id)
        for row in self._store.stream(f"pipeline-{pipeline_id}", limit=upto):
            found = pipelines.evolve(found, event_of(row), row.recorded_at)  # type: ignore[arg-type]
        if not found.version:
            raise Unknown(f"There is no pipeline {pipeline_id}.")
        return found

    def definition(self, pipeline: Pipeline) -> Definition:
        return plan_of(pipeline.definition, self.text).definition

    def content_of(self, task: Task) -> Content:
        """What the task is made of: its content, then its run's overrides, then its edits."""
        content = content_from(self.text(task.content))
        if task.overrides is not None:
            content = overridden(content, task.overrides)
        for edit in task.edits:
            content = edited(content, edit)
        return content

    def text(self, digest: str) -> str:
        known = self._remembered(self._texts, digest)
        if known is None:
            known = self._store.content(digest)
            if known is None:
                raise StoreBroken(f"content {digest} is missing")
            self._remember(self._texts, digest, known)
        return known

    def _remembered(self, kept: Recent[T], key: str) -> T | None:
        with self._mutex:
            return kept.get(key)

    def _remember(self, kept: Recent[T], key: str, value: T) -> None:
        with self._mutex:
            kept.put(key, value)
            kept.trim()
