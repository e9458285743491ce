"""Tasks by HTTP: artifacts, models and scalars."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.tasks import TASKS, made, started, told


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def test_artifacts_are_named_once_their_bytes_are_stored(client: TestClient):
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    task = made(client)
    body = {"name": "ünï/../data", "sha256": sha256, "filename": "a b.json", "metadata": {"rows": 3}}
    missing = client.post(f"{TASKS}/{task['id']}/artifacts", json=body)
    assert missing.status_code == 422
    assert f"PUT /api/v1/blobs/{sha256}" in missing.json()["detail"]
    client.put(f"/api/v1/blobs/{sha256}", content=b"hello")
    answer = client.post(f"{TASKS}/{task['id']}/artifacts", json=body)
    artifact = answer.json()
    assert answer.status_code == 201
    assert artifact["url"] == f"foldline://blobs/{sha256}/a%20b.json"
    assert (artifact["hash"], artifact["sha256"], artifact["size"]) == (sha256, sha256, 5)
    assert artifact["metadata"] == {"rows": 3}
    assert client.get(f"{TASKS}/{task['id']}/artifacts").json()["items"] == [artifact]
    assert client.get(f"{TASKS}/{task['id']}").json()["artifacts"] == {"ünï/../data": artifact}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"name": "a"}, id="neither blob nor url"),
        pytest.param({"name": "a", "url": "x:y", "sha256": "0" * 63}, id="no hash of what lies elsewhere"),
        pytest.param({"name": "a", "sha256": "0" * 63}, id="no hash"),
        pytest.param({"name": "a\nb", "url": "x:y"}, id="a control character"),
        pytest.param({"name": "a" * 256, "url": "x:y"}, id="too long"),
        pytest.param({"name": "a", "url": "x:y", "size": -1}, id="less than nothing"),
        pytest.param({"name": "a", "url": "s3://key:secret@bucket/a"}, id="a password"),
        pytest.param({"name": "a", "url": "https://b/a?X-Amz-Signature=secret"}, id="a signature"),
    ],
)
def test_an_artifact_that_makes_no_sense_is_refused(client: TestClient, body: dict[str, Any]):
    assert client.post(f"{TASKS}/{made(client)['id']}/artifacts", json=body).status_code == 422


def test_an_artifact_of_an_attempt_that_is_over_is_refused(client: TestClient):
    task = told(client, started(client), "fail")
    told(client, task, "start", session="77" * 16)
    body = {"name": "late", "url": "s3://bucket/late", "attempt": 1}
    assert client.post(f"{TASKS}/{task['id']}/artifacts", json=body).status_code == 409


def test_an_artifact_that_is_stored_elsewhere_keeps_its_hash_and_its_address(client: TestClient):
    task = made(client)
    body = {"name": "data", "url": "s3://bucket/data.csv", "sha256": "ab" * 32, "size": 7}
    artifact = client.post(f"{TASKS}/{task['id']}/artifacts", json=body).json()
    assert (artifact["url"], artifact["hash"], artifact["size"]) == ("s3://bucket/data.csv", "ab" * 32, 7)


def test_artifacts_are_removed_all_or_none_and_their_bytes_stay(client: TestClient):
    task = made(client)
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    client.put(f"/api/v1/blobs/{sha256}", content=b"hello")
    for name in ("a", "b", "c"):
        client.post(f"{TASKS}/{task['id']}/artifacts", json={"name": name, "sha256": sha256})
    address = f"{TASKS}/{task['id']}/artifacts/delete"
    refused = client.post(address, json={"names": ["a", "z"]})
    assert (refused.status_code, "it has none of that name" in refused.json()["detail"]) == (409, True)
    assert list(client.get(f"{TASKS}/{task['id']}").json()["artifacts"]) == ["a", "b", "c"]
    for _ in range(2):  # a repeat finds what the first has done
        answer = client.post(address, json={"names": ["a", "c"]}, headers={"Idempotency-Key": f"rm-{task['id']}"})
        assert (answer.status_code, list(answer.json()["artifacts"])) == (200, ["b"])
    assert client.get(f"/api/v1/blobs/{sha256}").content == b"hello"


def test_a_published_task_keeps_its_artifacts(client: TestClient):
    task = told(client, started(client), "complete")
    client.post(f"{TASKS}/{task['id']}/artifacts", json={"name": "a", "url": "s3://b/a"})
    told(client, task, "publish")
    assert client.post(f"{TASKS}/{task['id']}/artifacts/delete", json={"names": ["a"]}).status_code == 409


def test_no_secret_gets_on_the_record_of_a_task(client: TestClient):
    task = made(client)
    address = "s3://key:secret@bucket/out"
    for answer in (
        client.patch(f"{TASKS}/{task['id']}", json={"output_destination": address}),
        client.post(TASKS, json={"name": "a", "project": "b", "output_destination": address}),
        client.post(f"{TASKS}/{task['id']}/models", json={"kind": "output", "name": "m", "url": address}),
    ):
        assert answer.status_code == 422
        assert "must not have a password or signature in it" in answer.text


def test_models_are_kept_by_what_they_are_to_the_task(client: TestClient):
    task = made(client)
    for kind in ("input", "output"):
        answer = client.post(f"{TASKS}/{task['id']}/models", json={"kind": kind, "name": f"{kind} model"})
        assert (answer.status_code, answer.json()["name"]) == (201, f"{kind} model")
    models = client.get(f"{TASKS}/{task['id']}").json()["models"]
    assert {kind: [model["name"] for model in found] for kind, found in models.items()} == {
        "input": ["input model"],
        "output": ["output model"],
    }


def test_scalars_are_summed_up_and_shown_point_by_point(client: TestClient):
    task = made(client)
    address = f"{TASKS}/{task['id']}/scalars"
    values = [3.0, 1.0, 2.0]
    points = [
        {"title": "loss", "series": "train", "iteration": step, "value": value} for step, value in enumerate(values)
    ]
    for _ in range(2):
        assert client.post(address, json={"points": points}).status_code == 204
    last = {"last": 2.0, "min": 1.0, "max": 3.0, "iteration": 2, "count": 3}
    assert client.get(address).json() == {"last": {"loss": {"train": last}}}
    shown = client.get(address, params={"title": "loss", "series": "train"}).json()
    assert shown["points"] == [[0, 3.0], [1, 1.0], [2, 2.0]]


@pytest.mark.parametrize("params", [{"title": "loss"}, {"series": "train"}, {"title": "", "series": "x"}])
def test_a_curve_needs_its_title_and_its_series(client: TestClient, params: dict[str, str]):
    assert client.get(f"{TASKS}/{made(client)['id']}/scalars", params=params).status_code == 422


@pytest.mark.parametrize("value", ["NaN", "1e999", '"1"'])
def test_a_scalar_is_a_finite_number(client: TestClient, value: str):
    point = json.dumps({"title": "a", "series": "b", "iteration": 1})[:-1] + f', "value": {value}}}'
    body = f'{{"points": [{point}]}}'
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"{TASKS}/{made(client)['id']}/scalars", content=body, headers=headers)
    assert answer.status_code == 422
