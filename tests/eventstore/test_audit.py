"""Checkpoints, keys and proofs: how they look, and that they hold."""

import json
import os
import stat
from base64 import b64decode, b64encode
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import text

from eventstore.audit import proofs
from eventstore.audit.errors import Altered, Malformed, NoKey, NotSigned
from eventstore.audit.keys import Keyring, public_key_from, public_keys_from, signer_from, signer_of
from eventstore.audit.notes import Checkpoint, Signature, read, written
from eventstore.audit.seals import Beaten
from eventstore.audit.tree import StoredTree, unpacked
from eventstore.leaf import leaf_of
from eventstore.merkle import WIDTH, is_consistent, is_included, root_of
from eventstore.sql import SqlStore, migrate, open_store
from eventstore.store import NewEvent, append
from eventstore.versions import REVISIONS
from tests.eventstore.audited import RUN, Log

ROOT = sha256(b"root").digest()
ORIGIN = "foldline/00112233445566778899aabbccddeeff/0"
AT = 1_800_000_000_000_001
CHECKPOINT = Checkpoint(ORIGIN, 0, 318, ROOT, AT)


@pytest.fixture
def log(sqlite_url: str, opened: Any, tmp_path: Path) -> Log:
    return Log(opened(sqlite_url), tmp_path)


def seed() -> str:
    return b64encode(os.urandom(32)).decode()


# Notes


def test_a_checkpoint_is_written_as_other_logs_write_theirs():
    key = signer_from(b64encode(bytes(range(32))).decode())
    text, signature = key.sign(CHECKPOINT).split("\n\n")
    assert text.splitlines() == [ORIGIN, "318", b64encode(ROOT).decode(), "time 2027-01-15T08:00:00.000001Z"]
    dash, name, value = signature.strip().split(" ")
    # The id of a key and what is signed are those of C2SP's signed notes: the text with its last newline.
    raw = key.public.raw
    assert (dash, name) == ("—", "foldline")
    assert b64decode(value)[:4] == sha256(b"foldline\n\x01" + raw).digest()[:4]
    Ed25519PublicKey.from_public_bytes(raw).verify(b64decode(value)[4:], f"{text}\n".encode())


def test_a_checkpoint_is_read_as_it_was_written():
    signature = Signature("foldline", b"1234", b"x" * 64)
    note = written(CHECKPOINT, [signature, Signature("witness", b"5678", b"y" * 64)])
    assert read(note) == (CHECKPOINT, [signature, Signature("witness", b"5678", b"y" * 64)])
    assert read(note.replace("\n", "\r\n")) == read(note)


NOTE = written(CHECKPOINT, [Signature("foldline", b"1234", b"x" * 64)])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "x" * 200,
        NOTE.replace("318", "0318"),
        NOTE.replace("318", "0"),
        NOTE.replace("foldline/00", "other/00"),
        NOTE.replace("time 2027", "time 2027-"),
        NOTE.replace("000001Z", "1Z"),
        NOTE.replace("T08", "T28"),
        NOTE.replace("\n\n", "\nmore\n\n"),
        NOTE.replace("— foldline ", "- foldline "),
        NOTE.replace("— foldline ", "— foldline !"),
        NOTE.replace("— foldline M", "— foldline "),
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str):
    with pytest.raises(Malformed):
        read(note)


# Keys


def test_a_key_is_told_and_read_again():
    key = signer_from(seed()).public
    assert public_key_from(str(key)) == key
    assert public_keys_from([f"{key} since 2026", "", str(key)]) == [key, key]


@pytest.mark.parametrize("change", [lambda key: key[:-6], lambda key: key.replace("foldline", "x"), lambda key: "key"])
def test_what_is_no_key_is_refused(change: Any):
    with pytest.raises(Malformed, match="audit keys"):
        public_key_from(change(str(signer_from(seed()).public)))


def test_a_signature_holds_for_its_checkpoint_and_key_alone():
    key, other = signer_from(seed()), signer_from(seed())
    note = read(key.sign(CHECKPOINT))
    assert signer_of(note, [other.public, key.public]) == key.public
    assert signer_of(note, [other.public]) is None
    larger = note._replace(checkpoint=CHECKPOINT._replace(size=319))
    assert signer_of(larger, [key.public]) is None
    # A witness that has signed it too does no harm.
    assert signer_of(note._replace(signatures=[Signature("w", b"1234", b""), *note.signatures]), [key.public])


def test_the_first_look_makes_a_key_that_only_its_owner_can_read(tmp_path: Path):
    file = tmp_path / "data" / "audit.key"
    first = Keyring(file)
    assert not first.there
    key = first().public
    assert (stat.S_IMODE(file.stat().st_mode), Keyring(file)().public, first.there) == (0o600, key, True)
    assert [path.name for path in file.parent.iterdir()] == ["audit.key"]


def test_a_key_that_was_replaced_is_used_from_then_on(tmp_path: Path):
    running = Keyring(tmp_path / "audit.key")
    before = running().public
    after = Keyring(tmp_path / "audit.key").rotate().public
    assert before != after
    assert running().public == after


