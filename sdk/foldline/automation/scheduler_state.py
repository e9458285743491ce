"""What a scheduler remembers, kept on its own task, so that the process that follows it goes on where it ended."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from foldline import process
from foldline.automation.scheduler_jobs import ExecutedJob, moment
from foldline.automation.scheduler_launching import Launch
from foldline.client import Client
from foldline.details import TRASH
from foldline.errors import FoldlineError, Refused
from foldline.listing import Json

STATE: Final = "state"
# Properties of the task: which object has fired which trigger. Merged one by one, since they only become more.
FIRED: Final = "fired/"
# How many launches are remembered for the table of them.
REMEMBERED: Final = 25
# A scheduler that ended otherwise was stopped on purpose, and what comes after it begins afresh.
UNFINISHED: Final = frozenset({"failed", "queued", "in_progress"})


class Replaced(FoldlineError):
    """The scheduler's task is not this process's any more: stopped, or run by another process."""


@dataclass(kw_only=True)
class State:
    """`launches` are noted down before they are made; `limits` says when to look at a task, and its limit in hours."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    launches: list[Launch] = field(default_factory=list[Launch])
    executed: list[ExecutedJob] = field(default_factory=list[ExecutedJob])
    limits: dict[str, tuple[datetime, float]] = field(default_factory=dict[str, tuple[datetime, float]])
    # The place in the log up to which a trigger has looked; "" before its first look.
    cursor: str = ""

    def note(self, executed: ExecutedJob) -> None:
        """Remember a launch, for a while."""
        self.executed = [*self.executed, executed][-REMEMBERED:]

    def to_json(self) -> str:
        said = {
            "cursor": self.cursor,
            "jobs": self.jobs,
            "launches": [asdict(launch) for launch in self.launches],
            "limits": {task: [at.isoformat(), hours] for task, (at, hours) in self.limits.items()},
            "executed": [one.to_dict() for one in self.executed],
        }
        return json.dumps(said, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "State":
        said: Json = json.loads(text)
        looks = {task: (moment(at), float(hours)) for task, (at, hours) in said["limits"].items()}
        return cls(
            cursor=said["cursor"],
            jobs=said["jobs"],
            launches=[Launch(**launch) for launch in said["launches"]],
            limits={task: (at, hours) for task, (at, hours) in looks.items() if at is not None},
            executed=[ExecutedJob.parsed(one) for one in said["executed"]],
        )


class Memory:
    """The configuration objects and properties of a scheduler's task."""

    def __init__(self, client: Client, task_id: str) -> None:
        self._client = client
        self._id = task_id
        self.fired: dict[str, str] = {}
        self._unsaved: dict[str, str] = {}

    def read(self) -> State:
        """What this task remembers, else what the one that it goes on for did, else nothing."""
        own = self._client.tasks.get(self._id)
        source = own if STATE in own["configuration"] else self._predecessor(own)
        if source is None:
            return State()
        runtime: Mapping[str, Any] = source["runtime"]
        self.fired = {name: str(value) for name, value in runtime.items() if name.startswith(FIRED)}
        if source is not own and self.fired:
            self._edit({"runtime": dict(self.fired)})
        return State.from_json(source["configuration"][STATE]["value"])

    def specs(self, sections: Collection[str]) -> dict[str, str]:
        """The texts of the configuration objects that say what to do, of those that there are."""
        there = self._client.tasks.get(self._id)["configuration"]
        return {name: str(there[name]["value"]) for name in sections if name in there}

    def write(
        self, state: State, fired: Mapping[str, str] | None = None, specs: Mapping[str, Json] | None = None
    ) -> None:
        """All at once. Raises Replaced when this process has no say any more."""
        about = described(state.to_json(), "what the scheduler remembers: not to edit")
        fields: dict[str, Any] = {"configuration": {STATE: about, **(specs or {})}}
        self.fired |= fired or {}
        self._unsaved |= fired or {}
        if self._unsaved:
            fields["runtime"] = dict(self._unsaved)
        self._edit(fields)
        self._unsaved.clear()

    def forget(self, fired: Collection[str]) -> None:
        """They could not be written, and what they stand for is not done."""
        for name in fired:
            self.fired.pop(name, None)
            self._unsaved.pop(name, None)

    def _edit(self, fields: Mapping[str, Any]) -> None:
        try:
            self._client.tasks.edit(self._id, fields)
        except Refused as no:
            raise Replaced(f"this process is not the scheduler any more: {no}") from no

    def _predecessor(self, own: Json) -> Json | None:
        """The last task of this project and name, run by the same script, that did not end on purpose."""
        if process.given_by_agent():
            return None
        rows = self._client.tasks.list(project=own["project"], name=own["name"], limit=20)
        row = next((row for row in rows if row["id"] != self._id and not row["project"].startswith(TRASH)), None)
        if row is None or row["status"] not in UNFINISHED:
            return None
        record = self._client.tasks.get(str(row["id"]))
        same = record["script"]["entry_point"] == own["script"]["entry_point"]
        known = STATE in record["configuration"] and "archived" not in record["system_tags"]
        return record if same and known else None


def described(text: str, description: str) -> Json:
    """A configuration object of JSON."""
    return {"value": text, "type": "json", "description": description}
