"""The list of runs, and their steps: one row each, as domain.run folds them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Table

from domain.ids import step_task_id
from domain.lifecycle import STEP_ENDED, STEP_STATES
from domain.pipeline import Definition, Plan, StepDefinition, literal_queues
from domain.run import (
    RunCompleted,
    RunCreated,
    RunFailed,
    RunStarted,
    RunStopped,
    RunStopRequested,
    StepFailed,
    StepSkipped,
)
from domain.task import (
    ArtifactAdded,
    TaskCompleted,
    TaskCreated,
    TaskEnqueued,
    TaskFailed,
    TaskRequeued,
    TaskStarted,
    TaskStopped,
)
from eventstore.codec import encode
from eventstore.store import StoreBroken
from projections import tasks
from projections.projection import Entry, Page, never_created
from projections.sheet import Desk, Row
from projections.tables import key_of, run_row, run_tag, step_row

RUN_KINDS = (
    RunCreated,
    RunStarted,
    RunStopRequested,
    RunCompleted,
    RunFailed,
    RunStopped,
    StepSkipped,
    StepFailed,
)
OF_STEPS = (StepSkipped, StepFailed)  # what the run says of a step that has no task, or none any more

_definition = msgspec.json.Decoder(Definition)


class Runs:
    name = "runs"
    version = 1
    tables: Sequence[Table] = (run_row, run_tag, step_row)
    reads = frozenset[type]((*RUN_KINDS, *tasks.KINDS))

    def fold(self, page: Page, desk: Desk) -> None:
        folding = _Folding(page, desk)
        for entry in page:
            if entry.run_id is not None:
                folding.take(entry.run_id, entry)
        folding.finish()


class _Folding:
    """One page being folded. What is JSON in a row that many events change is unpacked for as long as that takes."""

    def __init__(self, page: Page, desk: Desk) -> None:
        self._keys: dict[tuple[str, str], str] = {}
        self._counts: dict[str, dict[str, int]] = {}
        created = {entry.run_id: entry.event for entry in page.entries if isinstance(entry.event, RunCreated)}
        runs: set[str] = set()
        steps: set[str] = set()
        for entry in page.entries:
            if entry.run_id is not None and entry.run_id not in created:
                runs.add(entry.run_id)
                if (step := _step_of(entry)) is not None:
                    steps.add(self._key(entry.run_id, step))
        self._definitions = desk.contents({event.definition for event in created.values()})
        self._runs = desk.load(run_row.c.id, runs)
        self._steps = desk.load(step_row.c.id, steps)
        self._tags = desk.sheet(run_tag)

    def take(self, run_id: str, entry: Entry) -> None:
        if isinstance(entry.event, RunCreated):
            self._create(run_id, entry, entry.event)
            return
        run = self._runs.change(run_id)
        if run is None:
            raise never_created(entry, "run")
        run["version"] = entry.run_version
        if not _evolve_run(run, entry.event, entry.at) and (step := _step_of(entry)) is not None:
            self._take_step(run, step, entry)

    def finish(self) -> None:
        for run_id, counts in self._counts.items():
            self._runs.rows[run_id]["step_counts"] = encode(counts)

    def _create(self, run_id: str, entry: Entry, event: RunCreated) -> None:
        definition = _definition.decode(self._definitions[event.definition])
        parents = Plan(definition, {}).parents
        for number, step in enumerate(definition.steps):
            queue = event.queue or step.queue or definition.default_queue
            self._steps.put(_pending(run_id, number, step, parents[step.name], queue))
        for tag in event.tags:
            self._tags.put({"tag": key_of(tag), "run_id": run_id})
        self._runs.put(_created(run_id, entry, event, definition))

    def _take_step(self, run: Row, name: str, entry: Entry) -> None:
        step = self._steps.change(self._key(run["id"], name))
        if step is None:
            raise StoreBroken(f"run {run['id']} has no step {name!r}")
        before = step["status"]
        _evolve_step(step, entry.event, entry.at)
        if step["status"] != before:
            counts = self._counts_of(run)
            counts[before] -= 1
            counts[step["status"]] += 1
        if isinstance(entry.event, TaskEnqueued):
            _note_queue(run, entry.event.queue)

    def _key(self, run_id: str, step: str) -> str:
        """That of the step's row."""
        key = self._keys.get((run_id, step))
        if key is None:
            key = self._keys[run_id, step] = step_task_id(run_id, step)
        return key

    def _counts_of(self, run: Row) -> dict[str, int]:
        counts = self._counts.get(run["id"])
        if counts is None:
            counts = self._counts[run["id"]] = msgspec.json.decode(run["step_counts"])
        return counts


