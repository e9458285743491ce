"""Backup and restore: nothing is lost on the way, nothing is put over anything, and what is damaged is said to be."""

import errno
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import api.backup
import api.backup_restore
from api import backup_postgresql
from api.backup import UNFINISHED, Manifest, back_up, manifest_of
from api.backup_files import blobs_of, workplace
from api.services import Services
from api.settings import Settings
from domain.refused import Refused
from eventstore.sql import open_store
from tests.api.conftest import Answered, Command, client_of, settings_in
from tests.support import by_hand
from tests.support.by_hand import Agent, listed, submitted
from tests.support.tasks import TASKS, made, started

BYTES = b"petals and sepals"
DIGEST = sha256(BYTES).hexdigest()


def work_done(client: httpx2.Client) -> dict[str, Any]:
    """A server that has seen some: what it then says, by address."""
    run = submitted(client)
    Agent(client).works()
    task = started(client)
    assert client.put(f"/api/v1/blobs/{DIGEST}", content=BYTES).status_code == 201
    artifact = {"name": "data", "sha256": DIGEST, "size": len(BYTES), "type": "file", "format": "file"}
    by_hand.answered(client.post(f"{TASKS}/{task['id']}/artifacts", json={**artifact, "filename": "data.txt"}), 201)
    assert client.post(f"{TASKS}/{task['id']}/logs?attempt=1&offset=0", content=b"epoch 1\n").is_success
    point = {"title": "loss", "series": "train", "iteration": 1, "value": 0.5}
    assert client.post(f"{TASKS}/{task['id']}/scalars", json={"points": [point]}).is_success
    address = f"{TASKS}/{task['id']}"
    return said(client, f"/api/v1/runs/{run['id']}", address, f"{address}/logs", f"{address}/scalars", "/api/v1/events")


def said(client: httpx2.Client, *addresses: str) -> dict[str, Any]:
    return {address: client.get(address).text for address in (*addresses, f"/api/v1/blobs/{DIGEST}")}


@pytest.fixture
def elsewhere(tmp_path: Path) -> list[str]:
    """The flags of an empty place."""
    return ["--db", f"sqlite:///{tmp_path / 'other' / 'foldline.db'}", "--data", str(tmp_path / "other" / "data")]


def settings_at(flags: list[str]) -> dict[str, Any]:
    return {"db": flags[1], "data": Path(flags[3])}


