"""Every store that has a database under it, and what is needed to fill and follow one."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from eventstore.sql import SqlStore, open_store
from projections.runner import Runner
from tests.projections.world import World


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, on SQLite and on PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with closing(open_store(url)) as store:
        yield store


@pytest.fixture
def world(store: SqlStore) -> World:
    return World(store)


@pytest.fixture
def runner(store: SqlStore) -> Runner:
    """Not started: a test says when it catches up."""
    return Runner(store)
