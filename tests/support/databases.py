"""Databases for tests: a fresh one each, on SQLite or on a real PostgreSQL.

PostgreSQL is the server that TEST_POSTGRES_URL names, else one from the wheel, started when a test first asks for it.
TEST_POSTGRES_FSYNC=on has the wheel's server wait for the disk as a real one does.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.throwaway_postgres import throwaway_postgres, wheel_programs


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """`sqlite:////…`, a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'foldline.db'}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server on which tests may create databases, as `postgresql://…`."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    programs = wheel_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: set TEST_POSTGRES_URL, or install the development packages (make setup)")
    with throwaway_postgres(programs, fsync=os.environ.get("TEST_POSTGRES_FSYNC") == "on") as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh, empty database, as `postgresql://…`; dropped afterwards, whoever is still connected."""
    name = Identifier(database := f"foldline_test_{uuid4().hex[:12]}")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    try:
        yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{database}"))
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL, before `-m` selects. A fixture asked for by name at run time marks its own param."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