@pytest.mark.parametrize("held", [True, False], ids=["by the server", "without a server"])
def test_what_is_put_back_is_what_there_was(
    command: Command,
    start: Callable[..., Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    elsewhere: list[str],
    held: bool,
):
    client: Any = request.getfixturevalue("listening") if held else request.getfixturevalue("start")()
    before = work_done(client)
    if not held:
        client.__exit__(None, None, None)
    made_one = command("backup", str(tmp_path / "backup"))
    assert (made_one.code, made_one.err) == (0, "")
    assert "1 artifacts, 1 logs, 25 bytes" in made_one.out
    put_back = command("restore", str(tmp_path / "backup"), at=elsewhere)
    assert (put_back.code, put_back.err) == (0, "")
    assert "Every event has the hash of what it says" in put_back.out
    restored = start(**settings_at(elsewhere))
    assert said(restored, *before) == before
    assert {one["name"] for one in listed(restored, "tasks")} == {"train", "only"}
    assert made(restored)["version"] == 1, "it goes on from there"


def test_no_key_comes_along(command: Command, listening: httpx2.Client, tmp_path: Path):
    work_done(listening)
    command("backup", str(tmp_path / "backup"))
    assert (tmp_path / "data" / "admin.key").exists()
    names = {str(path.relative_to(tmp_path / "backup")) for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    task = next(name for name in names if name.startswith("logs"))
    assert names == {"backup.json", "foldline.db", f"blobs/{DIGEST[:2]}/{DIGEST}", task}
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0, "for nobody else to read"


def test_writers_go_on_while_it_is_made(
    command: Command, listening: httpx2.Client, tmp_path: Path, elsewhere: list[str]
):
    over, written = threading.Event(), threading.Event()

    def write() -> None:
        while not over.is_set():
            made(listening)
            written.set()

    def backed_up(number: int) -> int:
        written.clear()
        assert written.wait(20)
        said = command("backup", "--json", str(tmp_path / f"backup{number}"))
        return json.loads(said.out)["heads"]["0"]["position"]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        positions = [backed_up(number) for number in range(3)]
    finally:
        over.set()
        writer.join()
    assert positions == sorted(set(positions)), "each as of its own moment"
    assert command("restore", str(tmp_path / "backup2"), at=elsewhere).code == 0
    with closing(open_store(elsewhere[1])) as store:
        assert store.head() == positions[-1]


# What is refused, and leaves nothing


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, answered: Answered) -> Path:
    """A folder with a database, its data folder and a backup of both."""
    folder = tmp_path_factory.mktemp("once")
    with client_of(settings_in(folder), answered) as client:
        work_done(client)
        app: Any = client.app
        back_up(settings_in(folder), app.state.services.store.database, folder / "backup")
    return folder


@pytest.fixture
def backup(made_once: Path, tmp_path: Path) -> Path:
    """A backup of the test's database, and this as it was then."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "backup"


def refused(said: Any, *, cure: str) -> None:
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("foldline-server: ")
    assert said.err.count("\n") == 1
    assert cure in said.err


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_no_backup_is_made_over_anything(command: Command, backup: Path):
    before = files(backup.parent)
    refused(command("backup", str(backup)), cure="name a folder that is not, or is empty")
    refused(command("backup", str(backup / "backup.json" / "x")), cure="name another place")
    assert files(backup.parent) == before


def test_there_must_be_something_to_back_up(command: Command, settings: Callable[..., Settings], tmp_path: Path):
    refused(command("backup", str(tmp_path / "backup")), cure="is --db or --data right?")
    with closing(sqlite3.connect(settings().db.removeprefix("sqlite:///"))) as connection:
        connection.execute("CREATE TABLE x (y)")
    refused(command("backup", str(tmp_path / "backup")), cure="Is --db right?")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("copy_files", OSError(errno.ENOSPC, "No space left on device")),
        ("_copy_sqlite", sqlite3.OperationalError("database or disk is full")),
    ],
)
@pytest.mark.usefixtures("backup")
def test_a_disk_that_is_full_leaves_no_half_backup(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str, error: Exception
):
    def full(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(api.backup, part, full)
    before = files(tmp_path)
    refused(command("backup", str(tmp_path / "next")), cure="see that there is room")
    assert files(tmp_path) == before


def test_what_killed_processes_have_left_goes_with_the_next_backup_and_what_others_work_at_stays(
    command: Command, backup: Path, tmp_path: Path
):
    with workplace(tmp_path, UNFINISHED) as others:
        dead = tmp_path / f"{UNFINISHED}dead"
        dead.mkdir()
        (dead / "half").write_bytes(b"x")
        assert command("backup", str(tmp_path / "next")).code == 0
        assert others.exists()
        assert not dead.exists()
    assert not others.exists()
    assert manifest_of(tmp_path / "next").events == manifest_of(backup).events


def test_the_files_are_there_before_the_database_is(
    command: Command, backup: Path, elsewhere: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Whoever is killed between the two leaves nothing that a server would take for the whole."""
    usual, data = api.backup_restore._check_log, Path(elsewhere[3])

    def checked(url: str, manifest: Manifest) -> NoReturn:
        usual(url, manifest)
        assert sum(1 for _ in blobs_of(data)) == manifest.blobs == 1
        assert not Path(elsewhere[1].removeprefix("sqlite:///")).exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(api.backup_restore, "_check_log", checked)
        refused(command("restore", str(backup), at=elsewhere), cure="see that there is room")
    assert list(blobs_of(data)) == [], "it can be tried again"
    assert command("restore", str(backup), at=elsewhere).code == 0


def test_nothing_is_put_over_a_database(command: Command, backup: Path, tmp_path: Path):
    at = ["--db", f"sqlite:///{tmp_path / 'foldline.db'}", "--data", str(tmp_path / "empty")]
    refused(command("restore", str(backup), at=at), cure="give --db another file")
    assert not (tmp_path / "empty").exists()


def test_nothing_is_put_among_other_artifacts(command: Command, backup: Path, tmp_path: Path):
    at = ["--db", f"sqlite:///{tmp_path / 'new.db'}", "--data", str(tmp_path / "data")]
    refused(command("restore", str(backup), at=at), cure="give --data an empty folder")
    assert not (tmp_path / "new.db").exists()


def changed(backup: Path, *statements: str) -> None:
    with closing(sqlite3.connect(backup / "foldline.db", isolation_level=None)) as connection:
        for trigger in ("event_never_changes", "event_never_goes"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("""UPDATE event SET data = replace(data, 'train', 'trial') WHERE type = 'TaskCreated'""", "task-"),
        ("DELETE FROM event WHERE position = 5", "0-5"),
        ("DELETE FROM event WHERE position = (SELECT max(position) FROM event)", "damaged"),
    ],
    ids=["changed", "missing", "cut off"],
)
def test_a_log_that_is_damaged_is_not_put_back(
    command: Command, backup: Path, elsewhere: list[str], tmp_path: Path, statement: str, told: str
):
    changed(backup, statement)
    answer = command("restore", str(backup), at=elsewhere)
    refused(answer, cure="log is damaged")
    assert told in answer.err
    assert files(tmp_path / "other") == []


def test_a_file_that_is_no_database_is_not_put_back(
    command: Command, backup: Path, elsewhere: list[str], tmp_path: Path
):
    (backup / "foldline.db").write_bytes(b"a letter to a friend" * 500)
    refused(command("restore", str(backup), at=elsewhere), cure="use another backup")
    assert files(tmp_path / "other") == []


def test_a_backup_without_all_its_files_is_not_put_back(
    command: Command, backup: Path, elsewhere: list[str], tmp_path: Path
):
    (backup / "blobs" / DIGEST[:2] / DIGEST).unlink()
    refused(command("restore", str(backup), at=elsewhere), cure="had 1 artifacts and 1 logs, and has 0 and 1")
    assert files(tmp_path / "other") == []


