"""Pipelines by HTTP: registered, listed, and their templates found by name."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.by_hand import Agent, Json, answered, definition, listed, step, submitted, template

PIPELINES = "/api/v1/pipelines"
NAMED = {"name": "a", "base_task_project": "examples", "base_task_name": "stage data"}


def registered(client: TestClient, *steps: Json, **fields: Any) -> Json:
    return answered(client.post(PIPELINES, json=definition(*steps, **fields)), 201)


def found(client: TestClient, **fields: Any) -> str:
    """The id of the template that `NAMED` means now."""
    return registered(client, {**NAMED, **fields})["definition"]["steps"][0]["base_task_id"]


def test_a_pipeline_is_registered_with_its_definition(client: TestClient):
    answer = client.post(PIPELINES, json=definition(step("a"), step("b", "a"), version="2.0", tags=["x"]))
    pipeline = answered(answer, 201)
    assert (pipeline["name"], pipeline["project"], pipeline["version"], pipeline["runs"]) == (
        "iris",
        "examples",
        "2.0",
        0,
    )
    assert [one["name"] for one in pipeline["definition"]["steps"]] == ["a", "b"]
    assert answer.headers["Location"] == f"{PIPELINES}/{pipeline['id']}"
    assert answered(client.get(f"{PIPELINES}/{pipeline['id']}")) == pipeline


def test_a_definition_that_has_changed_is_the_next_version(client: TestClient):
    first = registered(client, step("a"))
    assert registered(client, step("a")) == first
    second = registered(client, step("a"), step("b"))
    assert (second["id"], first["version"], second["version"]) == (first["id"], "1.0.0", "1.0.1")


def test_a_submission_registers_its_pipeline_and_is_counted(client: TestClient):
    run = submitted(client)
    submitted(client)
    pipeline = answered(client.get(f"{PIPELINES}/{run['pipeline_id']}"))
    assert (pipeline["version"], pipeline["runs"]) == (run["pipeline_version"], 2)
    [row] = listed(client, "pipelines")
    assert row == {name: value for name, value in pipeline.items() if name != "definition"}


def test_a_repeated_registration_gets_the_first_answer(client: TestClient):
    key = {"Idempotency-Key": "once"}
    first = answered(client.post(PIPELINES, json=definition(step("a")), headers=key), 201)
    registered(client, step("b"))
    assert answered(client.post(PIPELINES, json=definition(step("a")), headers=key), 201) == first
    other = client.post(PIPELINES, json=definition(step("c")), headers=key)
    assert answered(other, 422)["code"] == "key-reused"


def test_pipelines_are_listed_and_chosen(client: TestClient):
    for name in ("one", "two", "three"):
        registered(client, step("a"), name=name)
    assert [row["name"] for row in listed(client, "pipelines")] == ["three", "two", "one"]
    assert [row["name"] for row in listed(client, "pipelines", name="two", project="examples")] == ["two"]
    first = answered(client.get(PIPELINES, params={"limit": 2}))
    rest = answered(client.get(PIPELINES, params={"cursor": first["next_cursor"]}))
    assert [row["name"] for row in first["items"] + rest["items"]] == ["three", "two", "one"]
    answered(client.get(PIPELINES, params={"cursor": "x"}), 422)


@pytest.mark.parametrize("pipeline_id", ["0" * 32, "no id"])
def test_an_unknown_pipeline_is_not_found(shared_client: TestClient, pipeline_id: str):
    answered(shared_client.get(f"{PIPELINES}/{pipeline_id}"), 404)


def test_a_definition_that_makes_no_sense_is_refused(client: TestClient):
    for steps, place in (([step("a", "b")], "steps/0/parents"), ([{**step("a"), "x": 1}], "steps/0/x")):
        problem = answered(client.post(PIPELINES, json=definition(*steps)), 422)
        assert [error["location"] for error in problem["errors"]] == [place]
    assert listed(client, "pipelines") == []


# Templates by name


def test_a_template_is_the_task_of_its_name_that_was_changed_last(client: TestClient):
    older, newer = template(client)["id"], template(client)["id"]
    assert found(client) == newer
    answered(client.patch(f"/api/v1/tasks/{older}", json={"comment": "changed"}))
    assert found(client) == older


def test_a_template_is_of_the_project_that_is_named_or_of_any(client: TestClient):
    here = template(client)["id"]
    there = template(client, project="elsewhere")["id"]
    assert found(client) == here
    assert found(client, base_task_project="elsewhere") == there
    assert found(client, base_task_project=None) == there


def test_a_task_that_failed_is_no_template(client: TestClient):
    good, bad = template(client)["id"], template(client)["id"]
    answered(client.post(f"/api/v1/tasks/{bad}/start", json={"session": "5e" * 16}))
    answered(client.post(f"/api/v1/tasks/{bad}/fail"))
    assert found(client) == good


def test_a_step_of_a_run_is_no_template(client: TestClient):
    task = template(client)["id"]
    submitted(client, {**NAMED, "task_name": "stage data"})
    Agent(client).works()
    assert len(listed(client, "tasks", name="stage data", project="examples")) == 2
    assert found(client) == task


def test_a_template_by_id_wins_over_its_name(client: TestClient):
    task = template(client, "another")["id"]
    template(client)
    assert found(client, base_task_id=task) == task


def test_a_template_that_is_not_there_is_named_with_the_cure(client: TestClient):
    problem = answered(client.post(PIPELINES, json=definition(step("x"), NAMED)), 422)
    assert [error["location"] for error in problem["errors"]] == ["steps/1/base_task_name"]
    assert problem["detail"] == (
        "Step 'a': there is no template task 'stage data' in project 'examples' that has not failed: "
        "create it, or give base_task_id."
    )


def test_a_template_is_not_looked_for_in_a_list_that_does_not_keep_up(client: TestClient, services: Services):
    services.projections.stop()
    template(client)
    assert answered(client.post(PIPELINES, json=definition(NAMED)), 503)["code"] == "projection-behind"


def test_a_definition_of_many_steps_is_taken(client: TestClient):
    task = template(client)["id"]
    size = 2_000
    takes = {"base_task_id": task, "parameter_override": {"General/x": "${pipeline.x}"}}
    steps = [{"name": f"s{n}", "parents": [f"s{n - 1}"] if n else [], **takes} for n in range(size)]
    run = submitted(client, *steps, parameters=[{"name": "x", "default": 1}])
    assert run["step_counts"]["pending"] == size - 1
    last = answered(client.get(f"/api/v1/runs/{run['id']}/steps", params={"cursor": size - 1}))
    assert [one["reason"] for one in last["items"]] == [f"waits for 's{size - 2}'"]
