"""Tasks by HTTP: how they are made and shown, once and for all."""

from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.tasks import SESSION, TASKS, made, started, told


@pytest.fixture
def once() -> dict[str, str]:
    """The header of one command."""
    return {"Idempotency-Key": uuid4().hex}


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def test_a_task_has_what_it_was_made_with(client: TestClient):
    given = {
        "type": "testing",
        "parent": "aa" * 16,
        "origin": "bb" * 16,
        "hyperparameters": {"General": {"lr": {"value": 0.1, "type": "float", "description": "rate"}}},
        "configuration": {"model": {"value": "text", "type": "json", "description": None}},
        "script": {"entry_point": "train.py", "arguments": ["--fast"], "requirements": {"pip": "numpy"}},
        "container": {"image": "python:3.12"},
        "tags": ["baseline"],
        "system_tags": ["development"],
        "comment": "first",
        "output_destination": "s3://bucket",
        "models": [{"name": "base", "url": "s3://bucket/base"}],
    }
    task = made(client, **given)
    plain = {name: task[name] for name in given if name not in ("script", "container", "models")}
    assert plain == {name: given[name] for name in plain}
    assert task["script"] | given["script"] == task["script"]
    assert task["script"]["working_dir"] == "."
    assert task["container"] == {"image": "python:3.12", "arguments": "", "setup_script": ""}
    assert [model["name"] for model in task["models"]["input"]] == ["base"]
    assert (task["status"], task["version"], task["attempt"], task["attempts"]) == ("created", 1, 0, [])
    assert client.get(f"{TASKS}/{task['id']}").json() == task


def test_a_write_says_the_version_and_the_position_it_has_come_to(client: TestClient, services: Services):
    answer = client.post(TASKS, json={"name": "train", "project": "iris"})
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Foldline-Position"] == f"0-{services.store.head()}"


def test_a_task_that_is_read_says_its_version(client: TestClient):
    task = started(client)
    assert client.get(f"{TASKS}/{task['id']}").headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("body", "location"),
    [
        pytest.param({"project": "x"}, "name", id="no name"),
        pytest.param({"name": "", "project": "x"}, "name", id="an empty name"),
        pytest.param({"name": " ", "project": "x"}, "name", id="a blank name"),
        pytest.param({"name": "a", "project": "x", "lr": 1}, "lr", id="an unknown field"),
        pytest.param({"name": "a", "project": "x", "type": "trainning"}, "type", id="no such type"),
        pytest.param({"name": "a", "project": "x", "parent": "me"}, "parent", id="no id"),
        pytest.param({"name": "a", "project": "x", "tags": "b"}, "tags", id="a text for a list"),
        pytest.param({"name": "a", "project": "x", "max_attempts": 0}, "max_attempts", id="no attempt"),
        pytest.param(
            {"name": "a", "project": "x", "hyperparameters": {"General": {"lr": 0.1}}},
            "hyperparameters/General/lr",
            id="a bare value",
        ),
    ],
)
def test_what_makes_no_sense_is_named(client: TestClient, body: dict[str, Any], location: str):
    answer = client.post(TASKS, json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    assert [error["location"] for error in answer.json()["errors"]] == [location]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"\\ud800"', "9" * 30, '{"deep": [NaN]}'])
def test_a_value_that_json_cannot_give_back_is_refused(client: TestClient, value: str):
    body = f'{{"name": "a", "project": "x", "hyperparameters": {{"General": {{"v": {{"value": {value}}}}}}}}}'
    answer = client.post(TASKS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "hyperparameters/General/v/value"


@pytest.mark.parametrize("value", [None, True, 0, -1.5, 2**63 - 1, "", "ü \x00 '\"", [1, [2]], {"a": {"b": None}}])
def test_a_value_comes_back_as_it_was(client: TestClient, value: Any):
    task = made(client, hyperparameters={"General": {"v": {"value": value}}})
    assert client.get(f"{TASKS}/{task['id']}").json()["hyperparameters"]["General"]["v"]["value"] == value


@pytest.mark.parametrize("name", ["ünï — 漢字", "../../etc/passwd", "a/b\\c", "\"quoted\" 'twice'", "x" * 500])
def test_a_name_is_taken_as_it_is(client: TestClient, name: str):
    task = made(client, name=name, project=name)
    position = client.post(f"{TASKS}/{task['id']}/clone", json={}).headers["Foldline-Position"]
    found = client.get(TASKS, params={"name": name, "project": name, "min_position": position}).json()["items"]
    assert [row["id"] for row in found] == [task["id"]]


@pytest.mark.parametrize("address", ["0" * 31, "0" * 33, "A" * 32, "..%2f..%2fx", "%00", "ü" * 32])
def test_what_is_no_id_names_no_task(client: TestClient, address: str):
    assert client.get(f"{TASKS}/{address}").status_code == 404


# Idempotency keys and versions


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("clone", {"name": "again"}),
        ("enqueue", {"queue": "default"}),
        ("start", {"session": SESSION, "host": "here"}),
        ("artifacts", {"name": "data", "url": "s3://bucket/data"}),
        ("models", {"kind": "output", "name": "tree"}),
    ],
)
def test_a_repeat_gets_the_first_answer_and_changes_nothing(
    client: TestClient, services: Services, once: dict[str, str], what: str, body: dict[str, Any]
):
    task = made(client)

    def ask() -> Any:
        return client.post(f"{TASKS}/{task['id']}/{what}", json=body, headers=once)

    first = ask()
    client.patch(f"{TASKS}/{task['id']}", json={"comment": "changed in between"})
    head = services.store.head()
    again = ask()
    assert (again.status_code, again.json(), again.headers) == (first.status_code, first.json(), first.headers)
    assert services.store.head() == head


