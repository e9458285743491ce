"""What holds for every operation of the API, asked of each as its description says."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from starlette.testclient import TestClient

from api.services import Services
from eventstore.store import StoreUnavailable
from tests.support.operations import Operation, operations_of
from tests.support.tasks import made

OPEN = {"livez", "readyz", "version"}
BROKEN = {"content": b'{"name": ', "headers": {"Content-Type": "application/json"}}


@pytest.fixture
def client(shared_client: TestClient) -> Iterator[TestClient]:
    """One who may do everything."""
    app: Any = shared_client.app
    shared_client.headers["Authorization"] = f"Bearer {app.state.services.admin_key}"
    yield shared_client
    del shared_client.headers["Authorization"]


def wrong(operations: list[Operation], ask: Callable[[Operation], Any], status: int, code: str) -> list[str]:
    """Those of the operations, at least one of which there must be, that answer otherwise."""
    assert operations
    found: list[str] = []
    for operation in operations:
        answer = ask(operation)
        said = code if operation.method == "HEAD" else answer.json().get("code")
        if (answer.status_code, said) != (status, code):
            found.append(f"{operation.name}: {answer.status_code} {answer.text}")
    return found


def those(client: TestClient, status: int, **has: bool) -> list[Operation]:
    found = [operation for operation in operations_of(client) if status in operation.statuses]
    return [one for one in found if all(getattr(one, name) == value for name, value in has.items())]


def test_the_description_is_of_openapi_3_1(client: TestClient):
    assert client.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1.")


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(client: TestClient):
    description = client.get("/api/v1/openapi.json").json()
    found = [operation for methods in description["paths"].values() for operation in methods.values()]
    names = Counter(operation["operationId"] for operation in found)
    assert [name for name, count in names.items() if count > 1] == []
    assert [one["operationId"] for one in found if not one.get("summary") or not one.get("tags")] == []


def test_every_body_that_is_taken_has_an_example(client: TestClient):
    without = [one.name for one in operations_of(client) if one.takes_json and one.example is None]
    assert without == []


def test_every_operation_but_three_wants_the_token(start: Callable[..., TestClient]):
    client = start()
    app: Any = client.app
    app.state.services.tokens.create("ana", 1)
    operations = operations_of(client)
    assert {one.name for one in operations if 401 not in one.statuses} == OPEN
    closed = [one for one in operations if one.name not in OPEN]
    for headers in ({}, {"Authorization": "Bearer fl_wrong"}, {"Authorization": "Basic eA=="}):
        assert wrong(closed, lambda one, said=headers: one.ask(client, headers=said), 401, "unauthorized") == []
    for one in operations:
        if one.name in OPEN:
            assert one.ask(client).is_success


def test_a_body_that_is_no_json(client: TestClient):
    operations = those(client, 400)
    assert {one.name for one in operations} == {one.name for one in operations_of(client) if one.takes_json}
    # With ids of things that exist: a broken body is told whatever it is about.
    ids = {"task_id": made(client)["id"]}
    assert wrong(operations, lambda one: one.ask(client, ids, **BROKEN), 400, "malformed") == []


def test_an_unknown_field(client: TestClient):
    operations = those(client, 422, takes_json=True)
    assert {one.name for one in operations} == {one.name for one in operations_of(client) if one.takes_json}
    ids = {"task_id": made(client)["id"]}
    assert wrong(operations, lambda one: one.ask(client, ids, json={"surprise": 1}), 422, "invalid") == []


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7"])
def test_a_body_that_is_no_object(client: TestClient, body: bytes):
    headers = {"Content-Type": "application/json"}
    operations = those(client, 422, takes_json=True)
    assert wrong(operations, lambda one: one.ask(client, content=body, headers=headers), 422, "invalid") == []


def test_a_number_that_is_none(client: TestClient):
    def numbers(one: Operation) -> dict[str, str]:
        return {
            parameter["name"]: "x"
            for parameter in one.parameters
            if parameter["in"] == "query" and parameter["schema"].get("type") in ("integer", "number")
        }

    operations = [one for one in those(client, 422) if numbers(one)]
    assert wrong(operations, lambda one: one.ask(client, params=numbers(one)), 422, "invalid") == []


def test_a_request_that_is_too_large(start: Callable[..., TestClient]):
    client = start(most_json_bytes=20, most_log_bytes=20, most_artifact_bytes=20)
    operations = those(client, 413)
    brings = {one.name for one in operations_of(client) if one.takes_json or one.takes_bytes}
    assert {one.name for one in operations} == brings
    ids = {"sha256": "0" * 64}
    assert wrong(operations, lambda one: one.ask(client, ids, content=b"x" * 21), 413, "too-large") == []


def test_what_does_not_exist(client: TestClient):
    operations = [one for one in operations_of(client) if one.names_in_path()]
    assert [one.name for one in operations if 404 not in one.statuses] == []
    assert wrong(operations, lambda one: one.ask(client), 404, "not-found") == []


def test_a_command_for_a_version_that_is_no_more(client: TestClient):
    step = {"name": "a", "task": {"script": {"entry_point": "a.py"}}}
    definition = {"name": "p", "project": "x", "default_queue": "default", "steps": [step]}
    run = client.post("/api/v1/runs", json={"definition": definition, "draft": True}).json()
    ids = {"task_id": made(client)["id"], "run_id": run["id"]}
    stale = {"If-Match": '"99"'}
    assert wrong(those(client, 412), lambda one: one.ask(client, ids, headers=stale), 412, "stale-version") == []


@contextmanager
def database_away(services: Services, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    def away(*arguments: Any, **options: Any) -> NoReturn:
        raise StoreUnavailable("connection refused")

    with monkeypatch.context() as patched:
        for name in ("appending", "fetch", "reading", "writing"):
            patched.setattr(services.store.database, name, away)
        patched.setattr(services.store, "head", away)
        yield


def test_a_database_that_is_away(start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch):
    client = start()
    app: Any = client.app
    operations = those(client, 503)
    assert {one.name for one in operations_of(client)} - {one.name for one in operations} == {"livez", "version"}
    with database_away(app.state.services, monkeypatch):
        assert wrong(operations, lambda one: one.ask(client), 503, "not-ready") == []
        assert client.get("/livez").status_code == 200


def test_an_address_that_there_is_not_and_a_method_that_it_does_not_take(client: TestClient):
    answer = client.get("/api/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    answer = client.delete("/api/v1/tasks")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
