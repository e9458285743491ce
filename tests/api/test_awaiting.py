"""Answers that are held back until something has happened to the run."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.waiting import Waiting
from tests.support.by_hand import Agent, Json, answered, definition, step, submitted
from tests.support.waiting import wait_until

RUNS = "/api/v1/runs"
LONG = 25  # seconds that would be waited if nothing ended the wait
Asleep = Callable[..., "Future[Json]"]


@pytest.fixture
def asleep(client: TestClient) -> Iterator[Asleep]:
    """Asks in another thread; what comes back is asleep on the server by then."""
    app: Any = client.app
    waiting: Waiting = app.state.waiting
    with ThreadPoolExecutor(4) as pool:

        def ask(address: str, **params: Any) -> Future[Json]:
            before = waiting.asleep
            asked = pool.submit(lambda: answered(client.get(address, params=params)))
            wait_until(lambda: waiting.asleep > before or asked.done(), "the question waits")
            assert not asked.done(), asked.result()
            return asked

        yield ask


def test_who_knows_a_version_hears_of_the_next_one(client: TestClient, asleep: Asleep):
    run = submitted(client)
    asked = asleep(f"{RUNS}/{run['id']}", after=run["version"], wait=LONG)
    Agent(client).works()
    assert asked.result(LONG)["version"] > run["version"]


def test_what_concerns_another_run_is_not_told(client: TestClient, asleep: Asleep):
    run = submitted(client)
    asked = asleep(f"{RUNS}/{run['id']}", after=run["version"], wait=LONG)
    submitted(client)
    answered(client.post(f"{RUNS}/{run['id']}/stop"))
    assert asked.result(LONG)["status"] == "stopped"


def test_who_is_behind_is_answered_at_once(client: TestClient):
    run = submitted(client)
    assert answered(client.get(f"{RUNS}/{run['id']}", params={"after": 1, "wait": LONG})) == run
    assert answered(client.get(f"{RUNS}/{run['id']}", params={"after": run["version"]})) == run
    assert answered(client.get(f"{RUNS}/{run['id']}", params={"after": 99, "wait": 0.05})) == run
    answered(client.get(f"{RUNS}/{run['id']}", params={"after": 1, "at": "2"}), 422)


def test_a_host_hears_of_a_question(client: TestClient, asleep: Asleep):
    body = definition(step("a"), step("b", "a", hooks=["pre"]), host={})
    held = {"session": "5e" * 16}
    run = answered(client.post(RUNS, json={"definition": body, "host": held}), 201)
    asked = asleep(f"{RUNS}/{run['id']}/hooks", wait=LONG)
    Agent(client).works()
    assert [hook["step"] for hook in asked.result(LONG)["items"]] == ["b"]


def test_the_servers_end_ends_the_wait(client: TestClient, asleep: Asleep):
    run = submitted(client)
    asked = asleep(f"{RUNS}/{run['id']}", after=run["version"], wait=LONG)
    app: Any = client.app
    app.state.waiting.close()
    assert asked.result(LONG) == run
