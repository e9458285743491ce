"""Models by HTTP: named by tasks, listed, and changed by naming them again."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import Json, answered, listed
from tests.support.tasks import TASKS, made, started, told

MODELS = "/api/v1/models"


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def named(client: TestClient, task: Json, name: str, **fields: Any) -> Json:
    body = {"kind": "output", "name": name, **fields}
    return answered(client.post(f"{TASKS}/{task['id']}/models", json=body), 201)


def shown(client: TestClient, model: Json) -> Json:
    head = answered(client.get("/api/v1/projections"))["items"][0]["head"]
    return answered(client.get(f"{MODELS}/{model['id']}", params={"min_position": head}))


def test_a_model_is_shown_with_its_task_and_the_tasks_project(client: TestClient):
    task = made(client, project="of the model")
    model = named(
        client, task, "tree", url="s3://b/m", labels={"cat": 1}, metadata={"k": {"value": "1", "type": "int"}}
    )
    found = shown(client, model)
    assert (found["task"], found["project"], found["kind"], found["url"]) == (
        task["id"],
        "of the model",
        "output",
        "s3://b/m",
    )
    assert (found["labels"], found["metadata"]) == ({"cat": 1}, {"k": {"value": "1", "type": "int"}})
    assert (found["published"], found["archived"], found["parent"]) == (False, False, None)
    [row] = listed(client, "models", task=task["id"])
    assert row == found


def test_naming_it_again_changes_it(client: TestClient):
    task = made(client)
    first = named(client, task, "tree", tags=["draft"])
    other = named(client, task, "other")
    again = named(client, task, "forest", id=first["id"], tags=["best"], published=True)
    assert (again["id"], again["name"], again["tags"]) == (first["id"], "forest", ["best"])
    output = answered(client.get(f"{TASKS}/{task['id']}"))["models"]["output"]
    assert [model["id"] for model in output] == [first["id"], other["id"]]
    assert (shown(client, first)["name"], shown(client, first)["published"]) == ("forest", True)
    assert [row["id"] for row in listed(client, "models", task=task["id"], published=True)] == [first["id"]]


def test_a_repeated_request_gets_the_first_answer(client: TestClient):
    task = made(client)
    key = {"Idempotency-Key": f"model of {task['id']}"}
    body = {"kind": "output", "name": "m"}
    first = answered(client.post(f"{TASKS}/{task['id']}/models", json=body, headers=key), 201)
    named(client, task, "later")
    assert answered(client.post(f"{TASKS}/{task['id']}/models", json=body, headers=key), 201) == first


def test_models_are_listed_and_chosen(client: TestClient):
    task = made(client, project="chosen")
    for name, tags in (("one", ["a"]), ("two", ["b"]), ("three", ["a", "b"])):
        named(client, task, name, tags=tags, framework="ONNX" if name == "two" else "")
    mine = {"project": "chosen"}
    assert [row["name"] for row in listed(client, "models", **mine)] == ["three", "two", "one"]
    assert [row["name"] for row in listed(client, "models", tag=["a"], **mine)] == ["three", "one"]
    assert [row["name"] for row in listed(client, "models", framework="ONNX", **mine)] == ["two"]
    assert [row["name"] for row in listed(client, "models", name="one", **mine)] == ["one"]
    first = answered(client.get(MODELS, params={"limit": 2, **mine}))
    rest = answered(client.get(MODELS, params={"cursor": first["next_cursor"], **mine}))
    assert [row["name"] for row in first["items"] + rest["items"]] == ["three", "two", "one"]
    answered(client.get(MODELS, params={"cursor": "x"}), 422)


def test_a_model_of_an_attempt_that_is_over_is_refused(client: TestClient):
    task = told(client, started(client), "fail")
    told(client, task, "start", session="77" * 16)
    body = {"kind": "output", "name": "late", "attempt": 1}
    assert client.post(f"{TASKS}/{task['id']}/models", json=body).status_code == 409


def test_an_unknown_model_is_not_found(client: TestClient):
    answered(client.get(f"{MODELS}/nothing"), 404)
