"""A run that a test moves on by hand, where DynamicRun expects its host: nothing happens unless the test said so."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from foldline.errors import Refused

RUN = "a" * 32
STATES = ("pending", "waiting", "queued", "running", "completed", "cached", "failed", "stopped", "skipped")


class ScriptedHost:
    """Stands for Hosting and for its client. `later` are what happens, one after another, while somebody waits."""

    def __init__(self, attempt: int = 1, recorded: "ScriptedHost | None" = None) -> None:
        self.attempt = attempt
        self.run_id = RUN
        self.status = "running"
        self.later: deque[Callable[[], None]] = deque()
        self.added: dict[str, dict[str, Any]] = {} if recorded is None else recorded.added
        self.calls: list[tuple[int, str, str]] = [] if recorded is None else recorded.calls
        self._steps: dict[str, dict[str, Any]] = {} if recorded is None else recorded._steps
        self._tasks: dict[str, dict[str, Any]] = {} if recorded is None else recorded._tasks
        self._version = 1
        self.client: Any = SimpleNamespace(
            runs=SimpleNamespace(
                step=lambda run_id, name: self._steps[name], steps=lambda run_id: self._steps.values()
            ),
            tasks=SimpleNamespace(get=lambda identifier: self._tasks[identifier]),
            events=SimpleNamespace(list=self._events),
        )

    def add_step(self, call: int, fingerprint: str, step: dict[str, Any]) -> dict[str, Any]:
        known = {number: (name, said) for number, name, said in self.calls}
        if call in known:
            name, said = known[call]
            if said != fingerprint:
                raise Refused({"status": 409, "code": "diverged", "detail": f"call {call} was {name}"})
            return self._steps[name]
        assert call == len(self.calls), "calls come in order"
        name = step["name"]
        assert name not in self._steps, "names differ"
        self.calls.append((call, name, fingerprint))
        self.added[name] = step
        self._steps[name] = {
            "name": name,
            "status": "queued",
            "reason": "",
            "task_id": None,
            "parents": step["parents"],
        }
        return self._steps[name]

    def end(self, name: str, status: str = "completed", reason: str = "", **returned: Any) -> None:
        task_id = None if status == "skipped" else f"task-{name}"
        self._steps[name] |= {"status": status, "reason": reason, "task_id": task_id}
        returns = {key: {"value": value} for key, value in returned.items()}
        self._tasks[f"task-{name}"] = {"artifacts": {}, "hyperparameters": {"return": returns}}

    def wait_for(self, name: str, waiting: dict[str, Any]) -> None:
        self._steps[name]["waiting_for"] = waiting

    def then(self, name: str, status: str = "completed", reason: str = "", **returned: Any) -> None:
        """The step ends so, when somebody waits next."""
        self.later.append(lambda: self.end(name, status, reason, **returned))

    def wait_past(self, version: int, seconds: float = 20) -> dict[str, Any]:
        if version >= self._version:
            assert self.later, "somebody waits, and nothing more is to happen"
            self.later.popleft()()
            self._version += 1
        counts = dict.fromkeys(STATES, 0)
        for step in self._steps.values():
            counts[step["status"]] += 1
        return {
            "id": RUN,
            "name": "p #1",
            "status": self.status,
            "reason": "stopped by ana" if self.status == "stopped" else "",
            "version": self._version,
            "step_counts": counts,
            "open_hooks": 0,
        }

    def _events(self, run_id: str, type: str) -> list[dict[str, Any]]:
        assert (run_id, type) == (RUN, "StepAdded")
        return [
            {"data": {"call": call, "step": {"name": name}, "fingerprint": said}} for call, name, said in self.calls
        ]