@pytest.mark.parametrize("form", ["base64", "pem", "a file"])
def test_a_key_of_ones_own(tmp_path: Path, form: str):
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    setting = {"base64": b64encode(private.private_bytes_raw()).decode(), "pem": pem, "a file": str(tmp_path / "k")}
    (tmp_path / "k").write_text(pem)
    keyring = Keyring(tmp_path / "audit.key", setting[form])
    assert keyring().public.raw == private.public_key().public_bytes_raw()
    assert not (tmp_path / "audit.key").exists()
    with pytest.raises(NoKey, match="FOLDLINE_SERVER_AUDIT_KEY"):
        keyring.rotate()


@pytest.mark.parametrize("secret", ["", "short", b64encode(bytes(31)).decode(), "-----BEGIN PRIVATE KEY-----\nx"])
def test_what_is_no_key_signs_nothing(tmp_path: Path, secret: str):
    (tmp_path / "audit.key").write_text(secret)
    with pytest.raises(NoKey, match="neither a PEM nor base64"):
        Keyring(tmp_path / "audit.key")()


def test_a_key_of_another_kind_is_refused():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(NoKey, match="Ed25519"):
        signer_from(pem)


def test_a_key_that_is_not_there_is_not_made_for_who_only_looks(tmp_path: Path):
    with pytest.raises(NoKey, match="cannot be read"):
        Keyring(tmp_path / "audit.key", make=False)()
    with pytest.raises(NoKey, match="cannot be read"):
        Keyring(tmp_path / "audit.key", str(tmp_path / "elsewhere"))()


# Seals


def test_a_checkpoint_signs_the_tree_of_the_hashes_in_the_log(sql_store: SqlStore, tmp_path: Path):
    log = Log(sql_store, tmp_path)
    leaves = b"".join(event.leaf for event in sql_store.read())
    tree = StoredTree(sql_store.database)
    stored = list(tree.checkpoints(0))
    assert [(one.start, one.size) for one in stored] == [(0, 4), (4, 8), (8, 12)]
    for one in stored:
        told = read(one.note).checkpoint
        assert (told.size, told.root) == (one.size, root_of(leaves[: one.size * WIDTH]))
        assert told.origin == f"foldline/{leaves[:16].hex()}/0"
        assert one.leaves == leaves[one.start * WIDTH : one.size * WIDTH]
        assert unpacked(one.streams) == [event.stream for event in sql_store.read()[one.start : one.size]]
    [(key, since)] = tree.signers()
    assert signer_of(read(stored[0].note), [public_key_from(key)])
    assert since >= AT // 10
    assert log.seals.seal() is False


