"""Callbacks in a host that takes over: nothing is answered before the step's call has been made again."""

from collections import deque
from typing import Any, cast

from foldline.automation import called
from foldline.automation.callbacks import PRE, Registered
from foldline.automation.called import CalledServing
from foldline.automation.nodes import Node


class Host:
    """Asks about steps a and b until both are answered; `calls` are the steps called between two looks."""

    def __init__(self, *calls: str) -> None:
        self.calls = deque(calls)
        self.answers: list[tuple[str, Any]] = []
        self.looks = 0
        self.serving: CalledServing | None = None

    def node_now(self, step: str, status: str | None = None) -> Node:
        return Node(name=step)

    def hooks(self, wait: float) -> dict[str, Any]:
        self.looks += 1
        answered = {hook for hook, _ in self.answers}
        items = [
            {
                "id": f"hook-{step}",
                "kind": PRE,
                "step": step,
                "parameters": {},
                "status": "",
                "previous": "",
                "retries": 0,
            }
            for step in ("a", "b")
            if f"hook-{step}" not in answered
        ]
        if self.calls and self.serving is not None:
            self.serving.called(self.calls.popleft())
        return {"items": items, "status": "running" if items else "completed", "version": self.looks}

    def wait_past(self, version: int, seconds: float) -> dict[str, Any]:
        return {}

    def answer(self, hook: str, **said: Any) -> None:
        self.answers.append((hook, said))


def test_a_question_stays_open_until_its_step_was_called(monkeypatch: Any):
    monkeypatch.setattr(called, "PAUSE", 0.01)
    registered = Registered()
    for step in ("a", "b"):
        registered.add(step, PRE, lambda pipeline, node, parameters: node.name == "a")
    host = Host("b", "a")
    host.serving = CalledServing(cast(Any, host), cast(Any, host), registered)
    host.serving.serve()
    assert sorted(host.answers) == [("hook-a", {"verdict": True}), ("hook-b", {"verdict": False})]


def test_a_question_that_comes_first_is_answered_with_the_call(monkeypatch: Any):
    monkeypatch.setattr(called, "PAUSE", 60.0)
    registered = Registered()
    for step in ("a", "b"):
        registered.add(step, PRE, lambda pipeline, node, parameters: True)
    host = Host("b")
    host.serving = serving = CalledServing(cast(Any, host), cast(Any, host), registered)
    serving.called("a")
    # While it waits for news of b, which it has been asked about, b is called.
    host.serving.serve()
    assert {hook for hook, _ in host.answers} == {"hook-a", "hook-b"}