def _step_of(entry: Entry) -> str | None:
    return entry.event.step if isinstance(entry.event, OF_STEPS) else entry.step


def _created(run_id: str, entry: Entry, event: RunCreated, definition: Definition) -> Row:
    return {
        "id": run_id,
        "position": entry.position,
        "version": entry.run_version,
        "name": event.name,
        "project": event.project,
        "kind": event.kind,
        "pipeline_id": event.pipeline_id,
        "pipeline_version": event.pipeline_version,
        "number": event.number,
        "origin": event.origin,
        "status": "created",
        "reason": "",
        "parameters": encode(event.parameters),
        "tags": encode(event.tags),
        "default_queue": event.queue or definition.default_queue,
        "queues": encode([event.queue] if event.queue else sorted(literal_queues(definition))),
        "step_counts": encode({**dict.fromkeys(STEP_STATES, 0), "pending": len(definition.steps)}),
        "created_at": entry.at,
        "started_at": None,
        "ended_at": None,
    }


def _pending(run_id: str, number: int, step: StepDefinition, parents: Sequence[str], queue: str | None) -> Row:
    return {
        "id": step_task_id(run_id, step.name),
        "run_id": run_id,
        "number": number,
        "name": step.name,
        "status": "pending",
        "reason": "",
        "task_id": None,
        "attempts": 0,
        "parents": encode(parents),
        "queue": queue,
        "stage": step.stage,
        "artifacts": "[]",
        "queued_at": None,
        "started_at": None,
        "ended_at": None,
    }


def _note_queue(run: Row, queue: str) -> None:
    """A step's queue may be a reference: then it is only known when the step is enqueued."""
    known: list[str] = msgspec.json.decode(run["queues"])
    if queue not in known:
        run["queues"] = encode([*known, queue])


def _evolve_run(row: Row, event: object, at: int) -> bool:
    """Whether it was an event of the run itself."""
    match event:
        case RunStarted():
            row.update(status="running", started_at=at)
        case RunStopRequested():
            row["reason"] = event.reason
        case RunCompleted():
            row.update(status="completed", reason="", ended_at=at)
        case RunFailed():
            row.update(status="failed", reason=event.reason, ended_at=at)
        case RunStopped():
            row.update(status="stopped", reason=event.reason, ended_at=at)
        case _:
            return False
    return True


def _evolve_step(row: Row, event: object, at: int) -> None:
    match event:
        case TaskCreated():
            row["task_id"] = row["id"]
        case TaskEnqueued():
            row.update(status="queued", queue=event.queue, queued_at=at)
        case TaskStarted():
            row.update(status="running", reason="", attempts=event.attempt, started_at=at)
        case TaskRequeued():
            row.update(status="queued", reason=event.reason, queued_at=at)
        case TaskCompleted():
            _end(row, "completed", event.reason, at)
        case TaskFailed() | StepFailed():
            _end(row, "failed", event.reason, at)
        case TaskStopped():
            _end(row, "stopped", event.reason, at)
        case StepSkipped():
            _end(row, "skipped", event.reason, at)
        case ArtifactAdded():
            names: list[str] = msgspec.json.decode(row["artifacts"])
            if event.name not in names:
                row["artifacts"] = encode(sorted([*names, event.name]))
        case _:
            pass  # counted in the run's version, and in no other column


def _end(row: Row, status: str, reason: str, at: int) -> None:
    if row["status"] not in STEP_ENDED:
        row.update(status=status, reason=reason, ended_at=at)
