"""Whether the server lives, is ready, and which one it is."""

from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from api.services import Services
from api.version import VERSION


def test_a_server_that_works_says_so(client: TestClient):
    assert client.get("/livez").json() == {"alive": True}
    assert client.get("/readyz").json() == {"ready": True}


def test_it_says_its_versions(client: TestClient):
    assert client.get("/version").json() == {
        "version": VERSION,
        "api": "v1",
        "database": "sqlite",
        "schema_version": "0004",
    }


def test_a_server_that_ends_is_not_ready(client: TestClient, services: Services):
    services.closing.set()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "not-ready", "1")
    assert client.get("/livez").status_code == 200


def test_a_mistake_of_ours_is_a_problem_that_tells_nothing_of_our_inside(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    def mistaken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(services.reader, "task", mistaken)
    forgiving = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    with structlog.testing.capture_logs() as logged:
        answer = forgiving.get(f"/api/v1/tasks/{'0' * 32}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert [str(line["exc_info"]) for line in logged] == ["secret inside"]
