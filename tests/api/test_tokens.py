"""Tokens: shown once, kept as a hash, and found nowhere afterwards."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.services import Services
from api.settings import Settings
from api.tokens import Tokens
from domain.refused import Invalid
from eventstore.store import StoreUnavailable
from tests.support.by_hand import answered
from tests.support.tasks import made, told

WHOAMI = "/api/v1/whoami"
ADMIN_TOKENS = "/api/v1/admin/tokens"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_without_tokens_everybody_on_this_machine_is_local(client: TestClient):
    assert client.get(WHOAMI).json() == {"name": "local", "token": False}


def test_a_token_says_whose_it_is(client: TestClient, services: Services):
    tokens = {name: services.tokens.create(name, 1) for name in ("ana", "bo")}
    for name, secret in tokens.items():
        assert client.get(WHOAMI, headers=bearer(secret)).json() == {"name": name, "token": True}
        assert client.get(WHOAMI, headers={"Authorization": f"bearer  {secret} "}).json()["name"] == name


def test_the_log_says_who_did_it(client: TestClient, services: Services):
    client.headers |= bearer(services.tokens.create("ana", 1))
    task = made(client)
    assert '"ana"' in services.store.stream(f"task-{task['id']}")[0].meta


@pytest.mark.parametrize("secret", ["", "fl_", "fl_wrong", "ünï", "x" * 10_000])
def test_a_wrong_token_is_refused_with_the_cure(client: TestClient, services: Services, secret: str):
    services.tokens.create("ana", 1)
    answer = client.get(WHOAMI, headers={b"Authorization": f"Bearer {secret}".encode()})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "FOLDLINE_TOKEN" in answer.json()["detail"]


def test_the_key_in_the_data_folder_may_make_tokens(client: TestClient, services: Services):
    headers = bearer(services.admin_key)
    answer = client.post(ADMIN_TOKENS, json={"name": "ana"}, headers=headers)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert client.get(WHOAMI, headers=bearer(answer.json()["token"])).json()["name"] == "ana"
    assert client.post(ADMIN_TOKENS, json={"name": "ana"}, headers=headers).status_code == 422


def test_nobody_else_may_make_tokens(client: TestClient, services: Services):
    answer = client.post(ADMIN_TOKENS, json={"name": "ana"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    ana = services.tokens.create("ana", 1)
    assert client.post(ADMIN_TOKENS, json={"name": "bo"}, headers=bearer(ana)).status_code == 403


def test_nothing_is_read_of_what_an_unknown_caller_sends(listening: httpx2.Client, settings: Callable[..., Settings]):
    key = (settings().data / "admin.key").read_text()
    answered(listening.post(ADMIN_TOKENS, json={"name": "ana"}, headers=bearer(key)), 201)
    with socket.create_connection(("127.0.0.1", listening.base_url.port or 0), timeout=20) as caller:
        caller.sendall(b"POST /api/v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000000\r\n\r\n{")
        answer = caller.makefile("rb").readline()  # although the rest of the body never comes
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_while_the_database_is_away_nobody_is_known(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    def away() -> None:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(services.tokens, "refresh", away)
    monkeypatch.setattr(services.tokens, "_read_at", None)
    problem = answered(client.post("/api/v1/tasks", json={"name": "train"}), 503)
    assert (problem["code"], "it is away" in problem["detail"]) == ("not-ready", True)


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "admin", "local", "controller", "agent:7"])
def test_a_name_that_is_none_or_somebody_elses_is_refused(services: Services, name: str):
    with pytest.raises(Invalid):
        services.tokens.create(name, 1)


def test_a_token_of_another_process_counts_soon(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    now = [services.tokens._clock()]
    monkeypatch.setattr(services.tokens, "_clock", lambda: now[0])
    assert client.get(WHOAMI).json()["name"] == "local"
    Tokens(services.store.database, clock=lambda: 0.0).create("ana", 1)
    assert client.get(WHOAMI).status_code == 200
    now[0] += 2.1
    assert client.get(WHOAMI).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="a program here"),
        pytest.param({"Host": "localhost:8420"}, 200, id="by name"),
        pytest.param({"Host": "[::1]:8420"}, 200, id="by the newer protocol"),
        pytest.param({"Host": "127.0.0.1:8420", "Origin": "http://127.0.0.1:8420"}, 200, id="our own page"),
        pytest.param({"Origin": "https://evil.example"}, 401, id="another site's page"),
        pytest.param({"Origin": "null"}, 401, id="a page from nowhere"),
        pytest.param({"Host": "evil.example:8420"}, 401, id="a name that was turned to this machine"),
    ],
)
def test_without_tokens_no_page_of_another_site_is_let_in(client: TestClient, headers: dict[str, str], status: int):
    assert client.get(WHOAMI, headers=headers).status_code == status
    if status == 401:
        assert "foldline-server token create" in client.get(WHOAMI, headers=headers).json()["detail"]


def test_a_token_is_found_in_no_file_afterwards(
    start: Callable[..., TestClient], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    client = start()
    app: Any = client.app
    services: Services = app.state.services
    secret = services.tokens.create("ana", 1)
    client.headers |= bearer(secret)
    task = made(client)
    told(client, task, "start", session="5e" * 16)
    client.post(f"/api/v1/tasks/{task['id']}/logs?attempt=1&offset=0", content=b"hello")
    told(client, task, "complete")
    client.get("/api/v1/nothing")
    client.post("/api/v1/tasks", json={"token": 1})
    services.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"foldline.db", "1.log", "admin.key"}
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    said = capfd.readouterr()
    assert secret not in said.out + said.err


def test_the_key_in_the_data_folder_is_its_owners_alone(services: Services):
    assert (services.settings.data / "admin.key").stat().st_mode & 0o777 == 0o600
