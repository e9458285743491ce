"""`foldline-server`: what each command does, with a server that holds the database and without, and how it fails."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.__main__ import run
from api.settings import Settings
from eventstore.filelock import FileLock
from eventstore.sql import open_store
from projections.all import PROJECTIONS
from tests.api.conftest import Command
from tests.support.tasks import made, told
from tests.support.waiting import wait_until

NAMES = [one.name for one in PROJECTIONS]
ROOT = Path(__file__).parents[2]


def is_one_sentence(text: str) -> bool:
    return text.startswith("foldline-server: ") and text.count("\n") == 1 and "Traceback" not in text


# Usage


@pytest.mark.parametrize(
    "words",
    [[], ["serve"], ["dev"], ["migrate"], ["doctor"], ["backup"], ["restore"], ["rebuild"], ["token", "create"]],
)
def test_help_says_what_the_exit_codes_mean(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        run([*words, "--help"])
    assert end.value.code == 0
    assert "exit codes: 0 done" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["serve", "--prot", "1"], ["serve", "--port", "x"], ["serve", "--port", "65536"], ["token"]]
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        run(words)
    assert end.value.code == 2
    assert "usage: foldline-server" in capsys.readouterr().err


def test_help_needs_nothing_of_the_server():
    loaded = "import api.__main__, sys; print([m for m in ('fastapi', 'pydantic', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


# Tokens


def test_a_token_is_made_without_a_server(command: Command, start: Callable[..., Any]):
    made_one = command("token", "create", "ana")
    assert made_one.code == 0
    assert re.fullmatch(r"fl_[\w-]{43}\n", made_one.out)
    client = start()
    assert client.get("/api/v1/whoami").status_code == 401
    headers = {"Authorization": f"Bearer {made_one.out.strip()}"}
    assert client.get("/api/v1/whoami", headers=headers).json()["name"] == "ana"


def test_a_token_is_made_by_the_server_that_holds_the_database(command: Command, listening: httpx2.Client):
    assert listening.get("/api/v1/whoami").json()["name"] == "local"
    secret = command("token", "create", "ana").out.strip()
    assert listening.get("/api/v1/whoami").status_code == 401
    headers = {"Authorization": f"Bearer {secret}"}
    assert listening.get("/api/v1/whoami", headers=headers).json()["name"] == "ana"


@pytest.mark.usefixtures("listening")
def test_a_token_of_a_name_that_is_taken_is_refused_by_either(command: Command):
    assert command("token", "create", "ana").code == 0
    said = command("token", "create", "ana")
    assert said.code == 1
    assert is_one_sentence(said.err)
    assert "choose another name" in said.err


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("key", [None, "another"])
def test_only_who_can_read_the_servers_key_may_have_it_act(
    command: Command, settings: Callable[..., Settings], tmp_path: Path, key: str | None
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if key is not None:
        (elsewhere / "admin.key").write_text(key)
    said = command("token", "create", "ana", at=["--db", settings().db, "--data", str(elsewhere)])
    assert said.code == 1
    assert is_one_sentence(said.err)
    assert "give --data" in said.err


@pytest.mark.postgres
def test_a_token_on_a_shared_database(command: Command, start: Callable[..., Any], postgres_url: str, tmp_path: Path):
    secret = command("token", "create", "ana", at=["--db", postgres_url, "--data", str(tmp_path)]).out.strip()
    client = start(db=postgres_url)
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/whoami", headers=headers).json()["name"] == "ana"


# Migrate, rebuild


def test_migrate_makes_what_is_new_and_leaves_what_is_made(command: Command):
    assert "its tables are made, version 0004" in command("migrate").out
    assert command("migrate").out == "Nothing to do: the tables have version 0004.\n"


@pytest.mark.usefixtures("listening")
def test_migrate_has_nothing_to_do_while_a_server_of_this_version_works(command: Command):
    assert command("migrate").out == "Nothing to do: the tables have version 0004.\n"


@pytest.mark.parametrize("held", [True, False], ids=["by the server", "without a server"])
def test_a_rebuild_mends_rows_that_are_wrong(
    command: Command, settings: Callable[..., Settings], request: pytest.FixtureRequest, held: bool
):
    database = Path(settings().db.removeprefix("sqlite:///"))
    client: Any = request.getfixturevalue("listening") if held else request.getfixturevalue("start")()
    made(client, name="right")
    position = client.post("/api/v1/tasks", json={"name": "last", "project": "x"}).headers["Foldline-Position"]
    client.get("/api/v1/tasks", params={"min_position": position})
    if not held:
        client.__exit__(None, None, None)
    with sqlite3.connect(database, timeout=20) as connection:
        connection.execute("UPDATE task_row SET name = 'wrong' WHERE name = 'right'")
    connection.close()
    said = command("rebuild", "tasks", "runs")
    assert (said.code, said.out, said.err) == (0, "tasks: made anew\nruns: made anew\n", "")
    with sqlite3.connect(database, timeout=20) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM task_row")}
    connection.close()
    assert names == {"right", "last"}


def test_all_are_rebuilt_when_none_is_named(command: Command):
    assert command("rebuild").out == "".join(f"{name}: made anew\n" for name in NAMES)


def test_a_projection_that_there_is_not_is_named_with_those_there_are(command: Command):
    said = command("rebuild", "taks")
    assert said.code == 1
    assert said.err == f"foldline-server: there is no projection 'taks': there are {', '.join(NAMES)}\n"


# Doctor


def test_a_doctor_looks_and_changes_nothing(command: Command, tmp_path: Path):
    said = command("doctor")
    assert said.code == 0
    assert "none yet" in said.out
    assert list(tmp_path.iterdir()) == []


def test_a_doctor_finds_a_server_well(command: Command, listening: httpx2.Client):
    position = listening.post("/api/v1/tasks", json={"name": "a", "project": "x"}).headers["Foldline-Position"]
    listening.get("/api/v1/tasks", params={"min_position": position})
    said = command("doctor")
    assert said.code == 0, said.out
    assert f"which serves {str(listening.base_url).rstrip('/')}, is ready" in said.out
    for found in ("Python", "SQLite", "disk:", "write-ahead log:", "schema version 0004", "projection tasks:"):
        assert found in said.out


def test_a_doctor_finds_a_database_well_that_nobody_holds(command: Command, start: Callable[..., Any]):
    client = start()
    made(client)
    client.__exit__(None, None, None)
    said = command("doctor")
    assert said.code == 0, said.out
    assert "held by nobody" in said.out
    assert "log: 3 events" in said.out


def planted(settings: Settings, statement: str) -> None:
    store = open_store(settings.url)
    with store.database.writing() as connection:
        connection.exec_driver_sql(statement)
    store.close()


@pytest.mark.parametrize(
    ("statement", "cure"),
    [
        ("UPDATE eventstore_version SET version_num = '9999'", "upgrade this program"),
        ("UPDATE projection SET error = 'stopped before event 3' WHERE name = 'runs'", "foldline-server rebuild runs"),
    ],
)
def test_a_doctor_says_what_is_wrong_and_what_to_do(
    command: Command, settings: Callable[..., Settings], statement: str, cure: str
):
    command("rebuild")
    planted(settings(), statement)
    said = command("doctor")
    assert said.code == 1
    assert "fail" in said.out
    assert cure in said.out


def test_a_doctor_finds_a_server_that_does_not_answer(command: Command, settings: Callable[..., Settings]):
    usual = settings()
    command("migrate")
    usual.data.mkdir()
    (usual.data / "admin.key").write_text("key")
    lock = FileLock(Path(usual.db.removeprefix("sqlite:///")), "http://127.0.0.1:1")
    try:
        said = command("doctor")
    finally:
        lock.release()
    assert said.code == 1
    assert "http://127.0.0.1:1 does not answer" in said.out


def test_a_doctor_finds_a_file_that_is_no_database(command: Command, settings: Callable[..., Settings]):
    Path(settings().db.removeprefix("sqlite:///")).write_text("a letter to a friend, not a database " * 50)
    said = command("doctor")
    assert said.code == 1
    assert "choose another file" in said.out


@pytest.mark.postgres
def test_a_doctor_on_a_shared_database(command: Command, postgres_url: str, tmp_path: Path):
    at = ["--db", postgres_url, "--data", str(tmp_path)]
    assert "none yet" in command("doctor", at=at).out
    assert "its tables are made" in command("migrate", at=at).out
    said = command("doctor", at=at)
    assert said.code == 0, said.out
    assert "PostgreSQL" in said.out


# What serve refuses


def test_a_port_in_use(command: Command, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = command("serve", "--port", str(port))
    assert said.code == 1
    assert said.err == (
        f"foldline-server: port {port} is in use: stop the program that uses it, or give another --port\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("listening")
def test_a_database_in_use(command: Command):
    said = command("serve", "--port", "0")
    assert said.code == 1
    assert is_one_sentence(said.err)
    assert "is in use by process" in said.err


def test_beyond_loopback_a_token_is_needed(command: Command):
    said = command("serve", "--port", "0", "--host", "0.0.0.0")
    assert said.code == 1
    assert is_one_sentence(said.err)
    assert "foldline-server token create NAME" in said.err


@pytest.mark.parametrize(
    ("words", "at", "cure"),
    [
        pytest.param(["--host", "no.such.host.invalid"], None, "give another --host", id="no such name"),
        pytest.param(["--host", "203.0.113.7"], None, "give another --host", id="somebody else's address"),
        pytest.param([], ["--db", "mysql://x/y"], "postgresql://user@host/name", id="another kind of database"),
        pytest.param([], ["--db", "sqlite:///x.db"], "sqlite:////absolute/path", id="a relative path"),
        pytest.param([], ["--data", "/proc/nowhere"], "give --data a folder that can be written", id="no folder"),
        pytest.param([], ["--db", "sqlite:////proc/nowhere/x.db"], "a folder that can be written", id="no file"),
        pytest.param(
            [], ["--db", "postgresql://127.0.0.1:1/x"], "is it running, and is --db right?", id="nobody there"
        ),
    ],
)
def test_what_cannot_be_served_is_told_in_one_sentence(
    command: Command, tmp_path: Path, words: list[str], at: list[str] | None, cure: str
):
    given = at or []
    if "--data" not in given:
        given = [*given, "--data", str(tmp_path / "data")]
    said = command("serve", "--port", "0", *words, at=given)
    assert said.code == 1
    assert is_one_sentence(said.err)
    assert cure in said.err


def test_a_setting_of_the_environment_that_makes_no_sense(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOLDLINE_SERVER_LEASE", "soon")
    said = command("serve", "--port", "0")
    assert said.code == 1
    assert "FOLDLINE_SERVER_LEASE" in said.err


# Real processes


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `foldline-server` as a process, its standard error in `<tmp_path>/err.log`."""
    processes: list[subprocess.Popen[str]] = []

    def begun(*words: str, **env: str) -> "subprocess.Popen[str]":
        with (tmp_path / "err.log").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "api", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=tmp_path,
                env=environment(**env),
                start_new_session=True,
            )
        processes.append(process)
        return process

    yield begun
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE_SERVER")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")]), **more}


