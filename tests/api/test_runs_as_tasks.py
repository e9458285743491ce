"""A run is its own controller task: everything under /tasks takes a run's id."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, definition, listed, step, steps_of, submitted

RUNS = "/api/v1/runs"
POINT = {"title": "loss", "series": "train", "iteration": 1, "value": 0.5}


def task(client: TestClient, run: Json) -> Json:
    return answered(client.get(f"/api/v1/tasks/{run['id']}"))


def tell(client: TestClient, run: Json, command: str, status: int = 200, **body: Any) -> Json:
    return answered(client.post(f"/api/v1/tasks/{run['id']}/{command}", json=body), status)


def test_a_run_is_edited_as_a_task(client: TestClient):
    run = submitted(client, parameters=[{"name": "size", "default": 1, "type": "int", "description": "rows"}])
    fields = {"name": "renamed", "comment": "good", "runtime": {"progress": 5}, "tags": ["x"]}
    sections = {"Args": {"lr": {"value": 0.1}}, "General": {"k": {"value": "v", "type": "str"}}}
    edited = answered(client.patch(f"/api/v1/tasks/{run['id']}", json={**fields, "hyperparameters": sections}))
    assert {name: edited[name] for name in fields} == fields
    assert edited["hyperparameters"]["Args"]["size"] == {"value": 1, "type": "int", "description": "rows"}
    assert (edited["hyperparameters"]["Args"]["lr"]["value"], edited["hyperparameters"]["General"]["k"]["value"]) == (
        0.1, "v",
    )  # fmt: skip
    assert (edited["type"], edited["system_tags"]) == ("controller", ["pipeline"])
    assert task(client, run) == edited
    answered(client.patch(f"/api/v1/tasks/{run['id']}", json={"script": {"branch": "main"}}))
    assert task(client, run)["script"]["branch"] == "main"
    assert [one["name"] for one in listed(client, "runs", tag="x")] == ["renamed"]


@pytest.mark.parametrize("kept", [{"project": "other"}, {"type": "training"}, {"parent": "0" * 32}, {"attempt": 1}])
def test_what_a_run_keeps_is_not_edited(shared_client: TestClient, kept: Json):
    run = submitted(shared_client)
    answered(shared_client.patch(f"/api/v1/tasks/{run['id']}", json=kept), 409)


def test_a_draft_takes_other_parameters_of_the_right_type(client: TestClient):
    draft = submitted(client, parameters=[{"name": "size", "default": 1, "type": "int"}], run={"draft": True})
    address = f"/api/v1/tasks/{draft['id']}"
    other = {"hyperparameters": {"Args": {"size": {"value": 2}}}}
    assert answered(client.patch(address, json=other))["hyperparameters"]["Args"]["size"]["value"] == 2
    assert answered(client.get(f"/api/v1/runs/{draft['id']}"))["parameters"] == {"size": 2}
    assert listed(client, "runs")[0]["parameters"] == {"size": 2}
    wrong = {"hyperparameters": {"Args": {"size": {"value": "large"}}}}
    assert "takes int" in answered(client.patch(address, json=wrong), 422)["detail"]
    assert (
        "give it a value"
        in answered(client.patch(address, json={"hyperparameters": {"Args": {"size": None}}}), 409)["detail"]
    )
    same = {"hyperparameters": {"Args": {"size": {"value": 1, "type": "int"}}}}
    assert answered(client.patch(address, json=same))["hyperparameters"]["Args"]["size"]["type"] == "int"


def test_an_edit_meant_for_another_version_is_refused(client: TestClient):
    run = submitted(client)
    stale = {"If-Match": '"1"'}
    answered(client.patch(f"/api/v1/tasks/{run['id']}", json={"comment": "x"}, headers=stale), 412)
    answered(client.post(f"/api/v1/tasks/{run['id']}/fail", headers=stale), 412)


def test_a_run_has_artifacts_and_models_of_its_own(client: TestClient):
    run = submitted(client)
    added = tell(client, run, "artifacts", 201, name="report", url="s3://b/report")
    assert task(client, run)["artifacts"] == {"report": added}
    assert answered(client.get(f"/api/v1/tasks/{run['id']}/artifacts"))["items"] == [added]
    model = tell(client, run, "models", 201, kind="output", name="tree", url="s3://b/tree")
    assert [one["id"] for one in task(client, run)["models"]["output"]] == [model["id"]]
    assert answered(client.get(f"{RUNS}/{run['id']}"))["artifacts"] == ["report"]
    assert [one["artifacts"] for one in listed(client, "runs")] == [["report"]]
    assert tell(client, run, "artifacts/delete", names=["report"])["artifacts"] == {}
    assert [one["artifacts"] for one in listed(client, "runs")] == [[]]


def test_a_run_takes_over_what_its_definition_monitors(client: TestClient):
    monitored = step(
        "a",
        monitor_artifacts=[["data", "all data"]],
        monitor_models=[["tree", "best"]],
        monitor_metrics=[["loss", "train", "loss of a", "training"], ["no", "thing", "x", "y"]],
    )
    run = submitted(client, monitored)
    agent = Agent(client)
    a = agent.claims()["a"]
    made = {"id": a["task_id"]}
    tell(client, made, "artifacts", 201, name="data", url="s3://b/data")
    tell(client, made, "models", 201, kind="output", name="tree", url="s3://b/tree")
    points = [POINT, {**POINT, "iteration": 2, "value": 0.25}]
    assert client.post(f"/api/v1/tasks/{a['task_id']}/scalars", json={"points": points}).status_code == 204
    assert client.post(f"/api/v1/tasks/{run['id']}/scalars", json={"points": [POINT]}).status_code == 204
    agent.ends(a)
    shown = task(client, run)
    assert (list(shown["artifacts"]), [one["name"] for one in shown["models"]["output"]]) == (["all data"], ["best"])
    address = f"/api/v1/tasks/{run['id']}/scalars"
    last = answered(client.get(address))["last"]
    assert (last["loss"]["train"]["last"], last["loss of a"]["training"]["last"], list(last)) == (
        0.5, 0.25, ["loss", "loss of a"],
    )  # fmt: skip
    found = answered(client.get(address, params={"title": "loss of a", "series": "training", "samples": 0}))
    assert found["points"] == [[1, 0.5], [2, 0.25]]
    assert found["curves"]["loss of a"]["training"]["values"] == [0.5, 0.25]
    assert answered(client.get(address, params={"title": "x", "series": "y"}))["points"] == []


def test_the_logs_of_a_run_are_those_of_its_host(client: TestClient):
    held = {"host": {"session": "5e" * 16}}
    body = {"definition": definition(step("a", hooks=["pre"]), host={"queue": "services"}), **held}
    run = answered(client.post(RUNS, json=body), 201)
    address = f"/api/v1/tasks/{run['id']}/logs"
    assert answered(client.post(address, params={"attempt": 1, "offset": 0}, content=b"hello\n")) == {"offset": 6}
    assert client.get(address).text == "hello\n"
    answered(client.get(address, params={"attempt": 2}), 404)


def test_a_run_without_a_host_is_stopped_and_failed_as_a_task(client: TestClient):
    stopped, failed = submitted(client), submitted(client)
    assert tell(client, stopped, "stop")["status"] == "stopped"
    assert tell(client, failed, "fail", reason="bad data")["reason"] == "bad data"
    assert tell(client, submitted(client), "complete", 409)["code"] == "refused"


def test_a_run_is_cloned_and_started_as_a_task(client: TestClient):
    run = submitted(client)
    key = {"Idempotency-Key": "once"}
    address = f"/api/v1/tasks/{run['id']}/clone"
    clone = answered(client.post(address, json={"name": "again"}, headers=key), 201)
    assert (clone["name"], clone["status"], clone["type"]) == ("again", "created", "controller")
    assert answered(client.post(address, json={"name": "again"}, headers=key), 201) == clone
    assert tell(client, clone, "enqueue", queue="services")["status"] == "in_progress"
    assert steps_of(client, clone)["only"]["status"] == "queued"


def test_what_makes_no_sense_for_a_run_is_not_found(shared_client: TestClient):
    run = submitted(shared_client)
    for command in ("reset", "publish", "dequeue"):
        tell(shared_client, run, command, 404)
