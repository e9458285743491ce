"""Is the record true? Fold the history again, decide again, and compare with what was recorded."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any

from msgspec.structs import asdict, replace

from controller.folding import plan_of
from controller.formats import CODEC, event_of, fact_of, meta_of
from controller.reading import Reader
from controller.snapshots import Keeper
from controller.unit import CODE, output_line, states_of, work_row
from domain import run as runs
from domain import task as tasks
from domain.deadlines import next_due
from domain.refused import Unknown
from domain.run import Decided, Fact, Run
from domain.run_events import HostEnded, HostEnqueued, HostLost, HostStarted
from domain.task import Task, TaskAdopted
from eventstore.codec import digest
from eventstore.leaf import leaf_of
from eventstore.store import Recorded, Row, Store

Decide = Callable[[Run, Fact], Sequence[Decided]]
MOST_DIFFERENCES = 100
HOST_NOT_QUEUED = {kind.__name__ for kind in (HostStarted, HostEnded, HostLost)}
PUT_INTO_QUEUE = {kind.__name__ for kind in (tasks.TaskEnqueued, tasks.TaskRequeued)}


@dataclass(frozen=True, slots=True)
class Difference:
    """`what`: events, decisions, work, snapshots or projections. `where` names the row."""

    what: str
    where: str
    expected: Any
    found: Any
    message: str


@dataclass(slots=True)
class Verified:
    run_id: str
    events: int = 0
    decisions: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def ok(self) -> bool:
        return not self.differences


def verify_run(store: Store, run_id: str, *, decide: Decide = runs.decide, keeper: Keeper | None = None) -> Verified:
    """Verify one run's events, decisions and work rows; `decide` may be a candidate's rules. Raises Unknown.

    Of the snapshots of `keeper` it verifies the run's, if there is one.

    What depends on the history is compared up to the first difference: after it everything would differ. Reads the
    history once, in bounded memory.
    """
    found = Verified(run_id)
    history = _History(store, run_id, found)
    first = history.next
    if first is None:
        raise Unknown(f"There is no run {run_id}.")
    if found.ok:  # else it may not even be possible to read the event
        found.differences += _contents(store, first)
    if found.ok:
        snapshot = keeper.find(run_id, Reader(store).text) if keeper is not None else None
        _Again(store, history, decide, found, snapshot).go()
    if found.ok:
        found.differences += _work(store, history)
    history.count_the_rest()
    del found.differences[MOST_DIFFERENCES:]
    return found


def _where(row: Recorded) -> str:
    return f"event {row.run_version} ({row.type} on {row.stream}, version {row.version}, position {row.position})"


class _History:
    """The run's events in order, one ahead. Each is held against its own hash and number when it comes into view."""

    def __init__(self, store: Store, run_id: str, found: Verified) -> None:
        self.store, self.run_id = store, run_id
        self.ready: dict[str, Row] = {}  # what the work table holds after the events taken
        self._found, self._rows = found, store.run(run_id)
        self._versions: dict[str, int] = {}
        self.last: Recorded | None = None
        self.next = self._advance()

    def take(self) -> tuple[Recorded, Fact]:
        row = self.next
        assert row is not None
        fact = fact_of(row)
        _place(self.ready, row, fact.event)
        self.last, self.next = row, self._advance()
        return row, fact

    def went_on(self) -> bool:
        """Whether the run has gone on since its events were read: what is read now is of another moment."""
        assert self.last is not None
        after = self.last.run_version or 0
        return next(iter(self.store.run(self._found.run_id, after=after)), None) is not None

    def count_the_rest(self) -> None:
        self._found.events += sum(1 for _ in self._rows)

    def _advance(self) -> Recorded | None:
        row = next(self._rows, None)
        if row is not None:
            self._found.events += 1
            self._found.differences += islice(self._wrong(row), 1)
        return row

    def _wrong(self, row: Recorded) -> Iterator[Difference]:
        leaf = leaf_of(row[:-1])
        if leaf != row.leaf:
            said = "the event was changed after it was written: its hash is another"
            yield Difference("events", _where(row), row.leaf.hex(), leaf.hex(), said)
        number = self._found.events
        if row.run_version != number:
            yield Difference("events", _where(row), number, row.run_version, f"event {number} of the run is missing")
        # A task that was adopted has a life before the run.
        begins_at = row.version - 1 if row.type == TaskAdopted.__name__ else 0
        expected = self._versions.get(row.stream, begins_at) + 1
        self._versions[row.stream] = row.version
        if row.version != expected:
            said = f"event {expected} of {row.stream} is missing"
            yield Difference("events", _where(row), expected, row.version, said)


