"""Where alembic begins: on the connection, and in the transaction, of `eventstore.versions.run_migrations`."""

from alembic import context

config = context.config

if context.is_offline_mode():
    raise SystemExit("Migrations run on an open database: use `foldline-server migrate`.")

context.configure(
    connection=config.attributes["connection"],
    version_table=config.attributes["version_table"],
    transaction_per_migration=False,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
