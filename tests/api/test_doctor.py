"""What the doctor sees: in the server that holds the database, or in a database that nobody holds."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from starlette.testclient import TestClient

import api.commands.doctor
import api.doctor
from api.doctor import examine, sqlite_version
from api.findings import Finding, size
from api.health import Health
from api.services import Services
from api.settings import Settings
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent, append
from tests.api.conftest import Command


@pytest.fixture
def store(settings: Callable[..., Settings]) -> Iterator[SqlStore]:
    """On SQLite, with one event."""
    with closing(open_store(settings().url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}")]).result()
        yield store


def found(settings: Settings, store: SqlStore, name: str, **how: Any) -> Finding:
    return next(one for one in examine(settings, store, **{"followed": True, **how}) if one.name == name)


def test_as_json_it_says_the_same(command: Command, listening: httpx2.Client):
    said = command("doctor", "--json")
    answer = json.loads(said.out)
    assert said.code == 0
    assert answer["ok"]
    names = [one["name"] for one in answer["findings"]]
    wanted = ["versions", "data", "disk", "database", "holder", "sqlite", "pages", "wal", "snapshot", "schema", "log"]
    assert names[: len(wanted)] == wanted
    assert names[-1] == "projection"
    assert {one["status"] for one in answer["findings"]} <= {"ok", "warn"}
    assert str(listening.base_url).rstrip("/") in answer["findings"][4]["about"]


def test_a_server_that_takes_nothing_still_says_how_it_is(
    command: Command, listening: httpx2.Client, monkeypatch: pytest.MonkeyPatch
):
    def full(_: Health) -> str:
        return "The database takes nothing new (disk full)."

    monkeypatch.setattr(Health, "trouble", full)
    assert listening.get("/readyz").status_code == 503
    said = command("doctor", "--json")
    answer = json.loads(said.out.splitlines()[-1])  # the lines before are the server's own, which is in this process
    findings = {one["name"]: one for one in answer["findings"]}
    assert (said.code, findings["holder"]["status"]) == (1, "fail")
    assert findings["holder"]["cure"] == "The database takes nothing new (disk full)."
    assert findings["wal"]["status"] == "ok"


@pytest.mark.parametrize(
    ("version", "status"),
    [("3.6.23", "ok"), ("3.7.0", "warn"), ("3.40.1", "warn"), ("3.51.2", "warn"), ("3.51.3", "ok"), ("4.0.0", "ok")],
)
def test_an_sqlite_with_the_known_fault_is_named(version: str, status: str):
    finding = sqlite_version(version)
    assert (finding.status, "WAL-reset" in finding.cure) == (status, status == "warn")


def test_a_reader_that_stays_is_found(settings: Callable[..., Settings], store: SqlStore):
    with store.database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM event").scalar()
        append(store, [NewEvent(stream="task-2", type="Happened", data="{}")]).result()
        waited: list[float] = []
        kept = found(settings(), store, "snapshot", pause=waited.append)
        assert (kept.status, sum(waited)) == ("warn", 1.25)
        assert "pages of the write-ahead log wait" in kept.about
    assert found(settings(), store, "snapshot").status == "ok"


def test_a_reader_that_leaves_in_time_is_nothing(settings: Callable[..., Settings], store: SqlStore):
    reading = store.database.reading()
    connection = reading.__enter__()
    connection.exec_driver_sql("SELECT count(*) FROM event").scalar()
    append(store, [NewEvent(stream="task-2", type="Happened", data="{}")]).result()
    kept = found(settings(), store, "snapshot", pause=lambda _: reading.__exit__(None, None, None))
    assert kept.status == "ok"


def test_a_clock_that_was_set_back_is_found(settings: Callable[..., Settings], store: SqlStore):
    clock = found(settings(), store, "clock", clock=lambda: time.time() - 3600)
    assert clock.status == "warn"
    assert "3600 s ahead" in clock.about
    assert found(settings(), store, "clock").status == "ok"


@pytest.mark.parametrize(("followed", "status"), [(True, "fail"), (False, "ok")])
def test_a_projection_that_is_behind_is_found_where_somebody_should_follow(
    settings: Callable[..., Settings], command: Command, followed: bool, status: str
):
    command("rebuild")
    with closing(open_store(settings().url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}")]).result()
        late = found(settings(), store, "projection", followed=followed, clock=lambda: time.time() + 100)
    assert (late.status, "s behind" in late.cure) == (status, followed)
    assert "1 events behind" in late.about


def test_a_write_ahead_log_that_has_grown_is_found(
    settings: Callable[..., Settings], store: SqlStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.doctor, "LARGEST_WAL", 1)
    assert found(settings(), store, "wal").status == "fail"


@pytest.mark.parametrize(("free", "code", "status"), [(2e9, 0, "ok"), (5e8, 0, "warn"), (5e7, 1, "fail")])
def test_a_disk_that_is_nearly_full_is_found(
    command: Command, monkeypatch: pytest.MonkeyPatch, free: float, code: int, status: str
):
    class Usage:
        def __init__(self, _: Path) -> None:
            self.free = free

    monkeypatch.setattr(api.commands.doctor.shutil, "disk_usage", Usage)
    said = command("doctor", "--json")
    findings = {one["name"]: one for one in json.loads(said.out)["findings"]}
    assert (said.code, findings["disk"]["status"]) == (code, status)
    assert findings["disk"]["about"] == f"disk: {size(free)} free"


def test_a_key_that_others_can_read_is_found(command: Command, settings: Callable[..., Settings]):
    command("rebuild")
    key = settings().data / "audit.key"
    key.parent.mkdir(exist_ok=True)
    key.touch(0o600)
    assert "chmod" not in command("doctor").out
    key.chmod(0o640)
    said = command("doctor")
    assert (said.code, f"chmod 600 {key}" in said.out) == (0, True)


def test_a_server_that_does_not_sign_is_found(settings: Callable[..., Settings], store: SqlStore):
    audit = found(settings(), store, "audit")
    assert (audit.status, audit.about) == ("ok", "audit: 1 events are not signed yet")
    assert found(settings(), store, "audit", unsigned="there is no key").status == "fail"


def test_only_the_servers_own_machine_may_have_it_looked_at(client: TestClient, services: Services):
    assert client.get("/api/v1/admin/doctor").status_code == 403
    key = {"Authorization": f"Bearer {services.admin_key}"}
    assert client.get("/api/v1/admin/doctor", headers=key).json()["items"][0]["name"] == "sqlite"


# PostgreSQL


@pytest.fixture
def shared(settings: Callable[..., Settings], postgres_url: str) -> Iterator[tuple[Settings, SqlStore]]:
    with closing(open_store(postgres_url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}")]).result()
        yield settings(db=postgres_url), store


def test_a_transaction_that_stays_open_is_named(
    shared: tuple[Settings, SqlStore], postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.doctor, "LONGEST_SNAPSHOT", -1)
    with psycopg.connect(postgres_url, application_name="a report") as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM event")
        kept = found(*shared, "snapshot")
        assert kept.status == "warn"
        assert f"process {other.info.backend_pid} of " in kept.about
        assert "(a report, idle in transaction)" in kept.about
        assert f"pg_terminate_backend({other.info.backend_pid})" in kept.cure
    assert "a report" not in found(*shared, "snapshot").about


def test_two_clocks_that_differ_are_found(shared: tuple[Settings, SqlStore]):
    clock = found(*shared, "clock", clock=lambda: time.time() + 100)
    assert clock.status == "warn"
    assert "behind ours" in clock.about
    assert found(*shared, "clock").status == "ok"


def test_a_server_that_waits_for_no_disk_is_found(shared: tuple[Settings, SqlStore]):
    settings, store = shared
    with store.database.reading() as connection:
        off = connection.exec_driver_sql("SHOW fsync").scalar() == "off"
    durability = found(settings, store, "durability")
    assert (durability.status == "warn", "fsync" in durability.about) == (off, off)
    assert found(settings, store, "connections").about.startswith("connections: ")
