"""Agents at work in a thread of the test, and the server they talk to."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline.agent import names
from foldline.agent.agent import Agent, AgentOptions, StopRequests
from tests.agent.canned import DEADLINE, Server


class Running:
    """An agent at work in a thread of the test."""

    def __init__(self, options: AgentOptions) -> None:
        self.requests = StopRequests()
        self.exit_code: int | None = None
        self.error: Exception | None = None
        self._name = names.claim(options.chosen_home() / "agents", options.name)
        self.agent = Agent(options, self._name, self.requests)
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            with self.requests, self._name:
                self.exit_code = self.agent.work()
        except Exception as error:
            self.error = error

    def ended(self) -> int | None:
        """Its exit code, once it has ended."""
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive(), "the agent does not end"
        return self.exit_code


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def start_agent(server: Server, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start an agent of `server`; it is stopped when the test ends."""
    running: list[Running] = []

    def start(**options: Any) -> Running:
        options = {"url": server.url, "token": "secret-token", "home": tmp_path / "home", "grace": 5.0} | options
        running.append(Running(AgentOptions(**options)))
        return running[-1]

    yield start
    for each in running:
        each.requests.ask()
        each.requests.ask()
    for each in running:
        each.ended()
