"""Runs by HTTP: submitted, watched, told what to do, and looked at as they were."""

from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.by_hand import Agent, Json, answered, definition, listed, step, steps_of, submitted, template

RUNS = "/api/v1/runs"
NOBODY = "0" * 32


def now(client: TestClient, run: Json, **params: Any) -> Json:
    return answered(client.get(f"{RUNS}/{run['id']}", params=params))


def refused(client: TestClient, body: Json, status: int = 422) -> tuple[list[str], str]:
    """The places that a submission is refused for, and the sentence."""
    problem = answered(client.post(RUNS, json=body), status)
    return [error["location"] for error in problem["errors"]], problem["detail"]


def test_a_submitted_run_starts_at_once(client: TestClient):
    body = {"definition": definition(step("a"), step("b", "a")), "tags": ["nightly"]}
    answer = client.post(RUNS, json=body)
    run = answered(answer, 201)
    assert (run["name"], run["number"], run["pipeline_version"]) == ("iris #1", 1, "1.0.0")
    assert (run["status"], run["version"], run["tags"]) == ("running", 4, ["nightly"])
    assert (run["step_counts"]["pending"], run["step_counts"]["queued"]) == (1, 1)
    assert answer.headers["Location"] == f"{RUNS}/{run['id']}"
    assert answer.headers["ETag"] == '"4"'
    assert answer.headers["Foldline-Position"].startswith("0-")
    assert now(client, run) == run


def test_a_run_flows_from_step_to_step_to_its_end(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))
    agent = Agent(client)
    assert agent.works() == ["a", "c", "b", "d"]
    ended = now(client, run)
    assert (ended["status"], ended["reason"], ended["step_counts"]["completed"]) == ("completed", "", 4)
    assert ended["ended_at"] >= ended["started_at"] >= ended["created_at"]


def test_what_a_step_made_reaches_the_next_one(client: TestClient):
    takes = {"General/url": "${a.artifacts.data.url}", "General/size": "${pipeline.size}", "General/id": "${a.id}"}
    run = submitted(
        client, step("a"), step("b", parameter_override=takes), parameters=[{"name": "size", "default": 0.2}],
        run={"parameters": {"size": 0.3}},
    )  # fmt: skip
    agent = Agent(client)
    a = agent.claims()["a"]
    artifact = {"name": "data", "url": "s3://bucket/data", "attempt": 1}
    answered(client.post(f"/api/v1/tasks/{a['task_id']}/artifacts", json=artifact), 201)
    b = agent.ends(a)["b"]
    values = {name: one["value"] for name, one in b["task"]["hyperparameters"]["General"].items()}
    assert values == {"url": "s3://bucket/data", "size": 0.3, "id": a["task_id"]}
    assert (b["run_id"], b["task"]["parent"]) == (run["id"], run["id"])
    assert steps_of(client, run)["a"]["artifacts"] == ["data"]


