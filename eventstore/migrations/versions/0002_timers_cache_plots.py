"""Timers of runs, the index of what can be reused, and what tasks draw."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "timer",
        sa.Column("run_id", Name, primary_key=True),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "cache",
        sa.Column("key", Name, primary_key=True),
        sa.Column("scope", Name, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_index("cache_scope", "cache", ["scope", "recorded_at"])
    op.create_table(
        "plot",
        sa.Column("task_id", Name, primary_key=True),
        sa.Column("title", Name, primary_key=True),
        sa.Column("series", Name, primary_key=True),
        sa.Column("iteration", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("reported_at", sa.BigInteger, nullable=False),
    )
