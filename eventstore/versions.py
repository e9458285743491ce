"""Which tables a database has: made at once when it is new, checked when it is not, changed by `migrate` only."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from eventstore.errors import NotADatabase, SchemaNewer, SchemaOutdated
from eventstore.schema import APPEND_ONLY, metadata

# Of migrations/versions, oldest first; alembic is imported only to go from one to another.
REVISIONS = ("0001", "0002", "0003", "0004")
VERSION_TABLE = "eventstore_version"

# As alembic makes it.
_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def prepare(connection: Connection, place: str) -> None:
    """Make the tables of a new database, or see that they are those of this program. Raises CannotOpen."""
    if not create(connection, place):
        check(current(connection), place)


def create(connection: Connection, place: str) -> bool:
    """Make all tables, triggers and the stamp when there are none. Returns whether it did."""
    if connection.dialect.name == "postgresql":
        # Two processes that start at once on a new database: the second one waits and finds it made.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('eventstore schema'))")
    there = set(inspect(connection).get_table_names())
    if VERSION_TABLE in there:
        return False
    if taken := sorted(there & metadata.tables.keys()):
        raise NotADatabase(f"{place} has a table {taken[0]!r} of another program: choose another database")
    metadata.create_all(connection, checkfirst=False)
    for statement in append_only(connection.dialect.name):
        connection.exec_driver_sql(statement)
    _version.create(connection)
    connection.execute(insert(_version), {"version_num": REVISIONS[-1]})
    return True


def current(connection: Connection) -> str:
    return connection.execute(select(_version.c.version_num)).scalar_one()


def check(version: str, place: str) -> None:
    if version not in REVISIONS:
        raise SchemaNewer(f"{place} was written by a newer version ({version}): upgrade this program")
    if version != REVISIONS[-1]:
        raise SchemaOutdated(
            f"{place} has tables of version {version}, this program needs {REVISIONS[-1]}:"
            " make a copy of it and run `foldline-server migrate`"
        )


def upgrade(connection: Connection, place: str) -> tuple[str | None, str]:
    """Bring the tables to this program's version. Returns the versions before (None: it was new) and after."""
    if create(connection, place):
        return None, REVISIONS[-1]
    before = current(connection)
    if before == REVISIONS[-1]:
        return before, before
    if before not in REVISIONS:
        check(before, place)
    run_migrations(connection, REVISIONS[-1])
    return before, REVISIONS[-1]


def run_migrations(connection: Connection, upto: str) -> None:
    """Run the migrations from where the database stands, in the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, upto)


def append_only(dialect: str) -> Sequence[str]:
    """The triggers that let nobody change what has happened, and let go only what stands in `archived`.

    The last event of a shard stays in any case: its position would be given out again.
    """
    return _sqlite_triggers() if dialect == "sqlite" else _postgresql_triggers()


def _sqlite_triggers() -> list[str]:
    statements: list[str] = []
    for table in APPEND_ONLY:
        statements += [
            f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
            f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table}{SQLITE_KEEPS if table == 'event' else ''}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
        ]
    return statements


SQLITE_KEEPS = (
    " WHEN NOT EXISTS (SELECT 1 FROM archived WHERE shard = OLD.shard AND position = OLD.position)"
    " OR NOT EXISTS (SELECT 1 FROM event WHERE shard = OLD.shard AND position > OLD.position)"
)


def _postgresql_triggers() -> list[str]:
    statements = [
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE restrict_violation USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$",
        "CREATE FUNCTION append_only_unless_archived() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT 1 FROM archived WHERE shard = OLD.shard AND position = OLD.position)"
        " AND EXISTS (SELECT 1 FROM event WHERE shard = OLD.shard AND position > OLD.position)"
        " THEN RETURN OLD; END IF;"
        " RAISE restrict_violation USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$",
    ]
    for table in APPEND_ONLY:
        function = "append_only_unless_archived" if table == "event" else "append_only"
        statements += [
            f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION append_only()",
            f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
            f"CREATE TRIGGER {table}_is_never_emptied BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only()",
        ]
    return statements
