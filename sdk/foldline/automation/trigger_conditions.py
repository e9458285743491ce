"""What a trigger waits for: which models, datasets and tasks, and in which state. Pure but for the metrics asked."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from foldline.automation.scheduler_jobs import BaseScheduleJob
from foldline.datasets.finding import ARCHIVED, FINAL, TAG, TYPE
from foldline.details import TRASH
from foldline.listing import Json
from foldline.types import TaskStatusEnum

# What a metric is compared by: the lowest value that must be at most the threshold, or the highest at least.
LOWEST: Final = ("min", "minimum")
HIGHEST: Final = ("max", "maximum")

_ENDED: Final = frozenset({"TaskCompleted", "TaskPublished", "TaskEdited"})
_TASKS: Final = _ENDED | {
    "TaskCreated", "TaskEnqueued", "TaskDequeued", "TaskStarted", "TaskRequeued", "TaskStopRequested", "TaskStopped",
    "TaskFailed", "TaskReset", "ArtifactAdded", "ModelAdded", "RunCreated", "RunStarted", "RunPaused", "RunResumed",
    "RunCompleted", "RunFailed", "RunStopped", "RunEdited",
}  # fmt: skip


@dataclass(kw_only=True)
class Changed:
    """A model or task that has changed: its record, the statuses it has had meanwhile, and how to ask its metrics."""

    record: Json
    statuses: Collection[str] = ()
    metrics: Callable[[], Json] = field(default=dict[str, Any])

    @property
    def id(self) -> str:
        return str(self.record["id"])


@dataclass(kw_only=True)
class BaseTrigger(BaseScheduleJob):
    """Which objects: of a project, by name (a regular expression), with all of the tags."""

    project: str | None = None
    match_name: str | None = None
    tags: Sequence[str] | None = None
    required_tags: Sequence[str] | None = None
    add_tag: str | None = None

    # What the object is called in `${model.id}`, and which events may change whether it is meant.
    kind: ClassVar[str] = ""
    events: ClassVar[frozenset[str]] = frozenset()

    def verify(self) -> None:
        super().verify()
        for name in ("tags", "required_tags"):
            given: Any = getattr(self, name)
            if given is not None and (
                not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given)  # pyright: ignore[reportUnknownVariableType]
            ):
                raise ValueError(f"the {name.replace('_', ' ')} of a trigger must be a list of strings, not {given!r}")
        if self.match_name:
            try:
                re.compile(self.match_name)
            except re.error as why:
                raise ValueError(f"trigger_name {self.match_name!r} is no regular expression: {why}") from why

    def may_match(self, statuses: Collection[str]) -> bool:
        """Whether what has come to these statuses is worth reading; none are known of what was only edited."""
        return True

    def matches(self, changed: Changed) -> bool:
        """Whether it is one of those that are meant, in the state that is waited for."""
        record = changed.record
        if self.project and record["project"] != self.project:
            return False
        if str(record["project"]).startswith(f"{TRASH}/"):
            return False
        if self.match_name and not re.search(self.match_name, str(record["name"])):
            return False
        return {*(self.tags or ()), *(self.required_tags or ())} <= set(record["tags"])

    def filled(self, values: Mapping[str, Any], record: Json) -> dict[str, Any]:
        """`values` with `${model.id}`, `${model.name}`, `${model.project}` replaced, inside lists and dicts too."""
        words = {f"${{{self.kind}.{name}}}": str(record[name]) for name in ("id", "name", "project")}
        return {name: _filled(value, words) for name, value in values.items()}


@dataclass(kw_only=True)
class ModelTrigger(BaseTrigger):
    on_publish: bool | None = None
    on_archive: bool | None = None

    kind: ClassVar[str] = "model"
    events: ClassVar[frozenset[str]] = frozenset({"ModelAdded", "TaskPublished"})

    def matches(self, changed: Changed) -> bool:
        if not super().matches(changed):
            return False
        record = changed.record
        return bool((record["published"] or not self.on_publish) and (record["archived"] or not self.on_archive))


@dataclass(kw_only=True)
class DatasetTrigger(BaseTrigger):
    """Final versions of datasets: published ones only with `on_publish`."""

    on_publish: bool | None = None
    on_archive: bool | None = None

    kind: ClassVar[str] = "dataset"
    events: ClassVar[frozenset[str]] = _ENDED

    def may_match(self, statuses: Collection[str]) -> bool:
        return not statuses or not FINAL.isdisjoint(statuses)

    def matches(self, changed: Changed) -> bool:
        record = changed.record
        if record["type"] != TYPE or TAG not in record["system_tags"] or not super().matches(changed):
            return False
        wanted = {"published"} if self.on_publish else FINAL
        return record["status"] in wanted and (not self.on_archive or ARCHIVED in record["system_tags"])


@dataclass(kw_only=True)
class TaskTrigger(BaseTrigger):
    """Tasks that come to one of the statuses, or whose metric passes the threshold, or that merely change."""

    metrics: str | None = None
    variant: str | None = None
    threshold: float | None = None
    value_sign: str | None = None
    exclude_dev: bool | None = None
    on_status: Sequence[str] | None = None

    kind: ClassVar[str] = "task"
    events: ClassVar[frozenset[str]] = _TASKS

    def verify(self) -> None:
        super().verify()
        given = (self.metrics, self.variant, self.threshold)
        if any(one is not None for one in given) and not (self.metrics and self.variant and self.threshold is not None):
            raise ValueError("You must provide metric/variant/threshold: all three, or none of them")
        known = [status.value for status in TaskStatusEnum]
        if isinstance(self.on_status, str) or any(status not in known for status in self.on_status or ()):
            raise ValueError(f"trigger_on_status is a list of {', '.join(known)}, not {self.on_status!r}")
        if self.value_sign and self.value_sign.lower() not in (*LOWEST, *HIGHEST):
            raise ValueError(f"Invalid value_sign `{self.value_sign}`: choose from {', '.join((*LOWEST, *HIGHEST))}")

    def may_match(self, statuses: Collection[str]) -> bool:
        return not self.on_status or not statuses or not set(self.on_status).isdisjoint(statuses)

    def matches(self, changed: Changed) -> bool:
        if not super().matches(changed):
            return False
        record = changed.record
        # A status that it had for a moment between two looks counts.
        if self.on_status and {record["status"], *changed.statuses}.isdisjoint(self.on_status):
            return False
        if self.exclude_dev and any(not one["agent"] for one in record["attempts"][-1:]):
            return False
        return self.metrics is None or self._passes(changed.metrics())

    def _passes(self, metrics: Json) -> bool:
        found: Json | None = metrics.get(str(self.metrics), {}).get(str(self.variant))
        if found is None or self.threshold is None:
            return False
        if (self.value_sign or "").lower() in HIGHEST:
            return bool(found["max"] >= self.threshold)
        return bool(found["min"] <= self.threshold)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for word, meant in words.items():
            value = value.replace(word, meant)
        return value
    if isinstance(value, Mapping):
        return {name: _filled(inner, words) for name, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_filled(inner, words) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value
