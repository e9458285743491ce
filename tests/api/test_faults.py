"""A database that takes nothing, a disk that is full, more commands than can be written: told as such, and got over."""

import errno
import json
import os
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, NoReturn

import httpx2
import pytest
import structlog
from starlette.testclient import TestClient

import api.health
import eventstore.batches
import eventstore.sqlite
from api.services import Services
from eventstore.errors import CannotOpen
from eventstore.sql import open_store
from eventstore.store import NewEvent, StoreUnavailable, append
from foldline.client import Client
from tests.support.tasks import TASKS, made, started
from tests.support.waiting import wait_until


def refused(answer: httpx2.Response, code: str = "not-ready") -> str:
    """The sentence of a no that is worth another try."""
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, code, "1")
    return answer.json()["detail"]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_database_that_may_only_be_read(
    kind: str, request: pytest.FixtureRequest, start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.health, "PROOF_LASTS", 0.0)
    client = start(db=request.getfixturevalue(f"{kind}_url"))
    app: Any = client.app
    task = made(client)
    database = app.state.services.store.database
    turn = read_only_sqlite if kind == "sqlite" else read_only_postgresql
    turn(database, "on")
    assert "read" in refused(client.post(TASKS, json={"name": "late", "project": "iris"}))
    assert "takes nothing new" in refused(client.get("/readyz"))
    assert client.get("/livez").status_code == 200
    assert client.get(f"{TASKS}/{task['id']}").json() == task, "reading goes on"
    turn(database, "off")
    assert client.get("/readyz").json() == {"ready": True}
    late = made(client, name="late")
    assert client.get(f"{TASKS}/{late['id']}").json()["version"] == 1


def read_only_sqlite(database: Any, value: str) -> None:
    database._raw.execute(f"PRAGMA query_only = {value}")


def read_only_postgresql(database: Any, value: str) -> None:
    """As a standby: for sessions that begin from now on, which all are after theirs were ended."""
    with database.engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        connection.rollback()
        connection.exec_driver_sql("SET default_transaction_read_only = off")
        connection.commit()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
        connection.commit()
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.commit()
        connection.invalidate()


def test_a_server_that_was_well_a_moment_ago_is_not_asked_to_write_again(client: TestClient, services: Services):
    assert client.get("/readyz").is_success
    read_only_sqlite(services.store.database, "on")
    assert client.get("/readyz").is_success
    wait_until(lambda: client.get("/readyz").status_code == 503, "the next proof")
    read_only_sqlite(services.store.database, "off")
    assert client.get("/readyz").is_success, "what went wrong is looked at each time"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_artifact_and_no_log(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, number: int
):
    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, errno.errorcode[number])

    task = started(client)
    log = f"{TASKS}/{task['id']}/logs?attempt=1&offset=0"
    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
        patched.setattr(services.logs, "append", full)
        patched.setattr(services.blobs, "writer", full)
        said = [refused(client.post(log, content=b"x")), refused(client.put(f"/api/v1/blobs/{'0' * 64}", content=b"x"))]
    assert all(errno.errorcode[number] in one for one in said)
    assert [line["event"] for line in logged] == ["the disk takes nothing"] * 2
    assert client.post(log, content=b"x").is_success


def test_another_mistake_with_a_file_is_ours(client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch):
    def mistaken(*_: Any, **__: Any) -> NoReturn:
        raise FileNotFoundError("inside")

    monkeypatch.setattr(services.logs, "size", mistaken)
    monkeypatch.setattr(services.logs, "read", mistaken)
    task = started(client)
    forgiving = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    with structlog.testing.capture_logs():
        assert forgiving.get(f"{TASKS}/{task['id']}/logs").json()["code"] == "internal"


def test_a_client_comes_again_when_too_many_wait(listening: httpx2.Client, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr(eventstore.batches, "MOST_WAITING", 0)
        said = refused(listening.post(TASKS, json={"name": "a", "project": "iris"}), "busy")
        assert "0 commands wait" in said
        client = Client(str(listening.base_url))
        answers: list[Any] = []
        caller = threading.Thread(target=lambda: answers.append(client.tasks.create(name="b", project="iris")))
        caller.start()
        wait_until(lambda: turned_away(listening) >= 3, "a second try")
    caller.join(20)
    client.close()
    assert [answer["name"] for answer in answers] == ["b"]


def turned_away(client: httpx2.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("foldline_appends_turned_away_total")))


# Without a server


def test_a_file_that_cannot_grow_takes_nothing_and_loses_nothing(sqlite_url: str):
    with closing(open_store(sqlite_url)) as store:
        database: Any = store.database
        kept = append(store, [NewEvent(stream="task-1", type="Happened", data="{}")]).result()
        pages = database._raw.execute("PRAGMA page_count").fetchone()[0]
        database._raw.execute(f"PRAGMA max_page_count = {pages}")
        large = NewEvent(stream="task-1", type="Happened", data=json.dumps({"x": "y" * 100_000}))
        with pytest.raises(StoreUnavailable, match="full"):
            append(store, [large]).result()
        assert list(store.read()) == list(kept)
        database._raw.execute("PRAGMA max_page_count = 1000000")
        [late] = append(store, [large]).result()
        assert (late.position, late.version) == (2, 2)


def test_a_file_that_may_only_be_read_is_not_opened(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    open_store(sqlite_url).close()
    if os.geteuid() == 0:
        monkeypatch.setattr(eventstore.sqlite.os, "access", lambda *_: False)  # who is asked whether root may
    os.chmod(sqlite_url.removeprefix("sqlite:///"), 0o444)
    with pytest.raises(CannotOpen, match="mend its rights"):
        open_store(sqlite_url)
