"""The list of runs, and their steps: one row each, as domain.run_state folds them."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
from msgspec.structs import replace
from sqlalchemy import Table

from domain.ids import step_task_id
from domain.lifecycle import STEP_ENDED, STEP_STATES
from domain.pipeline import Definition, Plan, StepDefinition, effective_parents, literal_queues
from domain.run_events import RunCreated, RunEdited, RunEvent, StepAdded, StepsReopened
from domain.task import TaskEnqueued
from eventstore.codec import encode
from eventstore.store import StoreBroken
from projections import tasks
from projections.projection import Entry, Page, never_created
from projections.run_rows import evolve_run, note_hooks
from projections.sheet import Desk, Row, Sheet
from projections.step_rows import evolve_step, reopen
from projections.tables import key_of, run_row, run_tag, step_row

RUN_KINDS: tuple[type, ...] = get_args(RunEvent)
OF_TASKS = frozenset[type](tasks.KINDS)

_definition = msgspec.json.Decoder(Definition)


class Runs:
    name = "runs"
    version = 2
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
        self._noted: set[tuple[str, str]] = set()  # queues that their runs' rows have
        self._desk = desk
        new = {entry.run_id for entry in page.of(RunCreated)}
        old = [entry for entry in page.entries if entry.run_id is not None and entry.run_id not in new]
        steps = {self._key(entry.run_id or "", step) for entry in old for step in _steps_of(entry)}
        retagged = {entry.run_id for entry in page.of(RunEdited) if entry.run_id} - new
        self._definitions = _Definitions(desk.contents({event.definition for event in page.events(RunCreated)}))
        self._runs = desk.load(run_row.c.id, {entry.run_id for entry in old if entry.run_id})
        self._steps = desk.load(step_row.c.id, steps)
        self._tags = desk.load(run_tag.c.run_id, retagged)

    def take(self, run_id: str, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, RunCreated):
            self._create(run_id, entry, event)
            return
        run = self._runs.change(run_id)
        if run is None:
            raise never_created(entry, "run")
        run["version"] = entry.run_version
        if isinstance(event, StepAdded):
            self._add_step(run, event)
        elif isinstance(event, StepsReopened):
            self._reopen(run, event)
        elif entry.step is not None:
            self._evolve_step(run, entry.step, entry)
        elif isinstance(event, RunEdited):
            self._edit(run, event)
        if entry.step is None or type(event) not in OF_TASKS:  # what a step's task does is not in the run's row
            evolve_run(run, entry)
        if isinstance(event, TaskEnqueued):
            self._note_queue(run, event.queue)
            note_hooks(run, ended=entry.step or "")  # who enqueues a draft does not wait for the answer about it

    def finish(self) -> None:
        for run_id, counts in self._counts.items():
            self._runs.rows[run_id]["step_counts"] = encode(counts)

    def _create(self, run_id: str, entry: Entry, event: RunCreated) -> None:
        definition, parents = self._definitions[event.definition]
        for number, step in enumerate(definition.steps):
            queue = event.queue or step.queue or definition.default_queue
            key = self._key(run_id, step.name)
            asks = _asks_created(definition.hooks, step)
            self._steps.put(_pending(key, run_id, number, step, parents[step.name], queue, asks))
        _index_tags(self._tags, run_id, (), event.tags)
        self._runs.put(_created(run_id, entry, event, definition))

    def _add_step(self, run: Row, event: StepAdded) -> None:
        counts = self._counts_of(run)
        parents = encode(effective_parents(event.step, _Names(self._desk, self._steps, run["id"])))
        queue = event.step.queue or run["default_queue"]
        key = self._key(run["id"], event.step.name)
        asks = run["asks_created"] or _asks_created((), event.step)
        self._steps.put(_pending(key, run["id"], sum(counts.values()), event.step, parents, queue, asks))
        counts["pending"] += 1

    def _evolve_step(self, run: Row, name: str, entry: Entry) -> None:
        step = self._step(run, name)
        before = step["status"]
        evolve_step(step, entry)
        if step["status"] != before:
            self._count(run, step, before)

    def _reopen(self, run: Row, event: StepsReopened) -> None:
        for number, name in enumerate(event.steps):
            step = self._step(run, name)
            before = step["status"]
            reopen(step, to_be_completed=not number and not event.launch)
            if step["status"] != before:
                self._count(run, step, before)

    def _step(self, run: Row, name: str) -> Row:
        step = self._steps.change(self._key(run["id"], name))
        if step is None:
            raise StoreBroken(f"run {run['id']} has no step {name!r}")
        return step

    def _count(self, run: Row, step: Row, before: str) -> None:
        """Keep the run's counts true to a step whose status was another one before."""
        counts = self._counts_of(run)
        counts[before] -= 1
        counts[step["status"]] += 1
        if step["status"] in STEP_ENDED:
            note_hooks(run, ended=step["name"])

    def _edit(self, run: Row, event: RunEdited) -> None:
        if event.edit is not None and event.edit.tags is not None:
            _index_tags(self._tags, run["id"], msgspec.json.decode(run["tags"]), event.edit.tags)
            run["tags"] = encode(event.edit.tags)

    def _note_queue(self, run: Row, queue: str) -> None:
        """A step's queue may be a reference: then it is only known when the step is enqueued."""
        if (run["id"], queue) in self._noted:
            return
        self._noted.add((run["id"], queue))
        known: list[str] = msgspec.json.decode(run["queues"])
        if queue not in known:
            run["queues"] = encode([*known, queue])

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


