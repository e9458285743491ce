"""The log: events, what commits with them, and what stands beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
APPEND_ONLY = ("event", "archived", "decision", "content")


def upgrade() -> None:
    make_log()
    make_inline_tables()
    make_tables_beside()
    if op.get_bind().dialect.name == "sqlite":
        make_sqlite_triggers()
    else:
        make_postgresql_triggers()


def make_log() -> None:
    op.create_table(
        "event",
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("stream", Name, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run_id", Name),
        sa.Column("run_version", sa.Integer),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema", sa.SmallInteger, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("command_id", Name),
        sa.Column("ordinal", sa.Integer),
    )
    op.create_index("event_stream", "event", ["stream", "version"], unique=True)
    run, command = sa.text("run_id IS NOT NULL"), sa.text("command_id IS NOT NULL")
    op.create_index(
        "event_run", "event", ["run_id", "run_version"], unique=True, sqlite_where=run, postgresql_where=run
    )
    op.create_index(
        "event_command",
        "event",
        ["shard", "command_id", "ordinal"],
        unique=True,
        sqlite_where=command,
        postgresql_where=command,
    )
    op.create_table(
        "archived",
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
    )


def make_inline_tables() -> None:
    op.create_table(
        "work",
        sa.Column("task_id", Name, primary_key=True),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("queue", Name, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("run_id", Name),
    )
    op.create_table(
        "lease",
        sa.Column("stream", Name, primary_key=True),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("agent_id", Name, nullable=False),
        sa.Column("session", Name, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("run_id", Name, primary_key=True),
        sa.Column("from_version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("upto_version", sa.Integer, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("outputs", sa.Text, nullable=False),
    )
    op.create_table(
        "content",
        sa.Column("digest", Name, primary_key=True),
        sa.Column("data", sa.Text, nullable=False),
    )


def make_tables_beside() -> None:
    op.create_table(
        "log_chunk",
        sa.Column("task_id", Name, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "scalar",
        sa.Column("task_id", Name, primary_key=True),
        sa.Column("title", Name, primary_key=True),
        sa.Column("series", Name, primary_key=True),
        sa.Column("iteration", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Float),
        sa.Column("reported_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "token",
        sa.Column("digest", Name, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def make_sqlite_triggers() -> None:
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
        unless_archived = (
            " WHEN NOT EXISTS (SELECT 1 FROM archived WHERE shard = OLD.shard AND position = OLD.position)"
            " OR NOT EXISTS (SELECT 1 FROM event WHERE shard = OLD.shard AND position > OLD.position)"
            if table == "event"
            else ""
        )
        op.execute(
            f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table}{unless_archived}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def make_postgresql_triggers() -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE restrict_violation USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    op.execute(
        "CREATE FUNCTION append_only_unless_archived() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT 1 FROM archived WHERE shard = OLD.shard AND position = OLD.position)"
        " AND EXISTS (SELECT 1 FROM event WHERE shard = OLD.shard AND position > OLD.position)"
        " THEN RETURN OLD; END IF;"
        " RAISE restrict_violation USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    for table in APPEND_ONLY:
        function = "append_only_unless_archived" if table == "event" else "append_only"
        op.execute(
            f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_never_emptied BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
