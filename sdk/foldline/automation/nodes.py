"""A step of a pipeline as its author sees it: what was said of it, and, once it runs, how it stands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
ENDED: Final = frozenset({"completed", "cached", "failed", "stopped", "skipped"})


@dataclass(slots=True, kw_only=True)
class Node:
    """One step. From `status` on, the fields are the server's word, as of the last look."""

    name: str
    base_task_id: str | None = None
    queue: str | None = None
    parents: list[str] = field(default_factory=list[str])
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    configurations: dict[str, Any] = field(default_factory=dict[str, Any])
    task_overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    return_artifacts: list[str] = field(default_factory=list[str])
    stage: str | None = None
    status: str = "pending"
    reason: str = ""
    executed: str | bool | None = None  # the task's id when it has come to a good end, False when to a bad one
    task_id: str | None = None
    attempts: int = 0
    started_at: str | None = None
    ended_at: str | None = None

    @property
    def job_id(self) -> str | None:
        """The id of the step's task; None before it has one."""
        return self.task_id

    @property
    def skip_job(self) -> bool:
        return self.status == "skipped"

    def update(self, step: Mapping[str, Any]) -> None:
        """Take over how the step stands, as `GET /runs/{id}/steps` says it."""
        self.status = str(step["status"])
        self.reason = str(step["reason"])
        self.task_id = step["task_id"]
        self.attempts = int(step["attempts"])
        self.started_at = step["started_at"]
        self.ended_at = step["ended_at"]
        self.parents = [str(parent) for parent in step["parents"]]
        if self.status in ("completed", "cached"):
            self.executed = self.task_id
        elif self.status in ("failed", "stopped"):
            self.executed = False


def step_of(body: str, names: Sequence[str] | Mapping[str, Any]) -> str | None:
    """The step that the reference `${body}` speaks of: the longest name that it begins with."""
    cuts = [place for place, letter in enumerate(body) if letter == "."]
    return next((body[:cut] for cut in reversed(cuts) if body[:cut] in names), None)


def steps_named_in(value: Any, names: Mapping[str, Any], *, deep: bool = False) -> list[str]:
    """The steps that `value` refers to, in order; inside lists and dicts too when `deep`."""
    found: list[str] = []
    if isinstance(value, str):
        spoken_of = (step_of(reference.strip(), names) for reference in REFERENCE.findall(value))
        found = [name for name in spoken_of if name is not None]
    elif deep and isinstance(value, Mapping):
        for inner in cast(Mapping[Any, Any], value).values():
            found += steps_named_in(inner, names, deep=True)
    elif deep and isinstance(value, list | tuple):
        for inner in cast(list[Any], value):
            found += steps_named_in(inner, names, deep=True)
    return list(dict.fromkeys(found))


def return_value(value: Any, names: Mapping[str, Any]) -> tuple[str, str] | None:
    """("step", "name") of "${step.name}", a step's return value; None when `value` is anything else."""
    whole = REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if whole is None:
        return None
    body = whole[1].strip()
    step = step_of(body, names)
    if step is None:
        return None
    name = body[len(step) + 1 :]
    return None if name == "id" or "." in name or not name else (step, name)