@pytest.mark.parametrize(
    ("page", "cure"),
    [
        (None, "is no backup that can be read"),
        ("{", "is no backup of this program"),
        ({"format": 2}, "restore it with that one"),
        ({"schema_version": "9999"}, "upgrade this one"),
        ({"database": "postgresql"}, "give another --db"),
    ],
)
def test_what_is_no_backup_for_this_program(command: Command, backup: Path, elsewhere: list[str], page: Any, cure: str):
    file = backup / "backup.json"
    if page is None:
        file.unlink()
    else:
        file.write_text(page if isinstance(page, str) else json.dumps({**json.loads(file.read_text()), **page}))
    refused(command("restore", str(backup), at=elsewhere), cure=cure)


def test_a_damaged_artifact_is_copied_and_named(
    command: Command, backup: Path, settings: Callable[..., Settings], elsewhere: list[str], tmp_path: Path
):
    (settings().data / "blobs" / DIGEST[:2] / DIGEST).write_bytes(b"moths")
    again = command("backup", str(tmp_path / "again"))
    assert (again.code, DIGEST in again.err) == (1, True)
    assert command("restore", str(tmp_path / "again"), at=elsewhere).code == 0, "it was known before"
    (backup / "blobs" / DIGEST[:2] / DIGEST).write_bytes(b"moths")
    at = ["--db", f"sqlite:///{tmp_path / 'third.db'}", "--data", str(tmp_path / "third")]
    answer = command("restore", str(backup), at=at)
    assert (answer.code, DIGEST in answer.err) == (1, True)
    assert (tmp_path / "third.db").exists()


def test_only_the_servers_own_machine_may_have_a_backup_made(client: Any, services: Services, tmp_path: Path):
    body = {"to": str(tmp_path / "backup")}
    assert client.post("/api/v1/admin/backup", json=body).status_code == 403
    key = {"Authorization": f"Bearer {services.admin_key}"}
    assert client.post("/api/v1/admin/backup", json={"to": "backup"}, headers=key).status_code == 422
    assert client.post("/api/v1/admin/backup", json=body, headers=key).json()["heads"]["0"]["position"] == 2
    assert client.post("/api/v1/admin/backup", json=body, headers=key).status_code == 409


# PostgreSQL


@pytest.fixture
def empty_postgres(postgres_server: str) -> Iterator[str]:
    """A second database."""
    name = Identifier(database := f"foldline_test_{uuid4().hex[:12]}")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{database}"))
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_a_shared_database_is_dumped_and_put_back(
    command: Command, start: Callable[..., Any], postgres_url: str, empty_postgres: str, tmp_path: Path
):
    client = start(db=postgres_url)
    before = work_done(client)
    at = ["--db", postgres_url, "--data", str(tmp_path / "data")]
    made_one = command("backup", str(tmp_path / "backup"), at=at)
    assert (made_one.code, made_one.err) == (0, "")
    assert (tmp_path / "backup" / "foldline.dump").exists()
    refused(command("restore", str(tmp_path / "backup"), at=[*at[:3], str(tmp_path / "new")]), cure="make an empty one")
    there = ["--db", empty_postgres, "--data", str(tmp_path / "new")]
    put_back = command("restore", str(tmp_path / "backup"), at=there)
    assert (put_back.code, put_back.err) == (0, "")
    assert said(start(**settings_at(there)), *before) == before


def test_a_password_is_never_among_the_arguments():
    conninfo, environment = backup_postgresql.connecting("postgresql://ana:s%40cret@db.example:5433/x?sslmode=require")
    assert environment == {"PGPASSWORD": "s@cret"}
    assert "cret" not in conninfo
    assert {"host=db.example", "port=5433", "user=ana", "dbname=x", "sslmode=require"} <= set(conninfo.split())


def test_the_first_program_that_is_new_enough_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    programs: list[Path] = []
    for version in (15, 18):
        program = tmp_path / f"pg_dump{version}"
        program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.1 (Some 18.04)'\n")
        program.chmod(0o700)
        programs.append(program)
    monkeypatch.setattr(backup_postgresql, "_candidates", lambda _: iter(programs))
    assert backup_postgresql.program("pg_dump", 15) == str(programs[0])
    assert backup_postgresql.program("pg_dump", 16) == str(programs[1])
    with pytest.raises(
        Refused, match=r"pg_dump of PostgreSQL 19 or newer is needed, and .*15 is of version 15; .*PATH"
    ):
        backup_postgresql.program("pg_dump", 19)
    programs.clear()
    with pytest.raises(Refused, match="there is none"):
        backup_postgresql.program("pg_dump", 15)


def test_what_a_program_says_is_told(postgres_url: str, tmp_path: Path):
    with pytest.raises(Refused, match=r"pg_dump could not do it: .*no matching tables"):
        backup_postgresql.run(postgres_url, "pg_dump", ["--table=nothing", f"--file={tmp_path / 'x'}"], server=18)
    with suppress(FileNotFoundError):
        (tmp_path / "x").unlink()
