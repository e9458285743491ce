"""Custom runs: tasks whose processes make others, seen as runs with what they made."""

from typing import Any

from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, definition, listed, step, steps_of, submitted, template

RUNS = "/api/v1/runs"


def enqueued(client: TestClient, task: Json, **fields: Any) -> Json:
    return answered(client.post(f"/api/v1/tasks/{task['id']}/enqueue", json={"queue": "default", **fields}))


def controller(client: TestClient, **fields: Any) -> Json:
    """A task that runs in its own process."""
    task = template(client, "search", type="controller", tags=["tuning"], **fields)
    body = {"session": "5e" * 16}
    return answered(client.post(f"/api/v1/tasks/{task['id']}/start", json=body))["task"]


def test_a_task_that_makes_others_is_a_custom_run(client: TestClient):
    trained, task = template(client, "train"), controller(client)
    assert listed(client, "runs") == []
    answered(client.get(f"{RUNS}/{task['id']}"), 404)
    clone = {"name": "train, lr 0.2", "origin": task["id"]}
    first = answered(client.post(f"/api/v1/tasks/{trained['id']}/clone", json=clone), 201)
    enqueued(client, first, origin=task["id"])
    submission = {"definition": definition(step("a")), "origin": task["id"]}
    run = answered(client.post(RUNS, json=submission), 201)
    [custom] = listed(client, "runs", kind="custom")
    assert (custom["id"], custom["name"], custom["project"], custom["kind"]) == (
        task["id"], "search", "examples", "custom",
    )  # fmt: skip
    assert (custom["status"], custom["tags"], custom["step_counts"]["queued"]) == ("running", ["tuning"], 1)
    assert answered(client.get(f"{RUNS}/{task['id']}")) == custom
    steps = steps_of(client, custom)
    assert {name: (one["kind"], one["status"], one["task_id"]) for name, one in steps.items()} == {
        "train, lr 0.2": ("task", "queued", first["id"]), "iris #1": ("pipeline", "running", run["id"]),
    }  # fmt: skip
    assert steps["train, lr 0.2"]["waiting_for"]["kind"] == "agent"
    assert [one["id"] for one in listed(client, "runs")] == [run["id"], task["id"]]
    assert [one["id"] for one in listed(client, "runs", origin=task["id"])] == [run["id"]]
    Agent(client).works()
    assert {one["status"] for one in steps_of(client, custom).values()} == {"completed"}
    answered(client.post(f"/api/v1/tasks/{task['id']}/complete"))
    for chosen in ({"status": "completed", "kind": "custom"}, {"name": "search"}, {"tag": "tuning"}):
        assert [one["status"] for one in listed(client, "runs", **chosen)] == ["completed"]
    assert listed(client, "runs", kind="custom", status="running") == []


def test_a_step_that_makes_others_is_seen_in_its_run(client: TestClient):
    run = submitted(client, step("a"))
    made_by = steps_of(client, run)["a"]["task_id"]
    made = template(client, "a data set", origin=made_by)
    assert [one["id"] for one in listed(client, "runs")] == [run["id"]]
    assert [one["id"] for one in listed(client, "runs", kind="custom", parent=run["id"])] == [made_by]
    assert list(steps_of(client, {"id": made_by})) == [made["name"]]


def test_runs_of_both_kinds_are_listed_page_by_page(client: TestClient):
    expected: list[str] = []
    for number in range(3):
        expected.append(submitted(client, step("a"), name=f"p{number}")["id"])
        task = controller(client)
        template(client, "made", origin=task["id"])
        expected.append(task["id"])
    listed(client, "runs")
    found: list[str] = []
    cursor = None
    while True:
        page = answered(client.get(RUNS, params={"limit": 2, **({"cursor": cursor} if cursor else {})}))
        found += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == expected[::-1]


def test_what_a_custom_run_made_is_listed_page_by_page(client: TestClient):
    task = controller(client)
    for number in range(3):
        template(client, f"made {number}", origin=task["id"])
    address = f"{RUNS}/{task['id']}/steps"
    first = answered(client.get(address, params={"limit": 2}))
    rest = answered(client.get(address, params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [one["name"] for one in first["items"] + rest["items"]] == ["made 0", "made 1", "made 2"]
    answered(client.get(address, params={"cursor": "x"}), 422)
    answered(client.get(f"{RUNS}/{task['id']}", params={"at": "1"}), 422)


def test_the_tree_goes_through_custom_runs(client: TestClient):
    run = submitted(client, step("a"))
    claim = Agent(client).claims()["a"]
    made = template(client, "made", origin=claim["task_id"])
    deeper = template(client, "deeper", origin=made["id"])
    by_host = template(client, "by the host", origin=run["id"])
    tree = answered(client.get(f"{RUNS}/{run['id']}/tree"))
    [branch] = tree["steps"]
    assert (branch["run"]["run"]["kind"], branch["run"]["run"]["parent"]["step"]) == ("custom", "a")
    [below] = branch["run"]["steps"]
    assert (below["step"]["task_id"], below["run"]["steps"][0]["step"]["task_id"]) == (made["id"], deeper["id"])
    assert [(one["kind"], one["id"], one["status"]) for one in tree["made"]] == [("task", by_host["id"], "pending")]
    assert answered(client.get(f"{RUNS}/{claim['task_id']}/tree")) == branch["run"]
    assert [one["id"] for one in listed(client, "runs", parent=run["id"])] == [claim["task_id"]]
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []
