"""The API on PostgreSQL, where it differs: a text of PostgreSQL holds no NUL, and other processes write too."""

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tests.support.tasks import TASKS, edited, made, told

ODD = "a\x00b\ud7ff\U0001f600'"


def test_a_nul_in_any_text_is_taken_or_refused(start: Callable[..., TestClient], postgres_url: str):
    client = start(db=postgres_url)
    task = made(client, name=ODD, project=ODD, tags=[ODD], comment=ODD, hyperparameters={ODD: {ODD: {"value": ODD}}})
    task = edited(client, task, runtime={ODD: ODD}, configuration={ODD: {"value": ODD}})
    told(client, task, "start", session="5e" * 16, host=ODD)
    point = {"title": ODD, "series": "a", "iteration": 1, "value": 1.0}
    address = f"{TASKS}/{task['id']}"
    assert client.post(f"{address}/scalars", json={"points": [point]}).status_code == 422
    assert client.get(f"{address}/scalars", params={"title": ODD, "series": ODD}).status_code == 422
    assert client.post(f"{address}/models", json={"kind": "output", "name": ODD}).status_code == 201
    assert client.post(f"{address}/enqueue", json={"queue": ODD}).status_code == 422
    assert client.post(f"{address}/logs?attempt=1&offset=0", content=ODD.encode()).status_code == 200
    assert client.get(f"{address}/logs").content == ODD.encode()
    answer = client.post(f"{address}/fail", json={"reason": ODD})
    assert client.get(address).json() == answer.json()
    assert answer.json()["hyperparameters"][ODD][ODD]["value"] == ODD
    wanted: dict[str, Any] = {"name": ODD, "project": ODD, "tag": ODD, "step": ODD, "parent": ODD, "run_id": ODD}
    for name, value in wanted.items():
        position = answer.headers["Foldline-Position"]
        found = client.get(TASKS, params={name: value, "min_position": position})
        assert found.status_code == 200
        assert len(found.json()["items"]) == (1 if name in ("name", "project", "tag") else 0)


def test_two_servers_share_one_log(start: Callable[..., TestClient], postgres_url: str):
    first, second = start(db=postgres_url), start(db=postgres_url)
    task = made(first)
    assert second.get(f"{TASKS}/{task['id']}").json() == task
    told(second, task, "enqueue", queue="default")
    task = told(first, task, "dequeue")
    position = first.patch(f"{TASKS}/{task['id']}", json={"name": "shared"}).headers["Foldline-Position"]
    [row] = second.get(TASKS, params={"name": "shared", "min_position": position}).json()["items"]
    assert row["version"] == 4
