"""Databases for tests: a fresh one each, on SQLite or on a real PostgreSQL.

PostgreSQL is the server that TEST_POSTGRES_URL names, else one from the wheel, started when a test first asks for it.
TEST_POSTGRES_FSYNC=on has the wheel's server wait for the disk as a real one does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    with _database(postgres_server, "template0") as url:
        yield url


@pytest.fixture(scope="session")
def _emptied_postgres(postgres_server: str) -> Iterator[str]:
    """A database that has the log's tables."""
    from eventstore.sql import open_store  # who needs no such database shall not wait for the import

    with _database(postgres_server, "template0") as url:
        open_store(url).close()
        yield url


@pytest.fixture
def emptied_postgres_url(_emptied_postgres: str) -> str:
    """As `postgres_url`, but with the log's tables in it: one database, emptied for each test, which costs a tenth."""
    empty(_emptied_postgres)
    return _emptied_postgres


def empty(url: str) -> None:
    """Take everything out of a PostgreSQL database but its tables, whoever is connected and whatever triggers say."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in found:
            if name != "eventstore_version":
                table = Identifier(name)
                connection.execute(SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(table))
                connection.execute(SQL("DELETE FROM {}").format(table))
                connection.execute(SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(table))


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = Identifier(database := f"foldline_test_{uuid4().hex[:12]}")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(name, Identifier(template)))
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{database}"))
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL, before `-m` selects. A fixture asked for by name at run time marks its own param."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
