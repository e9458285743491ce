"""What cannot be read, because its file is damaged or a newer program wrote it: said so, never answered wrongly."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from starlette.testclient import TestClient

from api.commands.failures import sentence_of
from api.commands.serve import opened
from api.doctor import examine
from api.settings import Settings
from eventstore.sql import open_store
from eventstore.store import NewEvent, StoreBroken, StoreDamaged, StoreUnavailable, append
from tests.api.conftest import Command
from tests.support.tasks import TASKS, made

EVENTS = 200


@pytest.fixture
def file(settings: Callable[..., Settings]) -> Path:
    """A database of some pages that nobody holds."""
    with closing(open_store(settings().url)) as store:
        news = [NewEvent(stream=f"task-{number:032x}", type="Happened", data="{}") for number in range(EVENTS)]
        append(store, news).result()
    return Path(settings().db.removeprefix("sqlite:///"))


@pytest.fixture
def client(client: TestClient) -> TestClient:
    """A client whose answers are not on record: what is damaged is in no operation's description."""
    client.event_hooks = {"response": []}
    return client


def damage(file: Path, name: str) -> None:
    """Overwrite the first page of a table or an index, as a failing disk does."""
    with closing(sqlite3.connect(file)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
        [(size,)] = connection.execute("PRAGMA page_size")
    with file.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(b"\xa5" * size)


@pytest.mark.parametrize("name", ["event", "sqlite_autoindex_event_1"])
def test_a_server_does_not_start_on_a_damaged_file_and_says_why(
    file: Path, settings: Callable[..., Settings], name: str
):
    damage(file, name)
    with pytest.raises(StoreDamaged) as said:
        opened(settings())
    assert str(sentence_of(said.value)).endswith("stop the server and put a backup back")
    open_store(settings().url).close()  # the file is let go of


def test_a_server_does_not_start_on_a_log_that_it_cannot_read(settings: Callable[..., Settings]):
    with closing(open_store(settings().url)) as store:
        append(store, [NewEvent(stream="queue-default", type="QueueTeleported", data="{}")]).result()
    with pytest.raises(StoreBroken) as said:
        opened(settings())
    assert "'QueueTeleported' is not known" in str(sentence_of(said.value))
    assert "upgrade this program" in str(sentence_of(said.value))


@pytest.mark.parametrize("name", ["event", "event_stream", "task_row"])
def test_a_doctor_finds_a_damaged_page(file: Path, command: Command, settings: Callable[..., Settings], name: str):
    command("rebuild")
    assert [one.status for one in findings(settings()) if one.name == "pages"] == ["ok"]
    damage(file, name)
    said = command("doctor")
    assert said.code == 1
    assert "put a backup back" in said.out


def findings(settings: Settings) -> list[Any]:
    with closing(open_store(settings.url)) as store:
        return list(examine(settings, store, followed=False))


def test_an_audit_says_that_the_file_is_damaged(file: Path, command: Command):
    damage(file, "event")
    said = command("audit", "verify")
    assert said.code == 1
    assert "put a backup back" in said.err


def test_a_server_that_meets_damage_is_not_ready_any_more(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    app: Any = client.app
    services, task = app.state.services, made(client)

    def damaged(*_: Any, **__: Any) -> None:
        raise StoreDamaged("the database is damaged (malformed): stop the server and put a backup back")

    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
        patched.setattr(services.reader, "task", damaged)
        answer = client.get(f"{TASKS}/{task['id']}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "is damaged (malformed)" in answer.json()["detail"]
    assert [line["event"] for line in logged] == ["what the database holds cannot be read"]
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
    assert "is damaged (malformed)" in ready.json()["detail"]


def test_an_event_of_a_newer_program_is_named_where_it_is_met_and_nowhere_else(client: TestClient):
    app: Any = client.app
    services, mine, other = app.state.services, made(client), made(client)
    append(services.store, [NewEvent(stream=f"task-{mine['id']}", type="TaskTeleported", data="{}")]).result()
    with structlog.testing.capture_logs():
        for answer in (
            client.get(f"{TASKS}/{mine['id']}"),
            client.post(f"{TASKS}/{mine['id']}/enqueue", json={"queue": "default"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
            assert "'TaskTeleported' is not known" in answer.json()["detail"]
            assert "upgrade this server" in answer.json()["detail"]
    assert client.get(f"{TASKS}/{other['id']}").json() == other
    assert client.get("/readyz").is_success


def test_a_file_that_was_removed_under_its_server_can_still_be_saved(
    command: Command, listening: httpx2.Client, settings: Callable[..., Settings], tmp_path: Path
):
    task = listening.post(TASKS, json={"name": "saved", "project": "iris"}).json()
    file = settings().sqlite_path
    assert file is not None
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink()
    looked = command("doctor")
    assert (looked.code, "was removed under its server" in looked.out) == (1, True)
    assert command("backup", str(tmp_path / "saved")).code == 0
    with closing(sqlite3.connect(tmp_path / "saved" / "foldline.db")) as saved:
        kept = saved.execute("SELECT count(*) FROM event WHERE stream = ?", (f"task-{task['id']}",)).fetchone()
    assert kept == (1,)


# Below the API


@pytest.fixture(params=["sqlite", "postgres"])
def broken(request: pytest.FixtureRequest, file: Path, settings: Callable[..., Settings]) -> Iterator[Any]:
    """A store, and a question whose answer lies on a damaged page."""
    if request.param == "sqlite":
        damage(file, "event")
        url, question = settings().url, "SELECT count(data) FROM event"
    else:
        url, question = request.getfixturevalue("postgres_url"), "SELECT damaged()"
    with closing(open_store(url)) as store:
        if request.param == "postgres":
            with store.database.writing() as connection:
                connection.exec_driver_sql(
                    "CREATE FUNCTION damaged() RETURNS int LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE 'invalid page in block 7' USING ERRCODE = 'data_corrupted'; END $$"
                )
        yield store, question


def test_damage_is_told_apart_from_absence_on_every_way_to_the_database(broken: Any):
    store, question = broken

    def read() -> None:
        with store.database.reading() as connection:
            connection.exec_driver_sql(question).all()

    def write() -> None:
        with store.database.writing() as connection:
            connection.exec_driver_sql(question).all()

    def append_() -> None:
        with store.database.appending(0) as session:
            session.fetch(question, ())

    for way in (lambda: store.database.fetch(question, ()), read, write, append_):
        with pytest.raises(StoreDamaged, match="is damaged"):
            way()
    assert not issubclass(StoreDamaged, StoreUnavailable), "nobody shall come again"


def test_a_file_cut_short_is_not_taken_for_another_kind_of_file(file: Path, command: Command):
    os.truncate(file, file.stat().st_size // 2)
    said = command("doctor")
    assert said.code == 1
    assert "put a backup back" in said.out
