"""Fills a store with whole runs: `python -m bench.fill URL EVENTS`, or `fill` from a case.

One run is played by the real controller on a store in memory. Its events are the pattern of all others: new ids, new
numbers, decision records that hash what they now hold. They go in by the store's own append, thousands at once.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from bench.core import Core, side_by_side
from controller.formats import meta_of
from domain.ids import derived, pipeline_id, step_task_id
from domain.pipeline import PipelineRegistered, PipelineSubmitted
from eventstore.memory import MemoryStore
from eventstore.sql import open_store
from eventstore.store import Append, NewEvent, Put, Recorded, Row, Store

STEPS = 20
PER_APPEND = 60  # runs: about 5,000 events
RUNS_PER_PIPELINE = 1_000
NAME = "a pattern for many"
PROJECT = "bench"
NUMBER = '"number":1,'  # of the pattern's run


@dataclass(frozen=True, slots=True)
class Part:
    """One event of the pattern. `ids` are those of the pattern's that occur in it; `decided`: it was, by the run."""

    row: Recorded
    ids: Sequence[str]
    decided: bool

    def of(self, ids: Mapping[str, str], name: str, number: int) -> NewEvent:
        stream, run_id, data = self.row.stream, self.row.run_id, self.row.data
        for old in self.ids:
            new = ids[old]
            stream, data = stream.replace(old, new), data.replace(old, new)
        if NUMBER in data:
            data = data.replace(NUMBER, f'"number":{number},').replace(f"{NAME} #1", f"{name} #{number}")
        return _new(self.row, stream, data.replace(f'"{NAME}"', f'"{name}"'), None if run_id is None else ids[run_id])


@dataclass(slots=True)
class Pattern:
    """`before` is what the first run needs; `registered` what each pipeline begins with; `run` is each run."""

    run_id: str
    steps: Sequence[str]
    before: list[NewEvent] = field(default_factory=list[NewEvent])
    contents: list[Put] = field(default_factory=list[Put])
    registered: list[Part] = field(default_factory=list[Part])
    run: list[Part] = field(default_factory=list[Part])
    decisions: Sequence[Row] = ()

    def __len__(self) -> int:
        return len(self.run)


def fill(store: Store, events: int) -> int:
    """Add whole runs until the log holds at least this many events; how many it holds then."""
    pattern = _pattern()
    head = store.head()
    if any(store.content(str(put.row["digest"])) is None for put in pattern.contents):
        head = store.append(lambda batch: _begin(batch, pattern)).result()
    number = head // len(pattern)  # counts on where an earlier call has ended
    while head < events:
        count = min(PER_APPEND, -(-(events - head) // len(pattern)))
        first = number + 1
        head = store.append(lambda batch, first=first, count=count: _add(batch, pattern, first, count)).result()
        number += count
    return head


def _begin(batch: Append, pattern: Pattern) -> int:
    there = {event.stream for event in pattern.before if batch.version(event.stream)}
    batch.add([event for event in pattern.before if event.stream not in there], pattern.contents)
    return batch.head


def _add(batch: Append, pattern: Pattern, first: int, count: int) -> int:
    for number in range(first, first + count):
        _add_run(batch, pattern, number)
    return batch.head


def _add_run(batch: Append, pattern: Pattern, number: int) -> None:
    name = f"fill {number // RUNS_PER_PIPELINE}"
    run_id = derived("bench", "fill", number)
    ids = {pattern.run_id: run_id, pipeline_id(PROJECT, NAME): pipeline_id(PROJECT, name)}
    ids |= {step_task_id(pattern.run_id, step): step_task_id(run_id, step) for step in pattern.steps}
    pipeline = f"pipeline-{pipeline_id(PROJECT, name)}"
    if not batch.version(pipeline):
        batch.add([part.of(ids, name, number) for part in pattern.registered])
    events = [part.of(ids, name, number) for part in pattern.run]
    new = {event.stream: 0 for event in events if event.stream != pipeline}
    batch.add(events, list(_decisions(pattern, events, run_id)), expect=new, expect_runs={run_id: 0})


def _decisions(pattern: Pattern, events: Sequence[NewEvent], run_id: str) -> Iterator[Put]:
    """The run's decision records, each with the hash of the events that were decided in it."""
    of_run = [(part, event) for part, event in zip(pattern.run, events, strict=True) if event.run_id is not None]
    for row in pattern.decisions:
        outputs = sha256()
        for part, event in of_run[int(row["from_version"] or 0) - 1 : int(row["upto_version"] or 0)]:
            if part.decided:
                outputs.update(f"{event.stream}\n{event.type}\n{event.data}\n".encode())
        yield Put("decision", {**row, "run_id": run_id, "outputs": outputs.hexdigest()})


def _pattern() -> Pattern:
    store = MemoryStore()
    core = Core(store)
    agent = core.agent(slots=4)
    run_id = core.submit(1, side_by_side(4, STEPS // 4), name=NAME)
    core.play(agent)
    core.exchange.leave(agent.id, agent.session, [])
    pattern = Pattern(run_id, [step.name for step in side_by_side(4, STEPS // 4)])
    pattern.contents = [Put("content", row) for row in store.select("content")]
    pattern.decisions = store.select("decision", run_id=run_id)
    own = [run_id, pipeline_id(PROJECT, NAME), *(step_task_id(run_id, step) for step in pattern.steps)]
    for row in store.read(limit=100_000):
        part = Part(row, [one for one in own if one in row.stream or one in row.data], "cause" in meta_of(row))
        if row.run_id is not None or row.type == PipelineSubmitted.__name__:
            pattern.run.append(part)
        elif row.type == PipelineRegistered.__name__:
            pattern.registered.append(part)
        else:
            pattern.before.append(_new(row, row.stream, row.data, None))
    store.close()
    return pattern


def _new(row: Recorded, stream: str, data: str, run_id: str | None) -> NewEvent:
    """What `row` was before it was recorded, with these in the place of its own."""
    return NewEvent(
        stream=stream,
        type=row.type,
        data=data,
        schema=row.schema,
        run_id=run_id,
        subject=row.subject,
        from_state=row.from_state,
        to_state=row.to_state,
        meta=row.meta,
    )


def main() -> None:
    url, events = sys.argv[1], int(sys.argv[2])
    store = open_store(url)
    try:
        before, began = store.head(), time.perf_counter()
        head = fill(store, events)
        seconds = time.perf_counter() - began
    finally:
        store.close()
    print(f"{head:,} events in the store, {(head - before) / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
