"""A step of a pipeline as its author sees it: what was said of it, and, once it runs, how it stands."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from foldline.automation.jobs import Job

REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
# ClearML's words for how a step stands, where they are others.
WORDS: Final[Mapping[str, str]] = {"stopped": "aborted", "waiting": "pending"}


def word(status: str) -> str:
    """ClearML's word for a step's status."""
    return WORDS.get(status, status)


@dataclass(slots=True, kw_only=True)
class Node:
    """One step. From `executed` on, the fields are the server's word, as of the last look.

    What a pre_execute_callback changes in `parameters` and `queue` counts for the step; `skip_job = True` skips it.
    """

    name: str
    base_task_id: str | None = None
    task_factory_func: Callable[..., Any] | None = None
    queue: str | None = None
    parents: list[str] = field(default_factory=list[str])
    timeout: float | None = None  # seconds
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    configurations: dict[str, Any] = field(default_factory=dict[str, Any])
    task_overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    clone_task: bool = True
    job_type: str | None = None
    job_code_section: str | None = None
    cache_executed_step: bool = False
    return_artifacts: list[str] = field(default_factory=list[str])
    monitor_metrics: list[Any] = field(default_factory=list[Any])
    monitor_artifacts: list[Any] = field(default_factory=list[Any])
    monitor_models: list[Any] = field(default_factory=list[Any])
    explicit_docker_image: str | None = None
    recursively_parse_parameters: bool = False
    output_uri: str | bool | None = None
    draft: bool = False
    continue_on_fail: bool = False
    continue_on_abort: bool = False
    skip_children_on_fail: bool = True
    skip_children_on_abort: bool = True
    stage: str | None = None
    executed: str | bool | None = None  # the task's id when it has come to a good end, False when to a bad one
    status: str = "pending"  # in ClearML's words
    job: Job | None = None  # None before the step has a task
    job_started: float | None = None  # seconds since 1970
    job_ended: float | None = None
    skip_job: bool = False
    reason: str = ""
    waiting_for: str = ""  # a sentence, while it waits
    task_id: str | None = None
    run_id: str | None = None  # of the pipeline that the step runs
    attempts: int = 0
    retries: int = 0

    @property
    def job_id(self) -> str | None:
        """The id of the step's task; None before it has one."""
        return self.task_id

    def continues(self, behaviour: Mapping[str, bool] | None) -> None:
        """Take over what a failure means; what a given mapping leaves out is True, as in ClearML."""
        if behaviour is not None:
            self.continue_on_fail = behaviour.get("continue_on_fail", True)
            self.continue_on_abort = behaviour.get("continue_on_abort", True)
            self.skip_children_on_fail = behaviour.get("skip_children_on_fail", True)
            self.skip_children_on_abort = behaviour.get("skip_children_on_abort", True)

    def update(self, step: Mapping[str, Any], *, status: str | None = None) -> None:
        """Take over how the step stands, as `GET /runs/{id}/steps` says it; `status`: what a callback is told of."""
        stands = status or str(step["status"])
        # A task that waits for anything else than an agent is "queued" there as well.
        self.status = "queued" if stands == "waiting" and step["task_id"] else word(stands)
        self.reason = str(step["reason"])
        self.task_id = step["task_id"]
        self.run_id = step.get("run_id")
        self.attempts = int(step["attempts"])
        self.retries = int(step.get("retries") or 0)
        self.job_started, self.job_ended = _seconds(step["started_at"]), _seconds(step["ended_at"])
        self.parents = [str(parent) for parent in step["parents"]]
        waiting = step.get("waiting_for")
        self.waiting_for = str(waiting["text"]) if waiting else ""
        self.skip_job = stands == "skipped"
        self.executed = None
        if stands in ("completed", "cached"):
            self.executed = self.task_id or self.run_id
        elif stands in ("failed", "stopped"):
            self.executed = False
        self._take_job(self.task_id or self.run_id, cached=stands == "cached")

    def _take_job(self, identifier: str | None, *, cached: bool) -> None:
        if identifier is None:
            self.job = None
        elif self.job is None or self.job.task_id() != identifier or self.job.is_cached_task() != cached:
            self.job = Job(
                identifier, cached=cached, parameters=self.parameters, configurations=self.configurations or None
            )


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


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
