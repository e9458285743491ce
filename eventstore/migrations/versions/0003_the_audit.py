"""Signed checkpoints of the log's tree, its nodes, and the keys that sign."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
APPEND_ONLY = ("checkpoint", "tree_node", "signer")


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("leaves", sa.LargeBinary, nullable=False),
        sa.Column("streams", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tree_node",
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "signer",
        sa.Column("key", Name, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
    )
    make_triggers(op.get_bind().dialect.name)


def make_triggers(dialect: str) -> None:
    for table in APPEND_ONLY:
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        if dialect == "postgresql":
            refuse = "FOR EACH ROW EXECUTE FUNCTION append_only()"
            op.execute(
                f"CREATE TRIGGER {table}_is_never_emptied BEFORE TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
            )
        op.execute(f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table} {refuse}")
