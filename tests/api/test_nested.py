"""Pipelines as steps of pipelines: named as templates, run, and seen as a tree."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, definition, listed, step, steps_of, submitted, template

RUNS = "/api/v1/runs"


def registered(client: TestClient, **fields: Any) -> Json:
    """A pipeline of one step, which takes a parameter."""
    size = {"name": "size", "default": 1}
    only = step("only", parameter_override={"General/size": "${pipeline.size}"})
    body = {**definition(only, name="inner", parameters=[size]), **fields}
    return answered(client.post("/api/v1/pipelines", json=body), 201)


def now(client: TestClient, run: Json) -> Json:
    return answered(client.get(f"{RUNS}/{run['id']}"))


def test_a_step_is_a_run_of_another_pipeline(client: TestClient):
    inner = registered(client)
    nested = {"name": "n", "pipeline_id": inner["id"], "parameter_override": {"Args/size": 5}}
    run = submitted(client, nested, step("after", "n"))
    found = steps_of(client, run)["n"]
    assert (found["status"], found["kind"], found["waiting_for"]["kind"]) == ("running", "pipeline", "child")
    child = answered(client.get(f"{RUNS}/{found['run_id']}"))
    assert (child["parent"], child["parameters"]) == ({"run_id": run["id"], "step": "n"}, {"size": 5})
    assert [one["id"] for one in listed(client, "runs", parent=run["id"])] == [child["id"]]
    assert answered(client.get(f"/api/v1/tasks/{child['id']}"))["parent"] == run["id"]
    agent = Agent(client)
    assert agent.works() == ["only", "after"]
    assert (now(client, run)["status"], now(client, child)["status"]) == ("completed", "completed")
    assert listed(client, "runs") == [now(client, child), now(client, run)]
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []


@pytest.mark.parametrize("by", ["id of a pipeline", "id of a run", "name", "name of a task", "name anywhere"])
def test_a_pipeline_is_named_in_many_ways(client: TestClient, by: str):
    inner = registered(client)
    ran = answered(client.post(RUNS, json={"pipeline_id": inner["id"]}), 201)
    nested: Json = {
        "id of a pipeline": {"base_task_id": inner["id"]},
        "id of a run": {"base_task_id": ran["id"]},
        "name": {"pipeline_project": "examples", "pipeline_name": "inner"},
        "name of a task": {"base_task_project": "examples", "base_task_name": "inner"},
        "name anywhere": {"pipeline_name": "inner"},
    }[by]
    run = submitted(client, {"name": "n", **nested}, name="outer")
    assert steps_of(client, run)["n"]["kind"] == "pipeline"


def test_a_task_of_the_name_goes_before_a_pipeline(client: TestClient):
    registered(client)
    task = template(client, "inner")
    run = submitted(client, {"name": "n", "base_task_project": "examples", "base_task_name": "inner"}, name="outer")
    assert answered(client.get(f"{RUNS}/{run['id']}/definition"))["steps"][0]["base_task_id"] == task["id"]


def test_a_pipeline_that_there_is_not_is_refused(client: TestClient):
    for nested, place in (({"pipeline_name": "x"}, "pipeline_name"), ({"pipeline_id": "0" * 32}, "pipeline_id")):
        body = {"definition": definition({"name": "n", **nested})}
        problem = answered(client.post(RUNS, json=body), 422)
        assert [error["location"] for error in problem["errors"]] == [f"steps/0/{place}"]


def test_the_tree_shows_runs_in_runs(client: TestClient):
    inner = registered(client)
    run = submitted(client, {"name": "n", "pipeline_id": inner["id"]}, step("a"))
    tree = answered(client.get(f"{RUNS}/{run['id']}/tree"))
    assert (tree["run"], tree["made"]) == (now(client, run), [])
    n, a = tree["steps"]
    assert (n["step"], a) == (steps_of(client, run)["n"], {"step": steps_of(client, run)["a"], "run": None})
    assert [below["step"]["name"] for below in n["run"]["steps"]] == ["only"]
    assert n["run"]["run"]["parent"]["run_id"] == run["id"]


def test_what_fails_below_fails_above(client: TestClient):
    inner = registered(client)
    run = submitted(client, {"name": "n", "pipeline_id": inner["id"]})
    agent = Agent(client)
    agent.ends(agent.claims()["only"], "failed", reason="exit code 3")
    said = "step 'n' failed: step 'only' failed: exit code 3"
    assert (now(client, run)["status"], now(client, run)["reason"]) == ("failed", said)
    again = answered(client.post(f"{RUNS}/{run['id']}/steps/n/retry"))
    assert (again["status"], again["attempts"]) == ("running", 2)
    agent.works()
    assert now(client, run)["status"] == "completed"
    assert listed(client, "runs") == [now(client, one) for one in listed(client, "runs")]


def test_a_draft_runs_itself_where_its_step_does_not_want_a_clone(client: TestClient):
    draft = template(client, "mine", tags=["own"])
    run = submitted(client, {"name": "n", "base_task_id": draft["id"], "clone": False})
    assert steps_of(client, run)["n"]["task_id"] == draft["id"]
    task = answered(client.get(f"/api/v1/tasks/{draft['id']}"))
    assert (task["run_id"], task["step"], task["status"]) == (run["id"], "n", "queued")
    assert [one["id"] for one in listed(client, "tasks", run_id=run["id"])] == [draft["id"]]
    assert Agent(client).works() == ["n"]
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []
    again = submitted(client, {"name": "n", "base_task_id": draft["id"], "clone": False})
    assert steps_of(client, again)["n"]["task_id"] != draft["id"]
