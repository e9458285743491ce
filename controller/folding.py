"""A run folded from its history at once: just what `domain.run_fold` makes of it, at a fraction of the price.

Most events of a large run are those of plain steps, which change nothing but their own step, three counts, and how many
parents its children wait for. They are gathered step by step, mostly without a look into their data, and the run takes
them in together; any other event is evolved as ever. The controller's tests ask of every run that both ways come to the
same.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from controller.formats import CODEC, content_from, definition_from
from domain import run as runs
from domain.content import Edit, Overrides
from domain.lifecycle import STEP_ENDED
from domain.pipeline import Plan
from domain.run import Fact, Run
from domain.run_state import NO_GATES, PENDING, Step
from domain.task_events import ArtifactAdded, TaskCompleted, TaskCreated, TaskEdited, TaskEnqueued, TaskStarted
from domain.task_state import Artifact
from eventstore.store import StoreBroken, Told

MOST_PLANS = 64
MOST_KNOWN = 1_000  # different texts of events whose meaning is kept: those of many steps say the same
# What the data of an event is decoded for, or not for. Inside a text the quotes are escaped, so it is a field that is
# found; one of this name deep inside the overrides does no harm, as they are then there themselves.
OVERRIDES, NO_REASON = '"overrides":{', '"reason":""'


def plan_of(definition: str, text: Callable[[str], str]) -> Plan:
    """The pinned definition with this SHA-256 and all contents it names, read by `text`: one for all its runs."""
    pinned = text(definition)
    return _plan(pinned, tuple(map(text, _contents(pinned))))


@lru_cache(MOST_PLANS)
def _contents(definition: str) -> Sequence[str]:
    """The SHA-256 of each content that the definition names."""
    return tuple(dict.fromkeys(step.content for step in definition_from(definition).steps if step.content is not None))


@lru_cache(MOST_PLANS)
def _plan(definition: str, contents: tuple[str, ...]) -> Plan:
    return Plan(definition_from(definition), dict(zip(_contents(definition), map(content_from, contents), strict=True)))


def fold_run(run_id: str, told: Iterator[Told], text: Callable[[str], str]) -> Run | None:
    """The run after `told`, which begins with its first event; None when there is none. Raises StoreBroken."""
    first = next(told, None)
    if first is None:
        return None
    fact = _fact(first)
    if not isinstance(fact.event, runs.RunCreated):
        raise StoreBroken(f"run {run_id} begins with {first[2]}")
    run = runs.evolve(Run(id=run_id, plan=plan_of(fact.event.definition, text)), fact)
    return fold_on(run, told)


def fold_on(run: Run, told: Iterator[Told]) -> Run:
    """`run` after the events that follow. Raises StoreBroken for what this program does not know."""
    lives: dict[str, _Life] = {}
    version = run.version
    for one in told:
        stream, number, kind, schema, name, data, at = one
        known, take = PLAIN.get(kind, NOT_PLAIN)
        if schema == known and name is not None and (life := lives.get(name) or _begun(run, name, lives)):
            take(life, stream, data, at)
            version = number
        else:
            run = runs.evolve(_taken_in(run, version, lives.values()), _fact(one))
            version = run.version
            lives.clear()
    return _taken_in(run, version, lives.values())


def _fact(told: Told) -> Fact:
    stream, version, kind, schema, subject, data, at = told
    event: Any = CODEC.decode(kind, schema, data)
    return Fact(stream, event, at, version, subject)


class _Life(Struct, gc=False):
    """A step, and what plain events change of it while they are taken in."""

    name: str
    step: Step
    status: str
    reason: str
    task_id: str | None
    attempts: int
    queue: str | None
    overrides: Overrides | None
    edits: tuple[Edit, ...]
    artifacts: Mapping[str, Artifact]
    queued_at: int | None
    started_at: int | None
    ended_at: int | None
    ends: int = 0  # how often it has ended: what its run and its children count

    def created(self, stream: str, data: str, at: int) -> None:
        self.task_id = stream.partition("-")[2]
        self.overrides = _decoded(TaskCreated, data).overrides if OVERRIDES in data else None

    def enqueued(self, stream: str, data: str, at: int) -> None:
        self.status, self.reason, self.queue, self.queued_at = "queued", "", _queue(data), at

    def started(self, stream: str, data: str, at: int) -> None:
        self.status, self.reason, self.attempts, self.started_at = "running", "", _attempt(data), at

    def completed(self, stream: str, data: str, at: int) -> None:
        if self.status not in STEP_ENDED:
            self.reason = "" if NO_REASON in data else _decoded(TaskCompleted, data).reason
            self.status, self.ended_at = "completed", at
            self.ends += 1

    def edited(self, stream: str, data: str, at: int) -> None:
        edit = _decoded(TaskEdited, data).edit
        if edit is not None:
            self.edits = (*self.edits, edit)

    def gave(self, stream: str, data: str, at: int) -> None:
        added = _decoded(ArtifactAdded, data)
        self.artifacts = {**self.artifacts, added.name: Artifact(record=added, timestamp=at)}

    def after(self) -> Step:
        return replace(
            self.step,
            status=self.status,
            reason=self.reason,
            task_id=self.task_id,
            attempts=self.attempts,
            queue=self.queue,
            overrides=self.overrides,
            edits=self.edits,
            artifacts=self.artifacts,
            queued_at=self.queued_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
        )


def _begun(run: Run, name: str, lives: dict[str, _Life]) -> _Life | None:
    """A new one of `lives`; None where something holds the step, on its way to its queue or after its end."""
    step, definition = run.steps.get(name, PENDING), run.plan.steps[name]
    if step.gates is not NO_GATES or definition.draft or definition.time_limit is not None:
        return None
    if definition.hooks or run.plan.definition.hooks:
        return None
    life = lives[name] = _Life(
        name,
        step,
        step.status,
        step.reason,
        step.task_id,
        step.attempts,
        step.queue,
        step.overrides,
        step.edits,
        step.artifacts,
        step.queued_at,
        step.started_at,
        step.ended_at,
    )
    return life


def _taken_in(run: Run, version: int, lives: Collection[_Life]) -> Run:
    """`run` with `lives`, as of `version`."""
    if not lives:
        return run
    counts = dict(run.counts)
    for life in lives:
        counts[life.step.status] -= 1
        counts[life.status] += 1
    ended = [life.name for life in lives for _ in range(life.ends)]
    return replace(
        run,
        version=version,
        steps=run.steps.update({life.name: life.after() for life in lives}),
        blocked=_less_blocked(run, ended) if ended else run.blocked,
        open=run.open - len(ended),
        counts=counts,
    )


def _less_blocked(run: Run, ended: Iterable[str]) -> Map[str, int]:
    plan, blocked = run.plan, run.blocked
    fewer = Counter(chain.from_iterable(map(plan.children.__getitem__, ended)))
    return blocked.update({name: blocked.get(name, len(plan.parents[name])) - n for name, n in fewer.items()})


def _decoded(kind: type[Any], data: str) -> Any:
    return CODEC.decode(kind.__name__, CODEC.schema(kind.__name__), data)


@lru_cache(MOST_KNOWN)
def _queue(data: str) -> str:
    return _decoded(TaskEnqueued, data).queue


@lru_cache(MOST_KNOWN)
def _attempt(data: str) -> int:
    return _decoded(TaskStarted, data).attempt


# What takes in an event of this schema, by its kind.
PLAIN = {
    kind.__name__: (CODEC.schema(kind.__name__), take)
    for kind, take in (
        (TaskCreated, _Life.created),
        (TaskEnqueued, _Life.enqueued),
        (TaskStarted, _Life.started),
        (TaskCompleted, _Life.completed),
        (TaskEdited, _Life.edited),
        (ArtifactAdded, _Life.gave),
    )
}
NOT_PLAIN = (0, _Life.created)  # no event has schema 0
