"""Tasks by HTTP: how they are edited."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.tasks import TASKS, edited, made, started, told


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def parameter(value: Any) -> dict[str, Any]:
    return {"value": value, "type": None, "description": None}


def test_parameters_are_merged_by_section_and_name(client: TestClient):
    task = made(client, hyperparameters={"A": {"x": {"value": 1}, "y": {"value": 2}}, "B": {"z": {"value": 3}}})
    task = edited(client, task, hyperparameters={"A": {"x": None, "w": {"value": 4}}, "B": None})
    assert task["hyperparameters"] == {"A": {"y": parameter(2), "w": parameter(4)}}


@pytest.mark.parametrize(
    ("given", "left"), [({"hyperparameters": {"B": {}}}, {"B": {}}), ({}, {})], ids=["others", "none"]
)
def test_parameters_can_be_replaced(client: TestClient, given: dict[str, Any], left: dict[str, Any]):
    task = made(client, hyperparameters={"A": {"x": {"value": 1}}})
    assert edited(client, task, replace_hyperparameters=True, **given)["hyperparameters"] == left


def test_configuration_and_runtime_are_merged(client: TestClient):
    task = made(client, configuration={"a": {"value": "1"}, "b": {"value": "2"}})
    edited(client, task, runtime={"progress": 10, "gone": 1})
    task = edited(client, task, configuration={"a": None, "c": {"value": "3"}}, runtime={"gone": None, "pid": 7})
    assert {name: one["value"] for name, one in task["configuration"].items()} == {"b": "2", "c": "3"}
    assert task["runtime"] == {"progress": 10, "pid": 7}


def test_what_is_left_out_of_a_script_stays(client: TestClient):
    task = made(client, script={"entry_point": "train.py", "branch": "main"}, container={"image": "python"})
    task = edited(client, task, script={"branch": "next"}, container={"arguments": "--gpus all"})
    assert (task["script"]["entry_point"], task["script"]["branch"]) == ("train.py", "next")
    assert task["container"] == {"image": "python", "arguments": "--gpus all", "setup_script": ""}


def test_an_edit_of_a_script_meets_the_script_it_was_merged_with(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    task = made(client, script={"entry_point": "train.py"})
    command = services.controller.task
    quicker = [{"script": {"branch": "quicker"}}]

    def slow(*arguments: Any, **options: Any) -> Any:
        if quicker:
            edited(client, task, **quicker.pop())
        return command(*arguments, **options)

    monkeypatch.setattr(services.controller, "task", slow)
    script = edited(client, task, script={"working_dir": "src"})["script"]
    assert (script["entry_point"], script["branch"], script["working_dir"]) == ("train.py", "quicker", "src")


def test_an_edit_of_nothing_changes_nothing(client: TestClient):
    assert edited(client, made(client))["version"] == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"hyperparameters": {"A": {"x": {"value": 1}}}}, 409, id="parameters"),
        pytest.param({"script": {"branch": "next"}}, 409, id="script"),
        pytest.param({"name": "b", "tags": ["c"], "comment": "d"}, 200, id="name, tags, comment"),
    ],
)
def test_what_a_task_was_run_with_is_history(client: TestClient, fields: dict[str, Any], status: int):
    task = told(client, started(client), "complete")
    assert client.patch(f"{TASKS}/{task['id']}", json=fields).status_code == status


def test_an_attempt_that_is_over_edits_nothing(client: TestClient):
    task = told(client, started(client), "complete")
    refused = client.patch(f"{TASKS}/{task['id']}", json={"runtime": {"progress": 1}, "attempt": 1})
    assert refused.status_code == 409
    assert "Attempt 1" in refused.json()["detail"]
