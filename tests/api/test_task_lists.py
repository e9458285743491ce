"""Tasks by HTTP: their list."""

from typing import Any, cast

import pytest
from starlette.testclient import TestClient

import api.asking
from api.services import Services
from tests.support.tasks import TASKS, made, started, told

NOBODY = "0" * 32


def test_a_list_is_newest_first_and_goes_on_from_its_cursor(client: TestClient):
    names = [made(client, name=f"task {number}")["name"] for number in range(5)]
    position = client.post(TASKS, json={"name": "last", "project": "iris"}).headers["Foldline-Position"]
    params: dict[str, Any] = {"limit": 2, "min_position": position}
    found: list[str] = []
    while True:
        page = client.get(TASKS, params=params).json()
        found += [row["name"] for row in page["items"]]
        assert len(page["items"]) <= 2
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert found == ["last", *reversed(names)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("project=iris", ["c", "b", "a"]),
        ("project=none", []),
        ("name=a", ["a"]),
        ("status=created", ["b"]),
        ("status=created&status=queued", ["b", "a"]),
        ("type=testing", ["b"]),
        ("type=testing&type=training", ["c", "b", "a"]),
        ("tag=x", ["c", "a"]),
        ("tag=x&tag=y", ["c", "b", "a"]),
        ("tag=x&status=queued", ["a"]),
        (f"parent={'aa' * 16}", ["b"]),
        (f"run_id={NOBODY}", []),
        ("step=train", []),
        ("name=%00", []),
    ],
)
def test_a_list_has_what_is_asked_for(client: TestClient, query: str, found: list[str]):
    told(client, made(client, name="a", tags=["x"]), "enqueue", queue="default")
    made(client, name="b", type="testing", tags=["y"], parent="aa" * 16)
    task = started(client, name="c", tags=["x"])
    position = client.post(f"{TASKS}/{task['id']}/complete").headers["Foldline-Position"]
    rows = client.get(f"{TASKS}?{query}&min_position={position}").json()["items"]
    assert [row["name"] for row in rows] == found


def test_a_row_has_what_the_task_has(client: TestClient):
    task = told(client, made(client, tags=["x"]), "enqueue", queue="default")
    position = client.post(f"{TASKS}/{task['id']}/stop").headers["Foldline-Position"]
    [row] = client.get(TASKS, params={"min_position": position}).json()["items"]
    task = client.get(f"{TASKS}/{task['id']}").json()
    assert row == {name: task[name] for name in row}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "cursor=x", "status=done", "type=x", "min_position=7", "min_position=0-x"],
)
def test_a_question_that_makes_no_sense_is_named(client: TestClient, query: str):
    answer = client.get(f"{TASKS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_list_that_cannot_catch_up_says_so(client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def never(*what: Any, **of: Any) -> bool:
        asked.append((what, of))
        return False

    monkeypatch.setattr(services.projections, "wait_for", never)
    head = services.store.head()
    answer = client.get(TASKS, params={"min_position": f"0-{head}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "projection-behind")
    assert answer.headers["Retry-After"] == "1"
    assert asked == [((head, 2.0), {"names": ("tasks",)})]


def test_who_remembers_a_write_from_before_the_log_was_put_back_is_not_kept_waiting_for_ever(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.asking, "WAIT_FOR_PROJECTION", 0.05)
    task, services = made(client), cast(Any, client.app).state.services
    assert services.projections.wait_for(services.store.head(), 10)
    [row] = client.get(TASKS, params={"min_position": "0-999999"}).json()["items"]
    assert row["id"] == task["id"]
