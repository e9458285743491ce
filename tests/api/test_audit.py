"""The audit by HTTP and as a command, on what the product writes; proofs are checked by the example alone."""

import io
import json
import runpy
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature
from starlette.testclient import TestClient

from api.__main__ import run
from api.services import Services
from api.settings import Settings
from eventstore.audit import proofs
from eventstore.audit.errors import Stopped
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import Sealer
from eventstore.merkle import WIDTH
from eventstore.schema import APPEND_ONLY
from tests.api.conftest import Command
from tests.support.by_hand import Agent, answered, submitted
from tests.support.tasks import made
from tests.support.waiting import wait_until

AUDIT = "/api/v1/audit"
VERIFY = "/api/v1/admin/audit/verify"
CHECK = Path(__file__).parents[2] / "examples" / "audit" / "check.py"


@pytest.fixture(autouse=True)
def _signs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.services.Sealer", partial(Sealer, within=0.01))


@pytest.fixture
def admin(client: TestClient, services: Services) -> TestClient:
    client.headers["Authorization"] = f"Bearer {services.admin_key}"
    return client


@pytest.fixture
def shared_admin(shared_client: TestClient) -> Iterator[TestClient]:
    app: Any = shared_client.app
    shared_client.headers["Authorization"] = f"Bearer {app.state.services.admin_key}"
    yield shared_client
    del shared_client.headers["Authorization"]


def signed(client: Any) -> dict[str, Any]:
    """The newest checkpoint, once all is signed."""

    def all_of_it() -> Any:
        answer = client.get(f"{AUDIT}/checkpoint")
        return answer.is_success and answer.json()["unsigned"] == 0 and answer.json()

    return wait_until(all_of_it, "all is signed")


def proved(proof: Any, keys: list[str], folder: Path) -> str:
    """What the example says of a proof."""
    (folder / "proof.json").write_text(json.dumps(proof))
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said):
        patched.setattr(sys, "argv", [str(CHECK), str(folder / "proof.json"), *keys])
        with pytest.raises((SystemExit, InvalidSignature, IndexError)) as end:
            runpy.run_path(str(CHECK), run_name="__main__")
    ended_well = isinstance(end.value, SystemExit) and end.value.code is None
    return said.getvalue() if ended_well else f"it ends with {end.value!r}"


# By HTTP


def test_what_the_product_writes_is_signed_and_is_as_it_was_signed(admin: TestClient):
    for key in ("one", "two"):
        admin.post("/api/v1/tasks", json={"name": "t", "project": "x"}, headers={"Idempotency-Key": key})
    submitted(admin)
    agent = Agent(admin)
    [claim] = agent.exchange()["claims"]
    agent.exchange(reports=[agent.report(claim)])
    checkpoint = signed(admin)
    report = answered(admin.post(VERIFY, json={"kept": [checkpoint["note"]]}))
    assert report["findings"] == []
    assert (report["signed"], report["unsigned"], report["kept"]) == (checkpoint["size"], 0, 1)
    assert report["contents"] > 0


def test_a_checkpoint_says_what_is_signed_and_can_be_asked_for_again(shared_client: TestClient):
    client = shared_client
    made(client)
    first = signed(client)
    made(client)
    second = signed(client)
    assert second["size"] > first["size"]
    assert (first["origin"], first["error"]) == (second["origin"], None)
    assert answered(client.get(f"{AUDIT}/checkpoint", params={"size": first["size"]}))["note"] == first["note"]
    for size, status in ((10**9, 409), (0, 422)):
        answered(client.get(f"{AUDIT}/checkpoint", params={"size": size}), status)


def test_what_is_signed_while_somebody_asks_is_not_taken_for_what_the_answer_covers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    made(client)
    first = signed(client)
    note_of = proofs.note_of

    def and_more(*asked: Any) -> str:
        note = note_of(*asked)
        made(client)
        wait_until(lambda: note_of(*asked) != note, "the next is signed")
        return note

    monkeypatch.setattr("api.routes.audit.proofs.note_of", and_more)
    told = answered(client.get(f"{AUDIT}/checkpoint"))
    assert (told["size"], told["unsigned"] > 0) == (first["size"], True)