def test_a_log_from_before_there_was_an_audit_is_signed_as_it_is(database_url: str, tmp_path: Path):
    with closing(open_store(database_url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}")] * 3).result()
        with store.database.writing() as connection:
            for table in ("checkpoint", "tree_node", "signer", "snapshot"):
                connection.execute(text(f"DROP TABLE {table}"))
            connection.execute(text("UPDATE eventstore_version SET version_num = '0002'"))
    assert migrate(database_url) == ("0002", REVISIONS[-1])
    with closing(open_store(database_url)) as store:
        log = Log(store, tmp_path)
        report = log.verify()
        assert (report.findings, report.signed, report.checkpoints) == ([], 15, 3)
        log.unguard()  # which fails where a guard is missing


def test_a_log_without_events_has_no_checkpoint(sqlite_url: str, opened: Any, tmp_path: Path):
    log = Log(opened(sqlite_url), tmp_path, checkpoints=0)
    assert log.seals.seal() is False
    assert log.verify().findings == []
    with pytest.raises(NotSigned, match="no checkpoint of shard 0 yet"):
        proofs.inclusion(log.store.database, 1)


def test_a_long_log_is_signed_piece_by_piece(log: Log, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eventstore.audit.seals.MOST_AT_ONCE", 1_000)
    log.grow_to(3_500)
    assert [log.seals.seal() for _ in range(4)] == [True, True, True, False]
    assert log.seals.size(0) == 3_500
    report = log.verify()
    assert (report.findings, report.signed, report.checkpoints) == ([], 3_500, 7)


def test_each_shard_has_a_tree_of_its_own(sqlite_url: str, tmp_path: Path):
    store = open_store(sqlite_url, shards=2)
    try:
        log = Log(store, tmp_path, checkpoints=1)
        append(store, [NewEvent(stream="task-9", type="Happened", data="{}")] * 3, shard=1).result()
        assert log.seals.seal(1) is False
        notes = [read(log.seals.tree.last(shard) or "").checkpoint for shard in (0, 1)]
        assert [(note.shard, note.size, note.origin[-2:]) for note in notes] == [(0, 4, "/0"), (1, 3, "/1")]
        assert log.verify().findings == []
        assert proofs.inclusion(store.database, 2, shard=1)["position"] == "1-2"
    finally:
        store.close()


def test_a_server_that_starts_goes_on_where_the_last_one_was_killed(log: Log):
    log.grow_to(2_100)
    log.seal()
    log.grow()  # and nobody signs any more
    again = log.new_seals()
    assert again.seal() is False
    assert [row[0] for row in log.rows("SELECT start FROM checkpoint ORDER BY start")] == [0, 4, 8, 12, 2_100]
    assert log.verify().findings == []


def test_of_two_that_sign_one_makes_the_next_checkpoint(sql_store: SqlStore, tmp_path: Path):
    log = Log(sql_store, tmp_path)
    other = log.new_seals()
    other.seal()
    log.grow()
    log.seal()
    log.grow()
    with pytest.raises(Beaten):
        other.seal()
    other.forget(0)
    other.seal()
    report = log.verify()
    assert (report.findings, report.signed, report.checkpoints) == ([], 20, 5)


def test_nothing_is_signed_on_top_of_what_was_changed(log: Log):
    log.unguard()
    with (
        log.tampered("checkpoint", "leaves", bytes(4 * WIDTH), start=8),
        pytest.raises(Altered, match="not the one that was signed"),
    ):
        log.new_seals().seal()
    log.grow()
    with log.tampered("event", "position", 99, position=14), pytest.raises(Altered, match="missing or changed"):
        log.seals.seal()
    with log.tampered("checkpoint", "start", 12, start=8), pytest.raises(Altered, match="cannot be continued"):
        log.seals.seal()
    assert log.seal()


def test_a_new_key_signs_on_and_the_old_one_is_kept(log: Log):
    Keyring(log.key).rotate()
    log.grow()
    log.seal()
    report = log.verify()
    assert (report.findings, len(report.keys)) == ([], 2)
    assert len(StoredTree(log.store.database).signers()) == 2


def test_two_that_start_at_once_have_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The other one makes the file between our look and our making it."""
    file = tmp_path / "audit.key"
    other: list[Any] = []
    link = os.link

    def late(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "link", link)
        other.append(Keyring(file)().public)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert [Keyring(file)().public] == other


# Proofs


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("long")
    store = open_store(f"sqlite:///{folder / 'foldline.db'}")
    log = Log(store, folder)
    for size in (1_024, 2_050, 3_333):
        log.grow_to(size)
        log.seal()
    yield log
    store.close()


@pytest.mark.parametrize("position", [1, 12, 1_024, 1_025, 2_048, 3_333])
@pytest.mark.parametrize("size", [None, 2_050])
def test_an_event_is_proved_to_be_in_a_checkpoint(long_log: Log, position: int, size: int | None):
    database = long_log.store.database
    if size is not None and position > size:
        with pytest.raises(NotSigned, match="is not in the checkpoint of 2050 events"):
            proofs.inclusion(database, position, size=size)
        return
    proof: Any = json.loads(json.dumps(proofs.inclusion(database, position, size=size)))
    told = read(proof["checkpoint"]).checkpoint
    leaf = sha256(b"\x00" + proof["event"].encode()).digest()
    path = [bytes.fromhex(sibling) for sibling in proof["path"]]
    assert told.size == (size or 3_333)
    assert is_included(leaf, proof["index"], told.size, path, told.root)
    [event] = long_log.store.read(after=position - 1, limit=1)
    assert (proof["position"], leaf) == (f"0-{position}", leaf_of(event[:-1]))


@pytest.mark.parametrize(("first", "second"), [(4, 12), (8, None), (12, 2_050), (1_024, None), (3_333, None)])
def test_a_checkpoint_is_proved_to_go_on_from_another(long_log: Log, first: int, second: int | None):
    proof: Any = proofs.consistency(long_log.store.database, first, second=second)
    old, new = (read(proof[name]).checkpoint for name in ("first", "second"))
    assert (old.size, new.size) == (first, second or 3_333)
    path = [bytes.fromhex(sibling) for sibling in proof["path"]]
    assert is_consistent(old.size, old.root, new.size, new.root, path)


def test_there_is_no_proof_of_what_is_not_there(long_log: Log):
    database = long_log.store.database
    for position in (0, 3_334):
        with pytest.raises(NotSigned, match="is not in the checkpoint of 3333"):
            proofs.inclusion(database, position)
    for first in (5, 4_000):
        with pytest.raises(NotSigned, match=f"no checkpoint of size {first}"):
            proofs.consistency(database, first)
    with pytest.raises(NotSigned, match="swap them"):
        proofs.consistency(database, 12, second=8)


def test_an_event_is_found_by_its_run(long_log: Log):
    assert proofs.position_of(long_log.store.database, RUN, 3) == (0, 6)
    with pytest.raises(NotSigned, match="there is no event x@1"):
        proofs.position_of(long_log.store.database, "x", 1)


def test_a_changed_event_is_not_proved(log: Log):
    log.unguard()
    with log.tampered("event", "data", "{ }", position=6), pytest.raises(Altered, match="0-6 is not what was signed"):
        proofs.inclusion(log.store.database, 6)
    with log.tampered("checkpoint", "leaves", bytes(4 * WIDTH), start=8), pytest.raises(Altered):
        proofs.consistency(log.store.database, 8)
