"""Every store there is, and how one is opened again, as another process would."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from eventstore.sql import SqlStore, open_store
from eventstore.store import Store
from tests.eventstore.sharded import store_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store of each kind."""
    with closing(store_of(request, request.param, 1)) as store:
        yield store


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a database that does not exist yet, or is empty."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def opened() -> Iterator[Callable[[str], SqlStore]]:
    """Opens stores, and closes at the end those that are still open."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(open_store(url)))


@pytest.fixture
def sql_store(database_url: str, opened: Callable[[str], SqlStore]) -> SqlStore:
    """An empty store of each kind that has a database under it."""
    return opened(database_url)
