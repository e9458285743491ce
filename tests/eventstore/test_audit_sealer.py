"""The thread that signs while a server runs, alone and beside those of other servers on the same database."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore.audit import sealer as timing
from eventstore.audit.errors import Busy
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import MOST_UNSIGNED, Sealer
from eventstore.audit.tree import StoredTree
from eventstore.audit.verification import verify
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent, append
from tests.support.waiting import wait_until

NEVER = 3_600.0  # seconds


def grow(store: SqlStore, events: int = 1) -> None:
    append(store, [NewEvent(stream="task-1", type="Happened", data="{}")] * events).result()


def sizes(store: SqlStore) -> list[int]:
    return [one.size for one in StoredTree(store.database).checkpoints(0)]


@contextmanager
def running(store: SqlStore, key: Path, within: float = 0.05) -> Iterator[Sealer]:
    sealer = Sealer(store, Keyring(key), within=within)
    sealer.start()
    try:
        yield sealer
    finally:
        sealer.stop()


@pytest.fixture
def store(sqlite_url: str, opened: Callable[[str], SqlStore]) -> SqlStore:
    return opened(sqlite_url)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "audit.key"


def test_what_is_new_is_signed_soon(store: SqlStore, key: Path):
    grow(store, 3)  # before it starts
    with running(store, key):
        wait_until(lambda: sizes(store) == [3], "the first checkpoint")
        grow(store, 2)
        wait_until(lambda: sizes(store) == [3, 5], "the second checkpoint")
    report = verify(store)
    assert (report.findings, report.signed) == ([], 5)


def test_a_thousand_events_do_not_wait(store: SqlStore, key: Path):
    with running(store, key, within=NEVER):
        grow(store, MOST_UNSIGNED - 1)
        assert sizes(store) == []
        grow(store)
        wait_until(lambda: sizes(store) == [MOST_UNSIGNED], "a checkpoint of a thousand events")


def test_a_server_that_ends_signs_its_last_events(store: SqlStore, key: Path):
    with running(store, key, within=NEVER):
        grow(store, 2)
        assert sizes(store) == []
    assert sizes(store) == [2]


def test_who_cannot_wait_has_it_signed_now(store: SqlStore, key: Path):
    grow(store, 2)
    Sealer(store, Keyring(key)).seal()
    assert sizes(store) == [2]


def test_appends_do_not_wait_for_a_signature(store: SqlStore, tmp_path: Path):
    signing, may_go_on = threading.Event(), threading.Event()
    keyring = Keyring(tmp_path / "audit.key")

    def slow() -> Any:
        signing.set()
        assert may_go_on.wait(20)
        return keyring()

    sealer = Sealer(store, slow, within=0)
    sealer.start()
    try:
        grow(store)
        assert signing.wait(20)
        for _ in range(10):
            grow(store)
        assert (store.head(), sizes(store)) == (11, [])
    finally:
        may_go_on.set()
        sealer.stop()
    assert sizes(store)[-1] == 11


def test_what_keeps_it_from_signing_is_said_and_tried_again(
    store: SqlStore, key: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(timing, "TROUBLE", 0.02)
    key.write_text("no key")
    with running(store, key) as sealer, caplog.at_level(logging.CRITICAL, "eventstore"):
        grow(store)
        wait_until(lambda: sealer.error, "the error is told")
        assert "the audit key cannot be used" in str(sealer.error)
        key.unlink()
        wait_until(lambda: sizes(store) == [1], "it is signed after all")
        wait_until(lambda: sealer.error is None, "nothing is wrong any more")


def test_one_verifies_at_a_time(store: SqlStore, key: Path):
    sealer = Sealer(store, Keyring(key))
    with sealer.verifying(), pytest.raises(Busy, match="already"), sealer.verifying():
        pass
    with sealer.verifying():
        pass


def test_a_log_that_grows_while_it_is_verified_is_as_it_was_signed(sql_store: SqlStore, key: Path):
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            grow(sql_store, 3)

    with running(sql_store, key, within=0.005), ThreadPoolExecutor(1) as other:
        writing = other.submit(write)
        try:
            for _ in range(6):
                before = len(sizes(sql_store))
                assert verify(sql_store).findings == []
                wait_until(lambda before=before: len(sizes(sql_store)) > before, "it is signed meanwhile")
        finally:
            ended.set()
        writing.result(20)


KILLED = """
import sys, threading
from pathlib import Path
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import Sealer
from eventstore.sql import open_store
from eventstore.store import NewEvent, append

store = open_store(sys.argv[1])
Sealer(store, Keyring(Path(sys.argv[2])), within=0.005).start()
for number in range(1_000_000):
    append(store, [NewEvent(stream=f"task-{number}", type="Happened", data="{}")] * 5).result()
    if number == 20:
        print("ready", flush=True)
"""


def test_a_server_that_was_killed_while_it_signed_leaves_what_the_next_one_goes_on_with(sqlite_url: str, key: Path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, sqlite_url, str(key)], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    with ExitStack() as stack:
        store = open_store(sqlite_url)
        stack.callback(store.close)
        before = sizes(store)
        Sealer(store, Keyring(key)).seal()
        report = verify(store)
        assert (report.findings, report.unsigned, len(report.keys)) == ([], 0, 1)
        assert sizes(store)[: len(before)] == before
        assert store.head() > 100


def test_of_two_servers_one_signs_and_the_other_takes_over(
    postgres_url: str, opened: Callable[[str], SqlStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(timing, "STANDBY", 0.3)
    stores = [opened(postgres_url), opened(postgres_url)]
    with ExitStack() as first:
        first.enter_context(running(stores[0], tmp_path / "one.key"))
        with running(stores[1], tmp_path / "two.key"):
            for number in range(60):
                grow(stores[number % 2], 5)
            wait_until(lambda: sizes(stores[0])[-1:] == [300], "all is signed")
            first.close()
            grow(stores[1], 5)
            wait_until(lambda: sizes(stores[0])[-1] == 305, "the other one goes on")
    report = verify(stores[0])
    assert (report.findings, report.signed) == ([], 305)
    chain = [(one.start, one.size) for one in StoredTree(stores[0].database).checkpoints(0)]
    assert [start for start, _ in chain] == [0, *(size for _, size in chain[:-1])]
