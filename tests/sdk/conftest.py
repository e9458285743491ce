"""A canned server, clients of it that know no patience beyond a test's, and a process that is no task."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline import client as client_module
from foldline import scripts
from foldline.client import Client
from tests.sdk.canned import Canned
from tests.support.house import House

TASK_VARIABLES = (
    "FOLDLINE_URL",
    "FOLDLINE_TOKEN",
    "FOLDLINE_TASK_ID",
    "FOLDLINE_ATTEMPT",
    "FOLDLINE_SESSION",
    "FOLDLINE_RUN_ID",
    "FOLDLINE_STEP",
    "FOLDLINE_MAIN_FILE",
    "FOLDLINE_OWN_TASK",
)


@pytest.fixture(autouse=True)
def _no_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whatever started the tests, they begin outside any task, with a cache of their own."""
    for name in TASK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FOLDLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(client_module, "_shared", {})
    monkeypatch.setattr(scripts, "_snapshots", {})
    yield
    client_module.close_shared()


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """The server of FOLDLINE_URL."""
    server = Canned()
    monkeypatch.setenv("FOLDLINE_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def client(canned: Canned) -> Iterator[Client]:
    with Client(canned.url, "secret-token", patience=20) as client:
        yield client


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with House(tmp_path_factory.mktemp("server")) as house:
        house.serve()
        yield house.url


@pytest.fixture
def server(server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the real server, which is that of FOLDLINE_URL; tests share it and keep to projects of their own."""
    monkeypatch.setenv("FOLDLINE_URL", server_url)
    with Client() as client:
        yield client
