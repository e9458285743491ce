"""Tasks by HTTP: what they are told to do, and what the state does not allow."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.tasks import SESSION, TASKS, made, started, told


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def test_a_clone_takes_what_the_task_is_made_of_and_leaves_what_it_brought_forth(client: TestClient):
    task = started(client, hyperparameters={"A": {"x": {"value": 1}}}, tags=["t"], comment="c")
    client.post(f"{TASKS}/{task['id']}/artifacts", json={"name": "data", "url": "s3://bucket/data"})
    answer = client.post(f"{TASKS}/{task['id']}/clone", json={"name": "again"})
    clone = answer.json()
    assert answer.status_code == 201
    assert (clone["name"], clone["cloned_from"], clone["parent"]) == ("again", task["id"], task["id"])
    assert (clone["hyperparameters"], clone["tags"], clone["comment"]) == (task["hyperparameters"], ["t"], "c")
    assert (clone["artifacts"], clone["attempts"], clone["status"]) == ({}, [], "created")


def test_into_a_queue_and_out_again(client: TestClient):
    task = told(client, made(client), "enqueue", queue="default", priority=3)
    assert (task["status"], task["queue"]) == ("queued", "default")
    answer = client.post(f"{TASKS}/{task['id']}/dequeue")
    assert (answer.json()["status"], answer.json()["queue"]) == ("created", None)


def test_a_queue_that_does_not_exist_is_named_with_those_that_do(client: TestClient):
    answer = client.post(f"{TASKS}/{made(client)['id']}/enqueue", json={"queue": "nowhere"})
    assert answer.status_code == 422
    assert re.search(r"no queue 'nowhere': .* use one of .*\bdefault\b.*\bservices\b", answer.json()["detail"])


def test_a_process_of_the_callers_own_runs_it(client: TestClient):
    task = made(client)
    answer = told(client, task, "start", session=SESSION, host="here", lease=30.0)
    assert (answer["attempt"], answer["lease"]) == (1, 30)
    [attempt] = answer["task"]["attempts"]
    assert (attempt["session"], attempt["host"], attempt["agent"]) == (SESSION, "here", None)
    assert told(client, task, "heartbeat", session=SESSION, attempt=1) == {"stop": False, "reason": ""}
    told(client, task, "stop", reason="enough")
    assert told(client, task, "heartbeat", session=SESSION, attempt=1) == {"stop": True, "reason": "enough"}
    task = told(client, task, "stop", now=True)
    assert (task["status"], task["attempts"][0]["status"]) == ("stopped", "stopped")
    over = client.post(f"{TASKS}/{task['id']}/heartbeat", json={"session": SESSION, "attempt": 1})
    assert over.status_code == 409


def test_a_heartbeat_renews_the_lease_that_was_asked_for(client: TestClient, services: Services):
    task = made(client)
    told(client, task, "start", session=SESSION, lease=30.0)
    [before] = services.store.select("lease", stream=f"task-{task['id']}")
    told(client, task, "heartbeat", session=SESSION, attempt=1)
    [after] = services.store.select("lease", stream=f"task-{task['id']}")
    assert after["seconds"] == before["seconds"] == 30
    assert int(after["expires_at"] or 0) > int(before["expires_at"] or 0)


@pytest.mark.parametrize(
    ("how", "body", "status", "reason"),
    [
        ("complete", {}, "completed", ""),
        ("complete", {"reason": "early"}, "completed", "early"),
        ("fail", {"reason": "bad data"}, "failed", "bad data"),
        ("stop", {"now": True}, "stopped", "stop requested by local"),
        ("stop", {"now": True, "reason": "enough"}, "stopped", "enough"),
    ],
)
def test_it_ends_as_it_is_told(client: TestClient, how: str, body: dict[str, Any], status: str, reason: str):
    task = told(client, started(client), how, **body)
    assert (task["status"], task["reason"]) == (status, reason)
    assert task["ended_at"] == task["attempts"][0]["ended_at"]


@pytest.mark.parametrize("what", ["dequeue", "complete", "fail", "stop", "reset", "publish"])
def test_a_command_needs_no_body(client: TestClient, what: str):
    address = f"{TASKS}/{made(client)['id']}/{what}"
    assert client.post(address).status_code == client.post(address, json={}).status_code


def test_reset_makes_it_a_draft_and_publish_ends_all_change(client: TestClient):
    task = told(client, told(client, started(client), "fail"), "reset")
    assert (task["status"], task["attempt"]) == ("created", 1)
    task = told(client, task, "start", session="77" * 16)["task"]
    assert task["attempt"] == 2
    task = told(client, told(client, task, "complete"), "publish")
    assert task["status"] == "published"
    assert client.post(f"{TASKS}/{task['id']}/reset").status_code == 409


REFUSED: list[tuple[str, Callable[[TestClient], dict[str, Any]], dict[str, Any]]] = [
    ("enqueue", started, {"queue": "default"}),
    ("dequeue", made, {}),
    ("start", started, {"session": "77" * 16}),
    ("heartbeat", made, {"session": SESSION, "attempt": 1}),
    ("complete", made, {}),
    ("fail", made, {}),
    ("stop", made, {}),
    ("reset", started, {}),
    ("publish", made, {}),
]


@pytest.mark.parametrize(("what", "given", "body"), REFUSED, ids=[what for what, _, _ in REFUSED])
def test_what_the_state_does_not_allow_is_refused(
    client: TestClient, what: str, given: Callable[[TestClient], dict[str, Any]], body: dict[str, Any]
):
    refused = client.post(f"{TASKS}/{given(client)['id']}/{what}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "refused")


@pytest.mark.parametrize(
    ("what", "body"),
    [("artifacts", {"name": "a", "url": "s3://b"}), ("models", {"kind": "output", "name": "a"})],
)
def test_nothing_is_added_to_what_is_published(client: TestClient, what: str, body: dict[str, Any]):
    task = told(client, told(client, started(client), "complete"), "publish")
    assert client.post(f"{TASKS}/{task['id']}/{what}", json=body).status_code == 409