def test_a_run_whose_step_fails_fails_and_says_why(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    agent = Agent(client)
    agent.ends(agent.claims()["a"], "failed", reason="exit code 3", exit_code=3)
    assert (now(client, run)["status"], now(client, run)["reason"]) == ("failed", "step 'a' failed: exit code 3")
    steps = steps_of(client, run)
    assert (steps["b"]["status"], steps["b"]["reason"]) == ("skipped", "step 'a' failed")


def test_a_registered_pipeline_is_run_again_and_again(client: TestClient):
    pipeline = answered(client.post("/api/v1/pipelines", json=definition(step("a"))), 201)
    names = [answered(client.post(RUNS, json={"pipeline_id": pipeline["id"]}), 201)["name"] for _ in range(2)]
    assert names == ["iris #1", "iris #2"]


def test_a_repeated_submission_gets_the_first_answer(client: TestClient):
    body, key = {"definition": definition(step("a"), step("b", "a"))}, {"Idempotency-Key": "once"}
    agent = Agent(client)
    first = answered(client.post(RUNS, json=body, headers=key), 201)
    agent.works()
    assert answered(client.post(RUNS, json=body, headers=key), 201) == first
    assert len(listed(client, "runs")) == 1
    other = answered(client.post(RUNS, json={**body, "name": "another"}, headers=key), 422)
    assert other["code"] == "key-reused"


def test_a_repeat_is_answered_although_its_template_is_gone(client: TestClient):
    task = template(client)
    named = {"name": "a", "base_task_project": "examples", "base_task_name": "stage data"}
    body, key = {"definition": definition(named)}, {"Idempotency-Key": "once"}
    first = answered(client.post(RUNS, json=body, headers=key), 201)
    answered(client.patch(f"/api/v1/tasks/{task['id']}", json={"name": "something else"}))
    assert answered(client.post(RUNS, json=body, headers=key), 201) == first
    assert refused(client, body)[0] == ["steps/0/base_task_name"]


# Each: what is wrong with the definition's steps or fields, the place that is named, and words of the sentence.
WRONG = {
    "unknown template": ([{"name": "a", "base_task_id": NOBODY}], {}, "steps/0/base_task_id", "no template task"),
    "unknown template's name": (
        [step("a"), {"name": "b", "base_task_project": "p", "base_task_name": "t"}], {},
        "steps/1/base_task_name", "no template task 't' in project 'p'",
    ),
    "no template": ([{"name": "a"}], {}, "steps/0", "has no template"),
    "a cycle": ([step("a", "b"), step("b", "a")], {}, "steps", "in a circle"),
    "unknown parent": ([step("a"), step("b"), step("c", "x")], {}, "steps/2/parents", "'x', which is no step"),
    "parameter without section": (
        [step("a", parameter_override={"lr": 1})], {}, "steps/0/parameter_override", "write it as 'General/lr'",
    ),
    "reference to no step": (
        [step("a", parameter_override={"General/x": "${b.id}"})], {}, "steps/0", "neither a step nor a parameter",
    ),
    "reference to no parameter": (
        [step("a", parameter_override={"General/x": "${pipeline.size}"})], {}, "steps/0", "no parameter 'size'",
    ),
    "unknown queue of a step": ([step("a"), step("b", queue="gpu")], {}, "steps/1/queue", "no queue 'gpu'"),
    "unknown default queue": ([step("a")], {"default_queue": "gpu"}, "default_queue", "no queue 'gpu'"),
    "two steps of one name": ([step("a"), step("a")], {}, "steps/1/name", "names must differ"),
    "no steps": ([], {}, "steps", "has no steps"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_definition_that_makes_no_sense_is_refused_with_the_place_and_the_cure(shared_client: TestClient, wrong: str):
    steps, fields, place, words = WRONG[wrong]
    name = uuid4().hex
    places, sentence = refused(shared_client, {"definition": definition(*steps, **fields, name=name)})
    assert places == [place]
    assert words in sentence
    assert listed(shared_client, "pipelines", name=name) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        pytest.param({"queue": "gpu"}, "queue", id="unknown queue"),
        pytest.param({"parameters": {"size": 1}}, "parameters/size", id="unknown parameter"),
        pytest.param({"speed": 1}, "speed", id="unknown field"),
        pytest.param({"draft": "yes"}, "draft", id="another type"),
        pytest.param({"pipeline_id": NOBODY}, "definition", id="definition and pipeline"),
        pytest.param({"definition": None}, "definition", id="neither"),
        pytest.param({"definition": None, "pipeline_id": NOBODY}, "pipeline_id", id="unknown pipeline"),
        pytest.param(
            {"definition": {**definition(step("a", content="0" * 64))}}, "definition/steps/0/content", id="pinned"
        ),
        pytest.param(
            {"definition": definition({**step("a"), "name": "a\x00"})}, "definition/steps/0/name", id="control"
        ),
    ],
)
def test_a_submission_that_makes_no_sense_is_refused(shared_client: TestClient, change: Json, place: str):
    places, _ = refused(shared_client, {"definition": definition(step("a")), **change})
    assert places == [place]


def test_names_may_be_anything_that_can_be_read(client: TestClient):
    name = "../schön 'und' \"gut\" / 数据 ${x}"
    run = submitted(client, step(name), name=name, project=name)
    agent = Agent(client)
    assert agent.works() == [name]
    assert (now(client, run)["name"], now(client, run)["status"]) == (f"{name} #1", "completed")


def test_a_draft_waits_for_its_start(client: TestClient):
    draft = submitted(client, run={"draft": True})
    assert (draft["status"], draft["version"], draft["started_at"]) == ("created", 1, None)
    stale = client.post(f"{RUNS}/{draft['id']}/start", headers={"If-Match": '"7"'})
    assert answered(stale, 412)["code"] == "stale-version"
    started = answered(client.post(f"{RUNS}/{draft['id']}/start", headers={"If-Match": '"1"'}))
    assert started["status"] == "running"
    assert answered(client.post(f"{RUNS}/{draft['id']}/start", json={}))["version"] == started["version"]


def test_a_stopped_run_ends_when_its_last_step_has(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    agent = Agent(client)
    a = agent.claims()["a"]
    asked = answered(client.post(f"{RUNS}/{run['id']}/stop", json={"reason": "wrong data"}))
    assert (asked["status"], asked["reason"]) == ("running", "wrong data")
    [stop] = agent.exchange()["stop"]
    assert (stop["task_id"], stop["lost"]) == (a["task_id"], False)
    agent.ends(a, "stopped")
    assert (now(client, run)["status"], now(client, run)["reason"]) == ("stopped", "wrong data")
    steps = steps_of(client, run)
    assert [steps[name]["status"] for name in "ab"] == ["stopped", "skipped"]


def test_a_stop_names_who_asked_for_it_and_may_call_it_failed(client: TestClient):
    run = submitted(client)
    stopped = answered(client.post(f"{RUNS}/{run['id']}/stop", json={"outcome": "failed"}))
    assert (stopped["status"], stopped["reason"]) == ("failed", "stop requested by local")


def test_a_stop_meant_for_another_version_does_nothing(client: TestClient):
    run = submitted(client)
    answered(client.post(f"{RUNS}/{run['id']}/stop", headers={"If-Match": '"3"'}), 412)
    assert now(client, run) == run


def test_a_run_that_has_ended_is_neither_stopped_nor_started(client: TestClient):
    run = submitted(client)
    Agent(client).works()
    for command in ("stop", "start"):
        assert answered(client.post(f"{RUNS}/{run['id']}/{command}"), 409)["code"] == "refused"


def test_a_run_says_when_nobody_listens_to_its_queues(client: TestClient):
    answered(client.post("/api/v1/queues", json={"name": "gpu"}), 201)
    run = submitted(client, step("a", queue="gpu"), step("b", "a"))
    said = ["no agent listens to queue 'default'", "no agent listens to queue 'gpu'"]
    assert run["warnings"] == said
    assert steps_of(client, run)["a"]["reason"] == said[1]
    agent = Agent(client, "gpu", "default")
    assert now(client, run)["warnings"] == []
    assert steps_of(client, run)["a"]["reason"] == ""
    answered(agent.says("leave"))
    assert now(client, run)["warnings"] == said
    assert [row["warnings"] for row in listed(client, "runs")] == [said]


def test_a_run_that_has_not_changed_is_not_told_again(client: TestClient):
    run = submitted(client)
    Agent(client)
    for known, status in (('"4"', 304), ('W/"4"', 304), ('"1", "4"', 304), ("*", 304), ('"3"', 200)):
        answer = client.get(f"{RUNS}/{run['id']}", headers={"If-None-Match": known})
        assert (answer.status_code, answer.headers["ETag"]) == (status, '"4"')


def test_a_warning_is_told_although_the_run_has_not_changed(client: TestClient):
    run = submitted(client)
    answer = client.get(f"{RUNS}/{run['id']}", headers={"If-None-Match": '"4"'})
    assert answered(answer)["warnings"] == ["no agent listens to queue 'default'"]


def test_runs_are_listed_newest_first_and_chosen(client: TestClient):
    names = ["one", "two", "three"]
    for name in names:
        last = client.post(RUNS, json={"definition": definition(step("a"), name=name), "tags": [name], "name": name})
    seen = {"min_position": last.headers["Foldline-Position"]}
    page = answered(client.get(RUNS, params={**seen, "limit": 2}))
    rest = answered(client.get(RUNS, params={"cursor": page["next_cursor"]}))
    assert [run["name"] for run in page["items"] + rest["items"]] == names[::-1]
    assert page["items"][0] == answered(client.get(f"{RUNS}/{page['items'][0]['id']}"))
    for chosen in (
        {"tag": "two"},
        {"name": "two"},
        {"pipeline_id": rest["items"][0]["pipeline_id"], "status": "running"},
    ):
        assert len(listed(client, "runs", **chosen)) == 1
    assert listed(client, "runs", status=["failed", "stopped"]) == []


@pytest.mark.parametrize("params", [{"status": "done"}, {"limit": 0}, {"cursor": "x"}, {"min_position": "7"}])
def test_a_list_that_makes_no_sense_is_refused(shared_client: TestClient, params: Json):
    answered(shared_client.get(RUNS, params=params), 422)


def test_a_list_that_does_not_keep_up_says_so(client: TestClient, services: Services):
    services.projections.stop()
    position = client.post(RUNS, json={"definition": definition(step("a"))}).headers["Foldline-Position"]
    answer = client.get(RUNS, params={"min_position": position})
    assert (answered(answer, 503)["code"], answer.headers["Retry-After"]) == ("projection-behind", "1")


def test_steps_are_listed_in_the_order_of_definition(client: TestClient):
    names = [f"s{number}" for number in range(5)]
    run = submitted(client, *map(step, names))
    address = f"{RUNS}/{run['id']}/steps"
    first = answered(client.get(address, params={"limit": 3}))
    rest = answered(client.get(address, params={"limit": 3, "cursor": first["next_cursor"]}))
    assert [one["name"] for one in first["items"] + rest["items"]] == names
    assert rest["next_cursor"] is None
    for cursor in ("x", "-1", "²", "1" * 20):
        answered(client.get(address, params={"cursor": cursor}), 422)


def test_the_definition_is_the_one_that_was_pinned(client: TestClient):
    task = template(client)
    run = submitted(client, {"name": "a", "base_task_id": task["id"]})
    answered(client.patch(f"/api/v1/tasks/{task['id']}", json={"comment": "edited later"}))
    [pinned] = answered(client.get(f"{RUNS}/{run['id']}/definition"))["steps"]
    assert (pinned["base_task_id"], pinned["content_version"], len(pinned["content"])) == (task["id"], 1, 64)


def test_a_run_is_shown_as_of_each_version(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    Agent(client).works()
    counts = [now(client, run, at=version)["step_counts"] for version in range(1, now(client, run)["version"] + 1)]
    assert [one["completed"] for one in counts] == [0] * 5 + [1] * 4 + [2] * 2
    assert now(client, run, at="4") == run | {"warnings": []}
    assert steps_of(client, run, at="4")["a"]["status"] == "queued"
    answer = client.get(f"{RUNS}/{run['id']}", params={"at": "4"}, headers={"If-None-Match": '"4"'})
    assert (answer.status_code, answer.headers["ETag"]) == (304, '"4"')


def test_a_run_is_shown_as_of_a_time_or_a_position(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    Agent(client).works()
    events = answered(client.get(f"{RUNS}/{run['id']}/history"))["items"]
    for event in events:
        assert now(client, run, at=f"p:{event['position']}")["version"] == event["run_version"]
        at_once = [one["run_version"] for one in events if one["recorded_at"] <= event["recorded_at"]]
        assert now(client, run, at=event["recorded_at"])["version"] == max(at_once)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        pytest.param("0", "has the versions 1 to 4", id="version 0"),
        pytest.param("5", "has the versions 1 to 4", id="a version to come"),
        pytest.param("9" * 30, "has the versions 1 to 4", id="a huge version"),
        pytest.param("p:0-1", "did not exist yet", id="a position before"),
        pytest.param("p:0-999999", "ends at p:0-", id="a position to come"),
        pytest.param("p:x", "no position of this log", id="no position"),
        pytest.param("p:0-²", "no position of this log", id="no number"),
        pytest.param("2020-01-31T12:00:00Z", "did not exist yet", id="a time before"),
        pytest.param("2999-01-31T12:00:00Z", "has not come yet", id="a time to come"),
        pytest.param("yesterday", "is no moment", id="no moment"),
        pytest.param("-1", "is no moment", id="a negative version"),
        pytest.param("", "is no moment", id="nothing"),
    ],
)
def test_a_moment_out_of_range_is_refused_with_the_cure(shared_client: TestClient, at: str, words: str):
    run = submitted(shared_client)
    for address in (f"{RUNS}/{run['id']}", f"{RUNS}/{run['id']}/steps"):
        problem = answered(shared_client.get(address, params={"at": at}), 422)
        assert words in problem["detail"]
        assert [error["location"] for error in problem["errors"]] == ["at"]


@pytest.mark.parametrize("run_id", [NOBODY, "no id", "ab%00"])
def test_an_unknown_run_is_not_found(shared_client: TestClient, run_id: str):
    for part in ("", "/steps", "/history", "/replay", "/definition"):
        answered(shared_client.get(f"{RUNS}/{run_id}{part}"), 404)
    for command in ("/start", "/stop", "/verify"):
        answered(shared_client.post(f"{RUNS}/{run_id}{command}", json={}), 404)
