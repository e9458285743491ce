"""The write side on every store there is: nothing in it may depend on which one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from eventstore.appending import Batch
from eventstore.memory import MemoryStore
from eventstore.sql import SqlStore, open_store
from eventstore.store import Store
from tests.controller.server import Clock, Server


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        with closing(MemoryStore()) as store:
            yield store
    else:
        url = request.getfixturevalue("emptied_postgres_url" if request.param == "postgres" else "sqlite_url")
        with closing(open_store(url)) as store:
            yield store


@pytest.fixture
def opened() -> Iterator[Callable[[str], SqlStore]]:
    """Opens stores, and closes them at the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(open_store(url)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Server]:
    """In memory, where time passes only when the test says so."""
    with closing(MemoryStore(clock=clock.database)) as store:
        yield Server(store)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """The batches that have written something, as they become durable, on whichever store."""
    seen: list[Batch] = []
    confirm = Batch.confirm

    def noted(batch: Batch) -> None:
        if batch.added:
            seen.append(batch)
        confirm(batch)

    monkeypatch.setattr(Batch, "confirm", noted)
    return seen
