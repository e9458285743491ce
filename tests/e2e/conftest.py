"""Houses of real processes, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server on SQLite, without agents."""
    with House(tmp_path) as house:
        house.serve()
        yield house


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """The same on each database."""
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    with House(tmp_path, database) as house:
        house.serve()
        yield house
