"""The tables of a database: those of a new one are those that the migrations lead to, and nothing changes unasked."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text

from eventstore import versions
from eventstore.errors import DatabaseInUse, SchemaNewer, SchemaOutdated
from eventstore.schema import metadata
from eventstore.snapshots import Snapshots
from eventstore.sql import migrate, open_store
from eventstore.store import NewEvent, append


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """In a transaction, past the store."""
    if url.startswith("postgresql"):
        url = str(make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False))
    engine = create_engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # the driver would leave statements that make tables outside
            yield connection
    finally:
        engine.dispose()


def stamped(url: str, version: str) -> None:
    with connected(url) as connection:
        connection.execute(text("UPDATE eventstore_version SET version_num = :version"), {"version": version})


def description(connection: Connection) -> list[Any]:
    """All tables, columns, indexes, triggers and functions, as the database itself describes them."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"))
        return [(*row[:3], _spaced(row[3])) for row in rows]
    questions = [
        "SELECT table_name, column_name, data_type, collation_name, is_nullable, character_maximum_length"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
        " ORDER BY 1, 2",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    ]
    return [tuple(row) for question in questions for row in connection.execute(text(question))]


def _spaced(sql: str | None) -> str:
    return " ".join((sql or "").replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split())


def test_migrations_from_nothing_make_the_tables_of_a_new_database(database_url: str):
    found: list[list[Any]] = []
    for make in (lambda c: versions.create(c, "here"), lambda c: versions.run_migrations(c, "head")):
        with connected(database_url) as connection:
            make(connection)
            assert versions.current(connection) == versions.REVISIONS[-1]
            found.append(description(connection))
            connection.rollback()
    assert found[1] == found[0]


def test_a_new_database_has_the_tables_of_the_schema(database_url: str):
    open_store(database_url).close()
    with connected(database_url) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": versions.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_revisions_are_those_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", str(Path(versions.__file__).with_name("migrations")))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(script.revision for script in scripts)[::-1] == versions.REVISIONS


def test_an_older_database_is_opened_after_a_migration_only(database_url: str, monkeypatch: pytest.MonkeyPatch):
    open_store(database_url).close()
    monkeypatch.setattr(versions, "REVISIONS", ("0000", *versions.REVISIONS))
    stamped(database_url, "0000")
    with pytest.raises(SchemaOutdated, match="foldline-server migrate"):
        open_store(database_url)


def test_a_newer_database_is_left_alone(database_url: str):
    open_store(database_url).close()
    stamped(database_url, "9999")
    for attempt in (open_store, migrate):
        with pytest.raises(SchemaNewer, match="upgrade this program"):
            attempt(database_url)


def test_migrating_makes_a_new_database_and_leaves_a_current_one(database_url: str):
    latest = versions.REVISIONS[-1]
    assert migrate(database_url) == (None, latest)
    with closing(open_store(database_url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}")]).result()
    assert migrate(database_url) == (latest, latest)
    with closing(open_store(database_url)) as store:
        assert store.head() == 1


def test_migrating_runs_the_missing_revisions(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As it will be when there is another one."""
    open_store(database_url).close()
    migrations = tmp_path / "migrations"
    (migrations / "versions").mkdir(parents=True)
    for file in Path(versions.__file__).with_name("migrations").rglob("*.py"):
        (migrations / file.relative_to(Path(versions.__file__).with_name("migrations"))).write_text(file.read_text())
    (migrations / "versions" / "0005_more.py").write_text(
        "from alembic import op\n"
        "revision, down_revision = '0005', '0004'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE more (number INTEGER)')\n"
    )
    monkeypatch.setattr(versions, "REVISIONS", (*versions.REVISIONS, "0005"))
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "versions.py"))
    assert migrate(database_url) == ("0004", "0005")
    with closing(open_store(database_url)) as store, store.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM more")).scalar() == 0


def test_a_log_without_snapshots_gets_their_table(database_url: str):
    with connected(database_url) as connection:
        versions.run_migrations(connection, "0003")
    with pytest.raises(SchemaOutdated):
        open_store(database_url)
    assert migrate(database_url) == ("0003", versions.REVISIONS[-1])
    with closing(open_store(database_url)) as store:
        append(store, [NewEvent(stream="task-1", type="Happened", data="{}", run_id="r")]).result()
        kept = Snapshots(store.database)
        kept.keep("r", 1, "code", b"first")
        kept.keep("r", 1, "code", b"second")
        kept.keep("r", 2, "code", b"of no event")
        assert (kept.find("r", "code"), kept.find("r", "other"), kept.find("s", "code")) == (b"second", None, None)
        with store.database.writing() as connection:
            connection.execute(text("DELETE FROM snapshot"))
        assert kept.find("r", "code") is None


def test_a_migration_that_fails_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch):
    open_store(database_url).close()
    monkeypatch.setattr(versions, "REVISIONS", (*versions.REVISIONS, "0005"))

    def half_done(connection: Connection, upto: str) -> None:
        connection.execute(text("CREATE TABLE more (number INTEGER)"))
        raise LookupError(upto)

    monkeypatch.setattr(versions, "run_migrations", half_done)
    with pytest.raises(LookupError, match="0005"):
        migrate(database_url)
    with connected(database_url) as connection:
        assert "more" not in str(description(connection))


def test_a_file_in_use_is_not_migrated(sqlite_url: str):
    with closing(open_store(sqlite_url)), pytest.raises(DatabaseInUse):
        migrate(sqlite_url)