def ready(process: "subprocess.Popen[str]") -> str:
    """The address in the first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"Foldline is ready at (http://127\.0\.0\.1:\d+)", line)
    assert found, line
    return found[1]


def test_a_server_from_its_start_to_its_end(
    running: Callable[..., "subprocess.Popen[str]"], place: list[str], tmp_path: Path
):
    process = running("serve", *place, "--port", "0")
    with httpx2.Client(base_url=ready(process), timeout=20) as client:
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        assert {queue["name"] for queue in client.get("/api/v1/queues").json()["items"]} == {"default", "services"}
        task = made(client)
        told(client, task, "start", session="5e" * 16)
        agent = {"name": "a", "session": "6e" * 16, "queues": ["default"], "slots": 1, "services": False}
        agent = client.post("/api/v1/agents", json={**agent, "host": "h", "pid": 1, "version": "1"}).json()
        asked = {"session": "6e" * 16, "held": [], "reports": [], "free": 1, "wait": 30}
        polls: list[httpx2.Response] = []
        poll = threading.Thread(
            target=lambda: polls.append(client.post(f"/api/v1/agents/{agent['id']}/exchange", json=asked))
        )
        poll.start()
        headers = {"Accept": "text/event-stream"}
        with (
            client.stream("GET", f"/api/v1/tasks/{task['id']}/logs", headers=headers) as log,
            client.stream("GET", "/api/v1/events", headers=headers) as events,
        ):
            lines = events.iter_lines()
            wait_until(lambda: "AgentRegistered" in next(lines), "the stream of events has come to the present")
            process.terminate()
            assert process.wait(10) == 0
            assert [line for line in log.iter_lines() if line] == []
        poll.join(10)
        assert [(answer.status_code, answer.json()["claims"]) for answer in polls] == [(200, [])]
    assert process.stdout is not None
    assert process.stdout.read() == ""
    assert "Traceback" not in (tmp_path / "err.log").read_text()


@pytest.mark.slow
def test_dev_is_a_server_with_two_agents_that_end_together(
    running: Callable[..., "subprocess.Popen[str]"], place: list[str], tmp_path: Path
):
    process = running("dev", *place, "--port", "0", FOLDLINE_HOME=str(tmp_path / "home"))
    with httpx2.Client(base_url=ready(process), timeout=20) as client:

        def agents() -> dict[Any, Any]:
            return {tuple(one["queues"]): one for one in client.get("/api/v1/agents").json()["items"]}

        wait_until(lambda: {("default",), ("services",)} <= agents().keys(), "both agents have come", 60)
        found = agents()
        assert (found["default",]["slots"], found["services",]["services"]) == (2, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    said = (tmp_path / "err.log").read_text()
    assert "Traceback" not in said
    assert process.stdout is not None
    assert "Ctrl-C ends it all" in process.stdout.read()


@pytest.mark.slow
def test_dev_goes_on_with_a_server_that_wants_a_token(
    running: Callable[..., "subprocess.Popen[str]"], command: Command, place: list[str], tmp_path: Path
):
    secret = command("token", "create", "ana").out.strip()
    process = running("dev", *place, "--port", "0", FOLDLINE_HOME=str(tmp_path / "home"))
    with httpx2.Client(base_url=ready(process), headers={"Authorization": f"Bearer {secret}"}, timeout=20) as client:
        wait_until(lambda: len(client.get("/api/v1/agents").json()["items"]) == 2, "both agents have come", 60)
    process.terminate()
    assert process.wait(40) == 0
    assert secret not in (tmp_path / "err.log").read_text()
