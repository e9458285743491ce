"""Launching a task for a job: cloned, changed, put into its queue, and once only, however often it is tried."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from foldline.automation import options
from foldline.automation.scheduler_jobs import BaseScheduleJob
from foldline.calls.base import given, part
from foldline.client import Client
from foldline.errors import FoldlineError, Invalid, NotFound, NotSupported
from foldline.listing import Json
from foldline.parameters import entry, split

ACTIVE: Final = frozenset({"queued", "in_progress"})
# The property of a task that is launched again and again: for which launch it was last.
LAUNCHED_FOR: Final = "launched_for"
# ClearML's names of fields that are called otherwise here.
ALIASES: Final = {
    "script.version_num": "script.commit",
    "container.docker_cmd": "container.image",
    "execution.docker_cmd": "container.image",
    "output.destination": "output_destination",
}
OVERRIDABLE: Final = ("script", "container", "comment", "type", "tags", "system_tags", "output_destination")

log = logging.getLogger("foldline")


@dataclass(kw_only=True)
class Launch:
    """A task to launch, noted down before it is: `tick` says what for, a time or an object's id."""

    job: str
    tick: str
    base_task_id: str
    queue: str
    project: str | None = None
    clone: bool = True
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: list[str] = field(default_factory=list[str])
    # The scheduler's task that noted it down. Who makes the launch for it says the same, so that it is made once.
    origin: str | None = None


class Launcher:
    """Launches for one scheduler, which `owner` names: in all its lives a tick of a job is one task."""

    def __init__(self, client: Client, owner: str) -> None:
        self._client = client
        self._owner = owner

    def check(self, job: BaseScheduleJob) -> None:
        """Whether it could be launched. Raises FoldlineError with what to do when its task or queue is not there."""
        if not job.base_task_id:
            return
        base = self._client.tasks.get(job.base_task_id)
        check_queue(self._client, str(job.queue))
        is_run = _is_run(base)
        if is_run and not job.clone_task:
            raise NotSupported(f"{job.name!r}: a run keeps its history and cannot run again: leave reuse_task out")
        if is_run and job.task_overrides:
            raise NotSupported(f"{job.name!r}: a run is what its pipeline says: leave task_overrides out")
        if not job.clone_task and base["status"] == "published":
            raise FoldlineError(f"{job.name!r}: task {base['name']!r} is published for good: leave reuse_task out")
        overridden(job.task_overrides)

    def is_active(self, identifier: str | None) -> bool:
        """Whether that task waits in a queue or runs."""
        if identifier is None:
            return False
        try:
            return self._client.tasks.get(identifier)["status"] in ACTIVE
        except NotFound:
            return False

    def launch(self, launch: Launch) -> str | None:
        """The task that was put into its queue, now or by an earlier try; None when there was nothing to put there.

        Raises FoldlineError when that cannot be done.
        """
        key = self._key(launch)
        if not launch.clone:
            return self._again(launch, key)
        body = given(project=launch.project, origin=launch.origin)
        try:
            made = self._client.request(
                "POST",
                f"tasks/{part(launch.base_task_id)}/clone",
                json=body,
                headers={"Idempotency-Key": key},
            ).json()
        except Invalid as no:
            if no.code != "key-reused":
                raise
            log.warning("%s: %s was launched by an earlier scheduler of this name", launch.job, launch.tick)
            return None
        # The answer to a repeated request is the first one: it may have been put into its queue since.
        record = self._client.tasks.get(str(made["id"]))
        if record["status"] == "created":
            base = self._client.tasks.get(launch.base_task_id)
            # A run is numbered by itself.
            self._prepare(launch, record, {} if _is_run(base) else {"name": base["name"]})
        return str(record["id"])

    def limit(self, identifier: str, hours: float, now: datetime) -> datetime | None:
        """Stop the task when it has run for that long; when to look again, None for never.

        Waiting in a queue is not running.
        """
        try:
            record = self._client.tasks.get(identifier)
        except NotFound:
            return None
        if record["status"] not in ACTIVE:
            return None
        if record["status"] == "queued" or not record["started_at"]:
            return now + timedelta(hours=hours)
        end = datetime.fromisoformat(record["started_at"]).astimezone(UTC) + timedelta(hours=hours)
        if end > now:
            return end
        if not record["stop_requested"]:
            self._client.tasks.stop(identifier, f"its scheduler's limit of {hours:g} h has passed")
        return None

    def _again(self, launch: Launch, key: str) -> str | None:
        """The template itself runs again; not while it still does."""
        record = self._client.tasks.get(launch.base_task_id)
        if record["runtime"].get(LAUNCHED_FOR) == key and record["status"] != "created":
            return launch.base_task_id
        if record["status"] in ACTIVE:
            log.warning("%s: task %s still runs, so %s is left out", launch.job, launch.base_task_id, launch.tick)
            return None
        if record["status"] != "created":
            record = self._client.tasks.reset(launch.base_task_id)
        self._prepare(launch, record, {"runtime": {LAUNCHED_FOR: key}})
        return launch.base_task_id

    def _prepare(self, launch: Launch, record: Json, more: Mapping[str, Any]) -> None:
        """Change the draft as the job says, and enqueue it."""
        fields: dict[str, Any] = {**overridden(launch.overrides), **more}
        if launch.parameters:
            fields["hyperparameters"] = _merged(record, launch.parameters)
        if launch.tags:
            tags = [*fields.get("tags", record["tags"]), *launch.tags]
            fields["tags"] = list(dict.fromkeys(tags))
        if fields:
            self._client.tasks.edit(str(record["id"]), fields)
        self._client.tasks.enqueue(str(record["id"]), launch.queue)

    def _key(self, launch: Launch) -> str:
        said = "\0".join((self._owner, launch.job, launch.tick))
        return hashlib.sha256(said.encode()).hexdigest()


def _is_run(record: Json) -> bool:
    """Whether it is a pipeline's run, read as a task."""
    return record["type"] == "controller" and "pipeline" in record["system_tags"]


def check_queue(client: Client, queue: str) -> None:
    """Raises FoldlineError when there is no such queue."""
    try:
        client.queues.get(queue)
    except NotFound:
        raise FoldlineError(f"there is no queue {queue!r}: `foldline queue create {queue}` makes it") from None


def overridden(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """{"script": {"branch": "main"}} of {"script.branch": "main"}: the edit that it means. Raises ValueError."""
    fields: dict[str, Any] = {}
    for path, value in options.flat_fields(overrides).items():
        *folders, name = ALIASES.get(path, path).split(".")
        if (folders or [name])[0] not in OVERRIDABLE:
            raise ValueError(f"a task has no field {path!r} to override: choose from {', '.join(OVERRIDABLE)}")
        branch = fields
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = "" if value is None else value
    return fields


def _merged(record: Json, parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections to set; a parameter that is there keeps its description."""
    sections: dict[str, dict[str, Any]] = {}
    for path, value in parameters.items():
        section, name = split(str(path))
        present = record["hyperparameters"].get(section, {}).get(name, {})
        sections.setdefault(section, {})[name] = entry(value, present.get("description"))
    return sections
