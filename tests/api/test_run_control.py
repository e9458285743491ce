"""What people do to runs and steps while they go on: pause, resume, approve, reject, retry, complete by hand."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, listed, step, steps_of, submitted

RUNS = "/api/v1/runs"


def now(client: TestClient, run: Json, **params: Any) -> Json:
    return answered(client.get(f"{RUNS}/{run['id']}", params=params))


def tell(client: TestClient, run: Json, command: str, status: int = 200, **body: Any) -> Json:
    return answered(client.post(f"{RUNS}/{run['id']}/{command}", json=body), status)


def waits(client: TestClient, run: Json, name: str = "a") -> tuple[str, str]:
    found = steps_of(client, run)[name]["waiting_for"]
    return found["kind"], found["text"]


def test_a_paused_run_starts_no_step_and_says_so(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    agent = Agent(client)
    a = agent.claims()["a"]
    paused = tell(client, run, "pause", reason="lunch")
    assert (paused["status"], paused["reason"], paused["waiting_for"]["kind"]) == ("paused", "lunch", "pause")
    assert agent.ends(a) == {}
    assert waits(client, run, "b") == ("pause", "the run is paused: lunch")
    assert tell(client, run, "pause")["version"] == now(client, run)["version"]
    assert [one["waiting_for"] for one in listed(client, "runs")] == [paused["waiting_for"]]
    resumed = tell(client, run, "resume")
    assert (resumed["status"], resumed["reason"], resumed["waiting_for"]) == ("running", "", None)
    assert agent.works() == ["b"]
    assert now(client, run)["status"] == "completed"


def test_what_waits_in_a_queue_leaves_it_while_the_run_is_paused(client: TestClient):
    run = submitted(client, step("a"))
    tell(client, run, "pause")
    assert Agent(client).claims() == {}
    assert waits(client, run) == ("pause", "the run is paused")
    tell(client, run, "resume")
    assert waits(client, run)[0] == "slot"


def test_a_run_that_has_ended_is_neither_paused_nor_resumed(client: TestClient):
    run = submitted(client)
    Agent(client).works()
    for command in ("pause", "resume"):
        assert tell(client, run, command, 409)["code"] == "refused"


def test_an_approval_waits_for_a_person(client: TestClient):
    asks = {"name": "look", "parents": ["a"], "approval": {"message": "good enough?", "deadline": 3600}}
    run = submitted(client, step("a"), asks, step("b", "look"))
    agent = Agent(client)
    agent.works()
    waiting = steps_of(client, run)["look"]
    assert (waiting["status"], waiting["kind"], waiting["task_id"]) == ("waiting", "approval", None)
    assert (waiting["waiting_for"]["kind"], waiting["waiting_for"]["text"]) == ("approval", "good enough?")
    assert waiting["waiting_for"]["until"] > waiting["waiting_for"]["until"][:10]
    approved = tell(client, run, "steps/look/approve", reason="97 %")
    assert (approved["status"], approved["reason"]) == ("completed", "approved by local: 97 %")
    assert agent.works() == ["b"]
    assert now(client, run)["status"] == "completed"
    assert tell(client, run, "steps/look/approve")["status"] == "completed"
    assert tell(client, run, "steps/b/approve", 409)["code"] == "refused"


def test_a_rejected_step_fails(client: TestClient):
    run = submitted(client, step("a", approval={}))
    assert waits(client, run) == ("approval", "somebody has to approve it")
    rejected = tell(client, run, "steps/a/reject", reason="no")
    assert (rejected["status"], rejected["reason"], rejected["kind"]) == ("failed", "rejected by local: no", "task")
    assert (now(client, run)["status"], now(client, run)["ended_at"] is None) == ("failed", False)
    assert tell(client, run, "steps/a/reject", 409)["code"] == "refused"


def test_a_failed_step_runs_again_by_hand_and_the_run_goes_on(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    agent = Agent(client)
    agent.ends(agent.claims()["a"], "failed", reason="exit code 3")
    assert now(client, run)["status"] == "failed"
    again = tell(client, run, "steps/a/retry", reason="the disk was full")
    assert (again["status"], again["reason"], again["attempts"]) == ("queued", "", 1)
    assert (now(client, run)["status"], now(client, run)["ended_at"], now(client, run)["reason"]) == (
        "running",
        None,
        "",
    )
    assert agent.works() == ["a", "b"]
    assert (now(client, run)["status"], steps_of(client, run)["a"]["attempts"]) == ("completed", 2)
    assert tell(client, run, "steps/a/retry", 409)["code"] == "refused"
    assert listed(client, "runs") == [now(client, run)]
    lines = [json.loads(line) for line in client.get(f"{RUNS}/{run['id']}/replay").text.splitlines()]
    [reopened] = [line for line in lines if line["type"] == "StepsReopened"]
    assert [(one["name"], one["status"]) for one in reopened["changed"]] == [("a", "pending"), ("b", "pending")]
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []


def test_a_step_is_taken_as_completed_with_results_made_by_hand(client: TestClient):
    takes = {"General/size": "${a.parameters.return/size}", "General/url": "${a.artifacts.data.url}"}
    run = submitted(client, step("a"), step("b", "a", parameter_override=takes))
    agent = Agent(client)
    agent.ends(agent.claims()["a"], "failed")
    made = {"outputs": {"size": 7}, "artifacts": [{"name": "data", "url": "s3://bucket/data"}]}
    done = tell(client, run, "steps/a/complete", reason="by hand", **made)
    said = ("completed", "marked completed by local: by hand", ["data"])
    assert (done["status"], done["reason"], done["artifacts"]) == said
    values = agent.claims()["b"]["task"]["hyperparameters"]["General"]
    assert {name: one["value"] for name, one in values.items()} == {"size": 7, "url": "s3://bucket/data"}
    assert tell(client, run, "steps/b/complete", 409)["code"] == "refused"
    bad = tell(client, run, "steps/b/complete", 422, artifacts=[{"name": "x", "sha256": "0" * 64}])
    assert [error["location"] for error in bad["errors"]] == ["artifacts/0/sha256"]


def test_a_retry_with_a_delay_says_when(client: TestClient):
    run = submitted(client, step("a", retry={"times": 2, "delay": 100, "factor": 2, "jitter": 0.5}))
    agent = Agent(client)
    agent.ends(agent.claims()["a"], "failed", reason="exit code 3")
    found = steps_of(client, run)["a"]
    assert (found["status"], found["reason"], found["retries"]) == ("waiting", "exit code 3", 1)
    assert (found["waiting_for"]["kind"], found["waiting_for"]["text"]) == ("retry", "retry 1 of 2")
    assert found["waiting_for"]["until"] > found["started_at"]
    assert now(client, run)["step_counts"]["waiting"] == 1


def test_names_of_steps_may_hold_slashes_spaces_and_dots(client: TestClient):
    name = "stage 1/a.b/approve"
    run = submitted(client, step(name, approval={}))
    address = f"{RUNS}/{run['id']}/steps/{quote(name, safe='')}"
    assert answered(client.get(address))["name"] == name
    assert answered(client.post(f"{address}/approve"))["status"] == "queued"


def test_a_single_step_is_shown(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    assert answered(client.get(f"{RUNS}/{run['id']}/steps/b")) == steps_of(client, run)["b"]
    assert waits(client, run, "b") == ("parents", "waits for 'a'")
    assert answered(client.get(f"{RUNS}/{run['id']}/steps/nothing"), 404)["detail"].endswith("no step 'nothing'.")
    for command in ("approve", "reject", "retry", "complete"):
        assert "no step 'x'" in tell(client, run, f"steps/x/{command}", 404)["detail"]


def test_a_command_to_a_step_is_meant_for_a_version_and_done_once(client: TestClient):
    run = submitted(client, step("a", approval={}))
    address = f"{RUNS}/{run['id']}/steps/a/approve"
    answered(client.post(address, headers={"If-Match": '"1"'}), 412)
    key, agent = {"Idempotency-Key": "once"}, Agent(client)
    first = answered(client.post(address, headers=key))
    agent.works()
    assert answered(client.post(address, headers=key)) == first
    answered(client.post(address, headers=key, json={"reason": "x"}), 422)


def test_a_run_is_edited(client: TestClient):
    run = submitted(client, run={"tags": ["old"]})
    body = {"name": "renamed", "tags": ["new"], "comment": "keep", "runtime": {"progress": 1}}
    edited = answered(client.patch(f"{RUNS}/{run['id']}", json=body))
    assert (edited["name"], edited["tags"]) == ("renamed", ["new"])
    task = answered(client.get(f"/api/v1/tasks/{run['id']}"))
    assert (task["name"], task["tags"], task["comment"], task["runtime"]) == (
        "renamed",
        ["new"],
        "keep",
        {"progress": 1},
    )
    assert [one["name"] for one in listed(client, "runs", tag="new")] == ["renamed"]
    assert listed(client, "runs", tag="old") == []
    assert answered(client.patch(f"{RUNS}/{run['id']}", json={}))["version"] == edited["version"]
    answered(client.patch(f"{RUNS}/{run['id']}", json={"name": " "}), 422)


def test_a_clone_is_a_draft_of_the_same_definition(client: TestClient):
    parameters = [{"name": "size", "default": 1, "type": "int"}, {"name": "lr", "default": 0.1}]
    run = submitted(client, step("a"), parameters=parameters, run={"parameters": {"lr": 0.2}})
    address = f"{RUNS}/{run['id']}/clone"
    clone = answered(client.post(address, json={"name": "again", "parameters": {"size": 2}}), 201)
    assert (clone["status"], clone["name"], clone["parameters"]) == ("created", "again", {"size": 2, "lr": 0.2})
    assert clone["waiting_for"]["kind"] == "draft"
    assert tell(client, clone, "start")["status"] == "running"
    answered(client.post(address, json={"parameters": {"size": "two"}}), 422)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        pytest.param({"retry": {"times": -1}}, "definition/steps/0/retry/times", id="retry"),
        pytest.param({"time_limit": 0}, "definition/steps/0/time_limit", id="time limit"),
        pytest.param({"hooks": ["before"]}, "definition/steps/0/hooks/0", id="hook"),
        pytest.param({"approval": {"deadline": -1}}, "definition/steps/0/approval/deadline", id="deadline"),
        pytest.param({"monitor_metrics": [["loss", "train"]]}, "steps/0/monitor_metrics", id="metrics"),
        pytest.param({"pipeline": "0" * 64}, "definition/steps/0/pipeline", id="pinned"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(shared_client: TestClient, fields: Json, place: str):
    definition = {"name": "p", "project": "x", "default_queue": "default", "steps": [step("a", **fields)]}
    problem = answered(shared_client.post(RUNS, json={"definition": definition}), 422)
    assert [error["location"] for error in problem["errors"]] == [place]


@pytest.mark.parametrize("body", [{"cache": "never"}, {"parameters": {"size": True}}, {"host": {"session": "x"}}])
def test_a_submission_of_other_types_is_refused(shared_client: TestClient, body: Json):
    definition = {"name": "p", "project": "x", "default_queue": "default", "steps": [step("a")]}
    definition["parameters"] = [{"name": "size", "default": 1, "type": "int"}]
    answered(shared_client.post(RUNS, json={"definition": definition, **body}), 422)


def test_results_are_reused_and_the_step_says_why(client: TestClient):
    cached = step("a", cache=True)
    cached["task"]["script"]["source"] = "0" * 64
    first = submitted(client, cached)
    missed = steps_of(client, first)["a"]["cache"]
    assert (missed["hit"], missed["reason"]) == (False, "no result of this step has been kept before")
    task_id = Agent(client).claims()["a"]["task_id"]
    answered(client.post(f"/api/v1/tasks/{task_id}/artifacts", json={"name": "data", "url": "s3://b/x"}), 201)
    answered(client.post(f"/api/v1/tasks/{task_id}/complete"))
    again = submitted(client, cached)
    hit = steps_of(client, again)["a"]
    assert (again["status"], hit["status"], hit["task_id"], hit["artifacts"]) == (
        "completed",
        "cached",
        task_id,
        ["data"],
    )
    assert (hit["cache"]["hit"], hit["cache"]["key"], hit["cache"]["parts"]["script.entry_point"]) == (
        True, missed["key"], "a.py",
    )  # fmt: skip
    refreshed = submitted(client, cached, run={"cache": "refresh"})
    assert refreshed["cache"] == "refresh"
    assert (
        steps_of(client, refreshed)["a"]["cache"]["reason"] == "nothing was looked up: the run's cache mode is refresh"
    )
    off = submitted(client, cached, run={"cache": "off"})
    assert steps_of(client, off)["a"]["cache"]["reason"] == "the run's cache mode is off"
    assert steps_of(client, submitted(client))["only"]["cache"] is None