def _contents(store: Store, first: Recorded) -> Iterator[Difference]:
    """What the run has pinned: each text must still have the hash that is its name."""
    event = event_of(first)
    if not isinstance(event, runs.RunCreated):
        return
    for name in (event.definition, *event.contents):
        text = store.content(name)
        if text is None:
            yield Difference("events", f"content {name}", name, None, "the content that the run has pinned is missing")
        elif digest(text) != name:
            said = "the content was changed after it was written: its hash is another"
            yield Difference("events", f"content {name}", name, digest(text), said)


class _Again:
    """Decides the history once more: causes are taken from the record, what follows from them must be in it."""

    def __init__(self, store: Store, history: _History, decide: Decide, found: Verified, snapshot: Run | None) -> None:
        self._store, self._history, self._decide, self._found = store, history, decide, found
        self._snapshot = snapshot
        self._kept = {int(row["from_version"] or 0): row for row in store.select("decision", run_id=found.run_id)}
        self._tasks: dict[str, Task] = {}
        self._open: tuple[int, int, Any] | None = None

    def go(self) -> None:
        row = self._history.next
        assert row is not None
        first = event_of(row)
        if not isinstance(first, runs.RunCreated):
            self._differs("events", _where(row), "RunCreated", row.type, "the run does not begin with itself")
            return
        run = Run(id=self._found.run_id, plan=plan_of(first.definition, Reader(self._store).text))
        while self._history.next is not None and self._found.ok:
            run = self._one(run)
        if self._found.ok:
            self._close()
            self._left_over(run.version)
            self._timer(run)

    def _left_over(self, last: int) -> None:
        """Records of decisions that nobody made; those after the `last` event belong to what we have not read."""
        went_on = any(version > last for version in self._kept) and self._history.went_on()
        for version in self._kept:
            if version <= last or not went_on:
                self._differs("decisions", f"decision from {version}", None, version, "nothing was decided there")

    def _timer(self, run: Run) -> None:
        rows = self._store.select("timer", run_id=run.id)
        found = rows[0]["due_at"] if rows else None
        if found != next_due(run) and not self._history.went_on():
            self._differs("work", "timer of the run", next_due(run), found, "the run is looked at at another time")

    def _one(self, run: Run) -> Run:
        """Take one cause off the history and all that follows from it; the run after that."""
        cause, fact = self._history.take()
        if '"cause"' in cause.meta and (since := meta_of(cause).get("cause")) is not None:
            said = f"the event followed from event {since} when that was decided, and does not follow from it now"
            self._differs("events", _where(cause), None, [cause.stream, cause.type, cause.data], said)
            return run
        run = self._take(run, cause, fact)
        undecided = deque([fact])
        while undecided:
            decided = self._decide(run, undecided.popleft())
            if decided:
                self._begin(cause)
            facts: list[Fact] = []
            for one in decided:
                if not self._matches(one, cause):
                    return run
                row, fact = self._history.take()
                self._hash(one, row)
                facts.append(fact)
                run = self._take(run, row, fact)
            undecided.extend(facts)
        return run

    def _take(self, run: Run, row: Recorded, fact: Fact) -> Run:
        """Evolve the run, and hold the states that the event says it led from and to against the fold."""
        evolved = runs.evolve(run, fact)
        before, after = self._task_states(row, fact) or states_of(run, evolved, fact)
        if isinstance(fact.event, TaskAdopted):
            before = row.from_state or ""  # its life before the run is not ours to fold
        if (row.from_state or "", row.to_state or "") != (before, after):
            said = "the event led from and to other states than it says"
            self._differs("events", _where(row), [before, after], [row.from_state, row.to_state], said)
        if self._snapshot is not None and self._snapshot.version == evolved.version:
            self._compare(self._snapshot, evolved)
        return evolved

    def _compare(self, snapshot: Run, run: Run) -> None:
        """Hold the snapshot against the run as of its version."""
        expected, found = (asdict(replace(one, plan=snapshot.plan)) for one in (run, snapshot))
        differ = [name for name in expected if expected[name] != found[name]]
        if run.plan.names != snapshot.plan.names:
            differ.append("plan")
        if differ:
            where = f"snapshot as of event {run.version}"
            self._differs("snapshots", where, None, differ, "the snapshot says of these what the events do not")

    def _task_states(self, row: Recorded, fact: Fact) -> tuple[str, str] | None:
        kind, _, task_id = row.stream.partition("-")
        if kind != "task":
            return None
        before = self._tasks.get(task_id, Task(id=task_id))
        after = self._tasks[task_id] = tasks.evolve(before, fact.event, fact.at)  # type: ignore[arg-type]
        return before.status, after.status

    def _matches(self, expected: Decided, cause: Recorded) -> bool:
        kind, schema, data = CODEC.encode(expected.event)
        row = self._history.next
        if row is not None and not self._found.ok:
            return False  # it is not as it was written: what it says counts for nothing
        follows = f"what follows from event {cause.run_version} ({cause.type})"
        if row is None:
            said = f"{follows} is not in the record: the rules now decide {kind}, the record ends"
            self._differs("events", f"after event {cause.run_version}", [expected.stream, kind, data], None, said)
            return False
        same = (row.stream, row.type, row.schema, row.data) == (expected.stream, kind, schema, data) or (
            # Written before the event had a field that it has now.
            (row.stream, row.type) == (expected.stream, kind) and event_of(row) == event_of(_as(row, schema, data))
        )
        if not same:
            said = f"{follows} is decided otherwise now than it was"
            self._differs("events", _where(row), [expected.stream, kind, data], [row.stream, row.type, row.data], said)
        return same

    def _begin(self, cause: Recorded) -> None:
        version = cause.run_version or 0
        if self._open is None or not self._covers(self._open[0], version):
            self._close()
            self._open = (version, version, sha256())

    def _covers(self, first: int, version: int) -> bool:
        """Whether the decision from `first` is also that about `version`: one append may bring several causes."""
        if version == first:
            return True
        kept = self._kept.get(first)
        return version not in self._kept and kept is not None and version <= int(kept["upto_version"] or 0)

    def _hash(self, one: Decided, row: Recorded) -> None:
        assert self._open is not None
        first, _, outputs = self._open
        outputs.update(output_line(one, row.data))
        self._open = (first, row.run_version or 0, outputs)

    def _close(self) -> None:
        """Compare the decision that ends here with its record."""
        if self._open is None:
            return
        first, last, outputs = self._open
        self._open = None
        where = f"decision from {first}"
        kept = self._kept.pop(first, None)
        self._found.decisions += 1
        if kept is None:
            self._differs("decisions", where, [first, last], None, "the decision has no record")
        elif kept["upto_version"] != last:
            self._differs("decisions", where, last, kept["upto_version"], "the decision's record ends elsewhere")
        elif kept["code"] == CODE and kept["outputs"] != outputs.hexdigest():
            said = "the decision's record is about other events"
            self._differs("decisions", where, outputs.hexdigest(), kept["outputs"], said)

    def _differs(self, what: str, where: str, expected: Any, found: Any, message: str) -> None:
        self._found.differences.append(Difference(what, where, expected, found, message))


