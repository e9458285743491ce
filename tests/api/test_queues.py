"""Queues by HTTP: made, listed, and shown with what waits in them."""

from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, listed, step, steps_of, submitted, template

QUEUES = "/api/v1/queues"


def test_two_queues_exist_from_the_start(client: TestClient):
    assert [queue["name"] for queue in listed(client, "queues")] == ["default", "services"]


def test_a_queue_is_made_once(client: TestClient):
    answer = client.post(QUEUES, json={"name": "gpu"})
    made = answered(answer, 201)
    assert made == {**made, "name": "gpu", "length": 0, "agents": [], "oldest_enqueued_at": None}
    assert answer.headers["Foldline-Position"].startswith("0-")
    assert answered(client.post(QUEUES, json={"name": "gpu"}), 201) == made


def test_a_queue_says_what_waits_and_who_listens(client: TestClient):
    submitted(client, step("a"), step("b"))
    agents = [Agent(client, name=name, slots=1) for name in ("zoe", "ana")]
    waiting = answered(client.get(f"{QUEUES}/default"))
    assert (waiting["length"], waiting["agents"]) == (2, ["ana", "zoe"])
    assert waiting["oldest_enqueued_at"] > waiting["created_at"]
    agents[0].claims()
    answered(agents[1].says("leave"))
    waiting = answered(client.get(f"{QUEUES}/default"))
    assert (waiting["length"], waiting["agents"]) == (1, ["zoe"])


@pytest.mark.parametrize("name", ["team/gpu", "../etc", "schön", "a \"b\" 'c'", "?x=1#y", "100%", "a b", "队列"])
def test_a_queue_may_be_called_anything_that_can_be_read(shared_client: TestClient, name: str):
    answered(shared_client.post(QUEUES, json={"name": name}), 201)
    address = f"{QUEUES}/{quote(name, safe='')}"
    assert answered(shared_client.get(address))["name"] == name
    task = template(shared_client)
    answered(shared_client.post(f"/api/v1/tasks/{task['id']}/enqueue", json={"queue": name}))
    assert answered(shared_client.get(address))["length"] == 1
    assert Agent(shared_client, name).exchange()["claims"][0]["queue"] == name


def test_a_slash_in_a_name_need_not_be_quoted(shared_client: TestClient):
    answered(shared_client.post(QUEUES, json={"name": "team/cpu"}), 201)
    assert answered(shared_client.get(f"{QUEUES}/team/cpu"))["name"] == "team/cpu"


@pytest.mark.parametrize("name", ["nothing", "no/thing", "%00"])
def test_an_unknown_queue_is_not_found(shared_client: TestClient, name: str):
    answered(shared_client.get(f"{QUEUES}/{name}"), 404)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": " "}, {"name": "x" * 201}, {"name": "a\nb"}, {"name": 7}])
def test_a_queue_that_makes_no_sense_is_refused(shared_client: TestClient, body: Json):
    assert [error["location"] for error in answered(shared_client.post(QUEUES, json=body), 422)["errors"]] == ["name"]


def test_a_repeat_with_another_name_is_refused(client: TestClient):
    key = {"Idempotency-Key": "once"}
    answered(client.post(QUEUES, json={"name": "one"}, headers=key), 201)
    assert answered(client.post(QUEUES, json={"name": "two"}, headers=key), 422)["code"] == "key-reused"


def test_queues_are_listed_by_name_page_by_page(client: TestClient):
    for name in ("Zeta", "äther", "alpha"):
        answered(client.post(QUEUES, json={"name": name}), 201)
    names, cursor = [], None
    while True:
        page = answered(client.get(QUEUES, params={"limit": 2, **({"cursor": cursor} if cursor else {})}))
        names += [queue["name"] for queue in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["Zeta", "alpha", "default", "services", "äther"]
    answered(client.get(QUEUES, params={"limit": 0}), 422)


def test_nothing_is_handed_out_from_a_paused_queue(client: TestClient):
    run = submitted(client, step("a"))
    agent = Agent(client)
    answer = client.post(f"{QUEUES}/default/pause", json={"reason": "moving"})
    paused = answered(answer)["paused"]
    assert (paused["actor"], paused["reason"]) == ("local", "moving")
    assert answer.headers["Foldline-Position"].startswith("0-")
    assert agent.claims() == {}
    waiting = steps_of(client, run)["a"]["waiting_for"]
    assert (waiting["kind"], waiting["text"]) == ("queue_paused", "queue 'default' is paused by local: moving")
    assert answered(client.post(f"{QUEUES}/default/pause"))["paused"] == paused
    assert [queue["paused"] for queue in listed(client, "queues")] == [paused, None]
    assert answered(client.post(f"{QUEUES}/default/resume"))["paused"] is None
    assert list(agent.claims()) == ["a"]


def test_a_queue_with_a_slash_in_its_name_is_paused(shared_client: TestClient):
    answered(shared_client.post(QUEUES, json={"name": "team/gpu"}), 201)
    assert answered(shared_client.post(f"{QUEUES}/team/gpu/pause"))["paused"]["reason"] == ""
    assert answered(shared_client.post(f"{QUEUES}/{quote('team/gpu', safe='')}/resume"))["paused"] is None