def test_a_repeated_creation_names_the_same_task(client: TestClient, once: dict[str, str]):
    first, again = (client.post(TASKS, json={"name": "a", "project": "x"}, headers=once) for _ in range(2))
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("method", "what", "body", "other"),
    [
        ("PATCH", "", {"name": "b"}, {"name": "c"}),
        ("POST", "/clone", {"name": "b"}, {"name": "c"}),
        ("POST", "/stop", {"now": True}, {"now": False}),
    ],
)
def test_a_key_is_for_one_request_only(
    client: TestClient, once: dict[str, str], method: str, what: str, body: dict[str, Any], other: dict[str, Any]
):
    address = f"{TASKS}/{started(client)['id']}{what}"
    assert client.request(method, address, json=body, headers=once).is_success
    refused = client.request(method, address, json=other, headers=once)
    assert (refused.status_code, refused.json()["code"]) == (422, "key-reused")


def test_a_refused_command_may_come_again_under_its_key(client: TestClient, once: dict[str, str]):
    task = made(client)
    address = f"{TASKS}/{task['id']}/dequeue"
    assert client.post(address, headers=once).status_code == 409
    told(client, task, "enqueue", queue="default")
    assert client.post(address, headers=once).status_code == 200


def test_a_command_for_the_present_version_is_carried_out(client: TestClient):
    task = made(client)
    answer = client.patch(f"{TASKS}/{task['id']}", json={"name": "b"}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')


def test_an_etag_that_is_none_is_named(client: TestClient):
    answer = client.patch(f"{TASKS}/{made(client)['id']}", json={"name": "b"}, headers={"If-Match": "soon"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "If-Match"


# A run, read as the task it is


def test_a_run_is_a_task_of_type_controller(client: TestClient):
    step = {"name": "a", "task": {"script": {"entry_point": "a.py"}}}
    definition = {"name": "p", "project": "iris", "default_queue": "default", "steps": [step]}
    definition["parameters"] = [{"name": "lr", "default": 0.1}]
    run = client.post("/api/v1/runs", json={"definition": definition}).json()
    task = client.get(f"{TASKS}/{run['id']}").json()
    assert (task["type"], task["status"], task["name"]) == ("controller", "in_progress", run["name"])
    assert task["hyperparameters"]["Args"]["lr"]["value"] == 0.1
    assert client.get(f"{TASKS}/{run['id']}/artifacts").json() == {"items": [], "next_cursor": None}