def _as(row: Recorded, schema: int, data: str) -> Recorded:
    return row._replace(schema=schema, data=data)


def _work(store: Store, history: _History) -> Iterator[Difference]:
    """The work rows that a fold of the run's tasks makes, against those there are."""
    expected = history.ready
    rows = store.select("work", run_id=history.run_id)
    found: Mapping[str, Row] = {str(row["task_id"]): dict(row) for row in rows}
    if expected == found or history.went_on():
        return
    for task_id in sorted(expected.keys() | found.keys()):
        want, have = expected.get(task_id), found.get(task_id)
        if want != have:
            said = (
                "a task is ready that is not queued" if want is None else "a queued task is not ready as it should be"
            )
            yield Difference("work", f"work row of task {task_id}", want, have, said)


def work_rows(rows: Sequence[Recorded]) -> list[Row]:
    """What the work table holds after these events, which begin with the first of each of their tasks."""
    ready: dict[str, Row] = {}
    for row in rows:
        _place(ready, row, event_of(row))
    return list(ready.values())


def _place(ready: dict[str, Row], row: Recorded, event: Any) -> None:
    kind, _, key = row.stream.partition("-")
    if kind == "task" and row.type in PUT_INTO_QUEUE:
        ready[key] = work_row(key, event.queue, event.priority, row.position, row.run_id)
    elif kind == "task" and row.to_state != "queued":
        ready.pop(key, None)
    elif kind == "run" and row.type == HostEnqueued.__name__:
        ready[key] = work_row(key, event.queue, 0, row.position, row.run_id)
    elif kind == "run" and row.type in HOST_NOT_QUEUED:
        ready.pop(key, None)
