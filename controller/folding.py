"""A run folded from its history at once: just what `domain.run_fold` makes of it, at half the price.

Most events of a large run are those of plain steps, which change nothing but their own step and three counts. They are
taken into plain dicts, mostly without a look into their data; any other event is evolved as ever. The controller's
tests ask of every run that both ways come to the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

from immutables import Map
from msgspec.structs import replace

from controller.formats import CODEC, content_from, definition_from
from domain import run as runs
from domain.content import Content
from domain.lifecycle import STEP_ENDED
from domain.pipeline import Plan
from domain.run import Fact, Run
from domain.run_state import NO_GATES, PENDING, Step
from domain.task_events import ArtifactAdded, TaskCompleted, TaskCreated, TaskEdited, TaskEnqueued, TaskStarted
from domain.task_state import Artifact
from eventstore.store import StoreBroken, Told

MOST_KNOWN = 1_000  # different texts of events whose meaning is kept: those of many steps say the same
NO_OVERRIDES = '"overrides":null'


def plan_of(definition: str, text: Callable[[str], str]) -> Plan:
    """The pinned definition with this SHA-256 and all contents it names, read by `text`."""
    pinned = definition_from(text(definition))
    contents: dict[str, Content] = {}
    for step in pinned.steps:
        if step.content is not None and step.content not in contents:
            contents[step.content] = content_from(text(step.content))
    return Plan(pinned, contents)


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
    folding = _Folding(run)
    for one in told:
        folding.take(one)
    return folding.run()


def _fact(told: Told) -> Fact:
    stream, version, kind, schema, subject, data, at = told
    event: Any = CODEC.decode(kind, schema, data)
    return Fact(stream, event, at, version, subject)


class _Folding:
    def __init__(self, run: Run) -> None:
        self._known: dict[str, Any] = {}
        self._begin(run)

    def _begin(self, run: Run) -> None:
        self._run, self._version, self._open = run, run.version, run.open
        self._steps: dict[str, Step] = {}  # those that have changed since
        self._blocked: dict[str, int] = {}
        self._counts = dict(run.counts)

    def take(self, told: Told) -> None:
        stream, version, kind, schema, name, data, at = told
        plain = PLAIN.get(kind)
        if plain is not None and name is not None and schema == SCHEMAS[kind]:
            step = self._steps.get(name) or self._run.steps.get(name, PENDING)
            if step.gates is NO_GATES and self._is_plain(name):
                plain(self, name, step, stream, data, at)
                self._version = version
                return
        self._begin(runs.evolve(self.run(), _fact(told)))

    def run(self) -> Run:
        """The run after all that was taken."""
        if self._version == self._run.version:
            return self._run
        return replace(
            self._run,
            version=self._version,
            steps=_with(self._run.steps, self._steps),
            blocked=_with(self._run.blocked, self._blocked),
            open=self._open,
            counts=self._counts,
        )

    def _is_plain(self, name: str) -> bool:
        """Whether nothing holds the step, on its way to its queue or after its end."""
        plan = self._run.plan
        definition = plan.steps[name]
        return not (definition.draft or definition.time_limit is not None or plan.hooks(name))

    def created(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        event = None if NO_OVERRIDES in data else self._event(TaskCreated, data)
        task_id = stream.partition("-")[2]
        self._steps[name] = replace(step, task_id=task_id, overrides=None if event is None else event.overrides)

    def enqueued(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        queue = self._event(TaskEnqueued, data).queue
        self._moved(name, step, replace(step, status="queued", reason="", queue=queue, queued_at=at))

    def started(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        attempt = self._event(TaskStarted, data).attempt
        self._moved(name, step, replace(step, status="running", reason="", attempts=attempt, started_at=at))

    def completed(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        reason = self._event(TaskCompleted, data).reason
        if step.status in STEP_ENDED:
            return
        self._moved(name, step, replace(step, status="completed", reason=reason, ended_at=at))
        self._open -= 1
        plan = self._run.plan
        for child in plan.children[name]:
            left = self._blocked.get(child)
            if left is None:
                left = self._run.blocked.get(child, len(plan.parents[child]))
            self._blocked[child] = left - 1

    def edited(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        edit = self._event(TaskEdited, data).edit
        if edit is not None:
            self._steps[name] = replace(step, edits=(*step.edits, edit))

    def gave(self, name: str, step: Step, stream: str, data: str, at: int) -> None:
        added = self._event(ArtifactAdded, data)
        artifacts = {**step.artifacts, added.name: Artifact(record=added, timestamp=at)}
        self._steps[name] = replace(step, artifacts=artifacts)

    def _moved(self, name: str, before: Step, after: Step) -> None:
        self._counts[before.status] -= 1
        self._counts[after.status] += 1
        self._steps[name] = after

    def _event(self, kind: type, data: str) -> Any:
        event = self._known.get(data)
        if type(event) is not kind:
            event = CODEC.decode(kind.__name__, SCHEMAS[kind.__name__], data)
            if len(self._known) < MOST_KNOWN:
                self._known[data] = event
        return event


def _with(kept: Map[str, Any], changed: dict[str, Any]) -> Map[str, Any]:
    return kept.update(changed) if changed else kept


PLAIN = {
    TaskCreated.__name__: _Folding.created,
    TaskEnqueued.__name__: _Folding.enqueued,
    TaskStarted.__name__: _Folding.started,
    TaskCompleted.__name__: _Folding.completed,
    TaskEdited.__name__: _Folding.edited,
    ArtifactAdded.__name__: _Folding.gave,
}
SCHEMAS = {kind: CODEC.schema(kind) for kind in PLAIN}
