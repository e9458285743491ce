"""The list of runs, and their steps: one row each, as domain.run_state folds them."""

from collections.abc import Callable, Sequence
from functools import partial
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
        self._desk = desk
        created = {entry.run_id: entry.event for entry in page.entries if isinstance(entry.event, RunCreated)}
        runs: set[str] = set()
        retagged: set[str] = set()
        steps: set[str] = set()
        for entry in page.entries:
            if entry.run_id is not None and entry.run_id not in created:
                runs.add(entry.run_id)
                steps.update(self._key(entry.run_id, step) for step in _steps_of(entry))
                if isinstance(entry.event, RunEdited):
                    retagged.add(entry.run_id)
        self._definitions = desk.contents({event.definition for event in created.values()})
        self._runs = desk.load(run_row.c.id, runs)
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
        match event:
            case StepAdded():
                self._add_step(run, event)
            case StepsReopened():
                for number, name in enumerate(event.steps):
                    to_be_completed = not number and not event.launch
                    self._change(run, name, partial(reopen, to_be_completed=to_be_completed))
            case _ if entry.step is not None:
                self._change(run, entry.step, partial(evolve_step, entry=entry))
            case RunEdited():
                self._edit(run, event)
            case _:
                pass
        evolve_run(run, entry)
        if isinstance(event, TaskEnqueued):
            _note_queue(run, event.queue)
            note_hooks(run, ended=entry.step or "")  # who enqueues a draft does not wait for the answer about it

    def finish(self) -> None:
        for run_id, counts in self._counts.items():
            self._runs.rows[run_id]["step_counts"] = encode(counts)

    def _create(self, run_id: str, entry: Entry, event: RunCreated) -> None:
        definition = _definition.decode(self._definitions[event.definition])
        parents = Plan(definition, {}).parents
        for number, step in enumerate(definition.steps):
            queue = event.queue or step.queue or definition.default_queue
            row = _pending(run_id, number, step, parents[step.name], queue, _asks_created(definition.hooks, step))
            self._steps.put(row)
        _index_tags(self._tags, run_id, (), event.tags)
        self._runs.put(_created(run_id, entry, event, definition))

    def _add_step(self, run: Row, event: StepAdded) -> None:
        counts = self._counts_of(run)
        parents = effective_parents(event.step, _Names(self._desk, self._steps, run["id"]))
        queue = event.step.queue or run["default_queue"]
        asks = run["asks_created"] or _asks_created((), event.step)
        self._steps.put(_pending(run["id"], sum(counts.values()), event.step, parents, queue, asks))
        counts["pending"] += 1

    def _change(self, run: Row, name: str, change: Callable[[Row], None]) -> None:
        """Let `change` make what it will of the step's row, and keep the run's counts true to it."""
        step = self._steps.change(self._key(run["id"], name))
        if step is None:
            raise StoreBroken(f"run {run['id']} has no step {name!r}")
        before = step["status"]
        change(step)
        after = step["status"]
        if after != before:
            counts = self._counts_of(run)
            counts[before] -= 1
            counts[after] += 1
            if after in STEP_ENDED:
                note_hooks(run, ended=name)

    def _edit(self, run: Row, event: RunEdited) -> None:
        if event.edit is not None and event.edit.tags is not None:
            _index_tags(self._tags, run["id"], msgspec.json.decode(run["tags"]), event.edit.tags)
            run["tags"] = encode(event.edit.tags)

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
    run_id: str, number: int, step: StepDefinition, parents: Sequence[str], queue: str | None, asks_created: bool
) -> Row:
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


def _note_queue(run: Row, queue: str) -> None:
    """A step's queue may be a reference: then it is only known when the step is enqueued."""
    known: list[str] = msgspec.json.decode(run["queues"])
    if queue not in known:
        run["queues"] = encode([*known, queue])