def test_the_example_checks_proofs_that_it_knows_only_the_key_of(client: TestClient, tmp_path: Path):
    task = made(client)
    first = signed(client)
    run_ = submitted(client)
    second = signed(client)
    keys = [one["key"] for one in answered(client.get(f"{AUDIT}/keys"))["items"]]
    # An event by its position, and one by its run.
    proof = answered(client.get(f"{AUDIT}/proof", params={"position": f"0-{first['size']}"}))
    assert f"among {second['size']} events is [0,{first['size']}," in proved(proof, keys, tmp_path)
    assert task["id"] in proof["event"]
    of_run = answered(client.get(f"{AUDIT}/proof", params={"run_id": run_["id"], "run_version": 1}))
    assert "RunCreated" in proved(of_run, keys, tmp_path)
    # One in an older checkpoint, and that the newer goes on from it.
    older = answered(client.get(f"{AUDIT}/proof", params={"position": "0-1", "size": first["size"]}))
    assert f"among {first['size']} events" in proved(older, keys, tmp_path)
    growth = answered(client.get(f"{AUDIT}/consistency", params={"first": first["size"]}))
    assert f"{second['size']} events go on from {first['size']}" in proved(growth, keys, tmp_path)
    wrong = [
        (proof | {"event": proof["event"].replace("task", "tusk")}, keys),
        (proof | {"path": proof["path"][::-1]}, keys),
        (proof | {"path": [*proof["path"], proof["path"][0]]}, keys),
        (proof | {"checkpoint": second["note"].replace(f"\n{second['size']}\n", f"\n{second['size'] + 1}\n")}, keys),
        (proof, [str(Keyring(tmp_path / "another.key")().public)]),
        (growth | {"first": second["note"]}, keys),
        (growth | {"path": growth["path"][1:]}, keys),
    ]
    for lie, trusted in wrong:
        assert proved(lie, trusted, tmp_path).startswith("it ends with")


def test_the_example_is_short():
    assert len(CHECK.read_text().splitlines()) <= 50


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("proof", 422),
        ("proof?position=0-1&run_id=" + 32 * "0", 422),
        ("proof?position=x", 422),
        ("proof?run_version=3", 422),
        ("proof?position=0-999999999", 409),
        (f"proof?run_id={32 * '0'}&run_version=3", 409),
        ("consistency?first=999999999", 409),
        ("consistency?first=0", 422),
    ],
)
def test_there_is_no_proof_of_what_is_not_there(shared_client: TestClient, path: str, status: int):
    signed(shared_client)
    answered(shared_client.get(f"{AUDIT}/{path}"), status)


def test_only_the_admin_verifies_and_signs(shared_client: TestClient):
    for path in ("checkpoint", "verify"):
        answered(shared_client.post(f"/api/v1/admin/audit/{path}", json={}), 403)


def test_the_admin_may_have_it_signed_now(admin: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch):
    services.sealer.stop()
    made(admin)
    assert answered(admin.post("/api/v1/admin/audit/checkpoint"))["unsigned"] == 0
    made(admin)
    monkeypatch.setattr(services.sealer._seals, "_signer", Keyring(services.settings.data / "none", make=False))
    assert "cannot be read" in answered(admin.post("/api/v1/admin/audit/checkpoint"), 409)["detail"]


def test_what_cannot_be_verified_is_said(shared_admin: TestClient, monkeypatch: pytest.MonkeyPatch):
    admin, app = shared_admin, cast(Any, shared_admin.app)
    services: Services = app.state.services
    assert "is no checkpoint" in answered(admin.post(VERIFY, json={"kept": ["x"]}), 422)["detail"]
    assert "is no key" in answered(admin.post(VERIFY, json={"keys": ["x"]}), 422)["detail"]
    with services.sealer.verifying():
        assert "already" in answered(admin.post(VERIFY, json={}), 409)["detail"]

    def ends(*arguments: Any, **options: Any) -> None:
        raise Stopped("the server ends")

    monkeypatch.setattr("api.routes.audit.verify", ends)
    assert "the server ends" in answered(admin.post(VERIFY, json={}), 503)["detail"].lower()


def test_a_verification_stops_when_the_server_does(admin: TestClient, services: Services):
    signed(admin)
    services.closing.set()
    answered(admin.post(VERIFY, json={}), 503)


def test_the_key_of_a_setting_signs(start: Callable[..., TestClient], tmp_path: Path):
    key = Keyring(tmp_path / "mine")().public
    client = start(audit_key=str(tmp_path / "mine"))
    signed(client)
    assert [one["key"] for one in answered(client.get(f"{AUDIT}/keys"))["items"]] == [str(key)]
    assert not (tmp_path / "data" / "audit.key").exists()


# As a command


