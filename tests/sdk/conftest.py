"""A canned server, clients of it that know no patience beyond a test's, and a process that is no task."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline import Dataset, scripts
from foldline import client as client_module
from foldline.client import Client
from tests.sdk.canned import Canned
from tests.sdk.made_datasets import FILES, finished, written
from tests.sdk.settling import Onlooker
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
    with Onlooker() as client:
        yield client


# Datasets, for tests that have a fixture `project`


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """It holds FILES."""
    return written(tmp_path / "data", FILES)


@pytest.fixture
def dataset(project: str, folder: Path) -> Dataset:
    """Version 1.0.0 of `numbers` in a project of its own, final."""
    return finished(project, folder)


@pytest.fixture(scope="session")
def known(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a final dataset that holds FILES, for all tests that leave it as it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FOLDLINE_URL", server_url)
        patched.setattr(client_module, "_shared", {})
        made = finished("known", written(tmp_path_factory.mktemp("known"), FILES), "known").id
        client_module.close_shared()
    return made


@pytest.fixture
def common(server: Client, known: str) -> Dataset:
    """That dataset."""
    return Dataset.get(dataset_id=known)
