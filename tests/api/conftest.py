"""What the tests of the API ask for: a server in this process, or one that listens, and a record of its answers."""

import json
import pkgutil
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.testclient import TestClient

import api.commands.serve
import api.routes
from api.__main__ import run
from api.app import create_app
from api.documented import ProblemBody
from api.services import Services, open_services
from api.serving import Server
from api.settings import Settings
from tests.support.waiting import wait_until

HERE = "http://127.0.0.1"  # under another name the server would want a token
EVERY_STATUS = "test_zz_every_status.py"


class Answered:
    """Which operations have answered with which status, over the whole test run.

    Each answer is compared with the model that describes it: what is described and what is told never part.
    """

    def __init__(self) -> None:
        self.pairs: set[tuple[str, int]] = set()
        self._operations: list[tuple[str, re.Pattern[str], str]] = []
        self._models: dict[str, Any] = {}

    def know(self, app: FastAPI) -> None:
        """Learn the addresses of the API, which are the same for every app."""
        if self._operations:
            return
        for template, methods in app.openapi()["paths"].items():
            address = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))
            for method, operation in methods.items():
                self._operations.append((method.upper(), address, operation["operationId"]))
        for module in pkgutil.iter_modules(api.routes.__path__, "api.routes."):
            for route in import_module(module.name).router.routes:
                self._models[route.name] = route.response_model

    def see(self, response: httpx2.Response) -> None:
        # The path as it was sent: what a client quotes, such as a slash in a name, stays one part of it.
        path = response.request.url.raw_path.decode().partition("?")[0]
        for method, address, operation in self._operations:
            if method == response.request.method and address.fullmatch(path):
                self.pairs.add((operation, response.status_code))
                self._compare(operation, response)

    def _compare(self, operation: str, response: httpx2.Response) -> None:
        model, media_type = self._models.get(operation), response.headers.get("Content-Type", "")
        if model is not None and response.is_success and media_type.startswith("application/json"):
            found = json.loads(response.read())
            told = TypeAdapter(model).validate_python(found).model_dump(mode="json", exclude_unset=True)
            assert told == found, f"{operation} answers what its model does not describe"
        elif response.is_error and response.request.method != "HEAD":
            assert media_type == "application/problem+json", f"{operation} says no in its own way"
            told = ProblemBody.model_validate_json(response.read())
            assert told.status == response.status_code
            assert told.detail.endswith((".", "?")), f"no sentence: {told.detail}"


@pytest.fixture(scope="session")
def answered() -> Answered:
    return Answered()


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a server in this test's folder; keywords replace them, such as `lease=0.5`."""
    return partial(settings_in, tmp_path)


def settings_in(folder: Path, **changed: Any) -> Settings:
    usual = {"db": f"sqlite:///{folder / 'foldline.db'}", "data": folder / "data"}
    return Settings(**{**usual, **changed})


def client_of(settings: Settings, answered: Answered) -> TestClient:
    """A client of a server in this process, which begins and ends with the client's `with` block."""
    app = create_app(open_services(settings))
    answered.know(app)
    client = TestClient(app, base_url=HERE)
    client.event_hooks = {"response": [answered.see]}
    return client


@pytest.fixture
def start(settings: Callable[..., Settings], answered: Answered) -> Iterator[Callable[..., TestClient]]:
    """Start a server in this process, with settings of your own; one at a time, for the database has one owner."""
    with ExitStack() as running:
        yield lambda **changed: running.enter_context(client_of(settings(**changed), answered))


@pytest.fixture(scope="session")
def shared_client(tmp_path_factory: pytest.TempPathFactory, answered: Answered) -> Iterator[TestClient]:
    """A client of one server for all tests that do not mind what others have left there: much is made only once."""
    with client_of(settings_in(tmp_path_factory.mktemp("shared")), answered) as client:
        yield client


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    """A client of a fresh server."""
    return start()


@pytest.fixture
def services(client: TestClient) -> Services:
    """What the routes of `client` work with."""
    app: Any = client.app
    return app.state.services


@pytest.fixture
def listening(settings: Callable[..., Settings], answered: Answered) -> Iterator[httpx2.Client]:
    """A client of a fresh server that listens on a real port: for answers that are read while they are written."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(open_services(settings(port=listener.getsockname()[1])))
    answered.know(app)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the server listens")
        port = listener.getsockname()[1]
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [answered.see]}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", event_hooks=hooks, timeout=20) as client:
            yield client
    finally:
        server.end()
        thread.join(20)
        assert not thread.is_alive(), "the server ends although somebody listens"


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Command = Callable[..., Said]


@pytest.fixture
def place(settings: Callable[..., Settings]) -> list[str]:
    """The flags that say where the database and the data are."""
    usual = settings()
    return ["--db", usual.db, "--data", str(usual.data)]


@pytest.fixture
def command(place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `foldline-server ...` in this process, on the test's database unless other flags are given."""
    monkeypatch.setattr(api.commands.serve, "report_to_stderr", lambda: None)

    def ran(*words: str, at: list[str] = place) -> Said:
        capsys.readouterr()
        code = run([*words, *at])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return ran


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The look at every status comes last, and only where all tests of the API run before it."""
    last = [item for item in items if item.path.name == EVERY_STATUS]
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    chosen = {item.path.name for item in items if item.path.parent == Path(__file__).parent}
    picked = config.option.keyword or any("::" in argument for argument in config.args)
    items[:] = [item for item in items if item not in last]
    if here <= chosen and not picked:
        items.extend(last)
    else:
        config.hook.pytest_deselected(items=last)