@pytest.mark.parametrize("words", [[], ["verify"], ["checkpoint"], ["proof"], ["keys"]])
def test_help_says_what_the_exit_codes_mean(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        run(["audit", *words, "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "exit codes: 0 done" in out
    assert ("3 the log is not as it was signed" in out) == (words == ["verify"])


@pytest.mark.parametrize("words", [[], ["proof"], ["proof", "0-1", "--from", "4"], ["keys", "x"]])
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        run(["audit", *words])
    assert end.value.code == 2


def written_by(client: Any) -> None:
    made(client)
    submitted(client)
    signed(client)


@pytest.mark.parametrize("held", [True, False], ids=["through the server", "without a server"])
def test_the_commands(
    command: Command, settings: Callable[..., Settings], request: pytest.FixtureRequest, tmp_path: Path, held: bool
):
    client: Any = request.getfixturevalue("listening") if held else request.getfixturevalue("start")()
    written_by(client)
    if not held:
        client.__exit__(None, None, None)

    checkpoint = command("audit", "checkpoint")
    assert (checkpoint.code, checkpoint.err) == (0, "")
    (tmp_path / "kept").write_text(checkpoint.out)
    keys = command("audit", "keys").out
    (tmp_path / "keys").write_text(keys)
    size = int(checkpoint.out.splitlines()[1])

    verified = command("audit", "verify", "--checkpoint", str(tmp_path / "kept"), "--keys", str(tmp_path / "keys"))
    assert verified.code == 0
    assert verified.out.startswith(f"ok     {size} events, ")
    assert f"signed: {size}\n       not yet signed: 0\n" in verified.out
    assert "kept elsewhere: 1" in verified.out
    told = json.loads(command("audit", "verify", "--json").out)
    assert (told["ok"], told["signed"], told["findings"]) == (True, size, [])

    trusted = [keys.split()[0]]
    proof = json.loads(command("audit", "proof", str(size)).out)
    assert f"among {size} events" in proved(proof, trusted, tmp_path)
    [run_id] = {word.strip('"') for word in proof["event"].split(",") if len(word.strip('"')) == 32}
    of_run = json.loads(command("audit", "proof", f"{run_id}@1", "--to", str(size)).out)
    assert "RunCreated" in proved(of_run, trusted, tmp_path)
    growth = json.loads(command("audit", "proof", "--from", str(tmp_path / "kept")).out)
    assert f"{size} events go on from {size}" in proved(growth, trusted, tmp_path)

    for words, said in (
        (["proof", "0-999"], "is not in the checkpoint of"),
        (["proof", "x"], "give a position such as 0-318"),
        (["proof", "x@y"], "give a position such as 0-318"),
        (["proof", "--from", "999"], "no checkpoint of size 999"),
        (["proof", "--from", str(tmp_path / "keys")], "is no checkpoint"),
        (["proof", "--from", str(tmp_path / "nothing")], "cannot be read"),
        (["verify", "--checkpoint", str(tmp_path / "keys")], "is no checkpoint"),
        (["verify", "--keys", str(tmp_path / "kept")], "is no key"),
    ):
        failed = command("audit", *words)
        assert (failed.code, failed.out, failed.err.count("\n")) == (1, "", 1), words
        assert said in failed.err.lower(), words


@pytest.mark.parametrize("held", [True, False], ids=["through the server", "without a server"])
def test_a_changed_event_is_named_and_the_exit_code_says_so(
    command: Command, settings: Callable[..., Settings], request: pytest.FixtureRequest, held: bool
):
    client: Any = request.getfixturevalue("listening") if held else request.getfixturevalue("start")()
    task = made(client)
    position = signed(client)["size"]
    if not held:
        client.__exit__(None, None, None)
    with closing(sqlite3.connect(settings().db.removeprefix("sqlite:///"), timeout=20)) as database, database:
        for table in APPEND_ONLY:
            database.execute(f"DROP TRIGGER {table}_never_changes")
        database.execute("UPDATE event SET leaf = ? WHERE position = ?", (bytes(WIDTH), position))
    said = command("audit", "verify")
    assert said.code == 3
    assert said.out.startswith(f"wrong  0-{position} task-{task['id']}: version 1 of its stream: its hash was changed")
    assert json.loads(command("audit", "verify", "--json").out)["ok"] is False


def test_a_new_key_is_put_in_the_place_of_the_old_one(command: Command, listening: httpx2.Client):
    signed(listening)
    [old, new] = command("audit", "keys", "--rotate").out.splitlines()
    assert new.endswith(" from now on")
    made(listening)
    signed(listening)
    known = command("audit", "keys").out.splitlines()
    assert [line.split()[0] for line in known] == [old.split()[0], new.split()[0]]
    assert command("audit", "verify").code == 0


def test_a_key_of_a_setting_is_not_ours_to_replace(
    command: Command, start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
):
    client = start()
    signed(client)
    client.__exit__(None, None, None)
    monkeypatch.setenv("FOLDLINE_SERVER_AUDIT_KEY", "x")
    assert "give that another value" in command("audit", "keys", "--rotate").err


def test_events_that_nobody_signed_are_counted(
    command: Command, start: Callable[..., TestClient], settings: Callable[..., Settings]
):
    client = start()
    signed(client)
    app: Any = client.app
    app.state.services.sealer.stop()
    made(client)
    client.__exit__(None, None, None)
    assert "not yet signed: 1\n" in command("audit", "verify").out
    (settings().data / "audit.key").unlink()
    looked = command("audit", "checkpoint")
    assert (looked.code, looked.err) == (0, "not yet signed: 1\n")
    assert not (settings().data / "audit.key").exists()