class _Definitions(dict[str, tuple[Definition, Mapping[str, str]]]):
    """By digest, what is defined and the parents of each step as its row has them: many runs have one definition."""

    def __init__(self, contents: Mapping[str, str]) -> None:
        super().__init__()
        self._contents = contents

    def __missing__(self, digest: str) -> tuple[Definition, Mapping[str, str]]:
        definition = _definition.decode(self._contents[digest])
        parents = {name: encode(names) for name, names in Plan(definition, {}).parents.items()}
        self[digest] = definition, parents
        return self[digest]


class _Names(dict[str, Any]):
    """The names of a run's steps, as far as it is asked for them: a dynamic run may have very many."""

    def __init__(self, desk: Desk, steps: Sheet, run_id: str) -> None:
        super().__init__()
        self._desk, self._steps, self._run_id = desk, steps, run_id

    def __contains__(self, name: object) -> bool:
        key = step_task_id(self._run_id, str(name))
        if key not in self._steps.rows:
            self._desk.load(step_row.c.id, [key])
        return key in self._steps.rows


def step_queues(definition: Definition) -> set[str]:
    """The queues that the definition names for its steps, those in references left out."""
    return literal_queues(replace(definition, host=None))


def _steps_of(entry: Entry) -> Sequence[str]:
    if isinstance(entry.event, StepsReopened):
        return entry.event.steps
    return () if entry.step is None or isinstance(entry.event, StepAdded) else (entry.step,)


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
        "parent_run": event.parent_run,
        "parent_step": event.parent_step,
        "cache": event.cache,
        "status": "created",
        "reason": "",
        "parameters": encode(event.parameters),
        "tags": encode(event.tags),
        "default_queue": event.queue or definition.default_queue,
        "queues": encode([event.queue] if event.queue else sorted(step_queues(definition))),
        "step_counts": encode({**dict.fromkeys(STEP_STATES, 0), "pending": len(definition.steps)}),
        "host_queue": definition.host.queue if definition.host else "",
        "host_queued_at": None,
        "host_agent": None,
        "host_state": "null",
        "asks_created": "created" in definition.hooks,
        "hooks": "{}",
        "artifacts": "[]",
        "created_at": entry.at,
        "started_at": None,
        "ended_at": None,
    }


def _asks_created(of_all: Sequence[str], step: StepDefinition) -> bool:
    return "created" in of_all or "created" in step.hooks


def _pending(
    key: str, run_id: str, number: int, step: StepDefinition, parents: str, queue: str | None, asks_created: bool
) -> Row:
    return {
        "id": key,
        "run_id": run_id,
        "number": number,
        "name": step.name,
        "status": "pending",
        "reason": "",
        "task_id": None,
        "attempts": 0,
        "parents": parents,
        "queue": queue,
        "stage": step.stage,
        "artifacts": "[]",
        "child_run": None,
        "retries": 0,
        "time_limit": step.time_limit,
        "timed_out": False,
        "draft": False,
        "done": False,
        "asks_created": asks_created,
        "was_asked": False,
        "queued_at": None,
        "started_at": None,
        "ended_at": None,
    }


def _index_tags(tags: Sheet, run_id: str, old: Sequence[str], new: Sequence[str]) -> None:
    for tag in old:
        tags.remove((key_of(tag), run_id))
    for tag in new:
        tags.put({"tag": key_of(tag), "run_id": run_id})
