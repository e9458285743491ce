"""The tables of the log. The event table and the inline tables are written together; the rest stands beside them."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData()

# Text that is looked up and sorted: by its bytes in both databases, whatever the language of the PostgreSQL server.
Name = Text().with_variant(Text(collation="C"), "postgresql")

event = Table(
    "event",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", Name, nullable=False),
    Column("version", Integer, nullable=False),
    Column("run_id", Name),
    Column("run_version", Integer),
    Column("type", Text, nullable=False),
    Column("schema", SmallInteger, nullable=False),
    Column("subject", Text),
    Column("from_state", Text),
    Column("to_state", Text),
    Column("data", Text, nullable=False),
    Column("meta", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("command_id", Name),
    Column("ordinal", Integer),
)
Index("event_stream", event.c.stream, event.c.version, unique=True)
Index(
    "event_run",
    event.c.run_id,
    event.c.run_version,
    unique=True,
    sqlite_where=event.c.run_id.is_not(None),
    postgresql_where=event.c.run_id.is_not(None),
)
Index(
    "event_command",
    event.c.shard,
    event.c.command_id,
    event.c.ordinal,
    unique=True,
    sqlite_where=event.c.command_id.is_not(None),
    postgresql_where=event.c.command_id.is_not(None),
)

# Positions whose events have moved to an archive: the only ones that the triggers let go.
archived = Table(
    "archived",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
)

# What is ready to be claimed: written with the events that say so, and checked against a fold of them by `verify`.
work = Table(
    "work",
    metadata,
    Column("task_id", Name, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("queue", Name, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("run_id", Name),
)

# Who holds what until when. The only table whose rows change without an event: a heartbeat is none.
lease = Table(
    "lease",
    metadata,
    Column("stream", Name, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("agent_id", Name, nullable=False),
    Column("session", Name, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# One row for each append that decided something for a run, in run versions.
decision = Table(
    "decision",
    metadata,
    Column("run_id", Name, primary_key=True),
    Column("from_version", Integer, primary_key=True, autoincrement=False),
    Column("upto_version", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("outputs", Text, nullable=False),
)

content = Table(
    "content",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("data", Text, nullable=False),
)

# When a run has to be looked at next, though nothing happens: a deadline, a retry that is due. Checked by `verify`.
timer = Table(
    "timer",
    metadata,
    Column("run_id", Name, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
)

# The last task that came to a good end under a cache key; `scope` groups the keys of one step, for "why a miss".
cache = Table(
    "cache",
    metadata,
    Column("key", Name, primary_key=True),
    Column("scope", Name, nullable=False),
    Column("task_id", Name, nullable=False),
    Column("parts", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
)
Index("cache_scope", cache.c.scope, cache.c.recorded_at)

# One row an attempt's output: where the log is a table (PostgreSQL), its bytes by offset.
log_chunk = Table(
    "log_chunk",
    metadata,
    Column("task_id", Name, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
)

scalar = Table(
    "scalar",
    metadata,
    Column("task_id", Name, primary_key=True),
    Column("title", Name, primary_key=True),
    Column("series", Name, primary_key=True),
    Column("iteration", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float),  # null: not a finite number
    Column("reported_at", BigInteger, nullable=False),
)

# What tasks draw: the bytes are a blob, `kind` says how to show them.
plot = Table(
    "plot",
    metadata,
    Column("task_id", Name, primary_key=True),
    Column("title", Name, primary_key=True),
    Column("series", Name, primary_key=True),
    Column("iteration", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),  # plotly, table, image, media, text, html
    Column("digest", Text),  # SHA-256 of the blob; null when it lies elsewhere
    Column("filename", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("size", BigInteger),
    Column("reported_at", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

# Signed statements of what the log's tree is, see eventstore/audit. The hashes and the streams of the events since the
# last one are kept here a second time: so it can be told which of them was changed, or is gone.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),  # the size of the last one
    Column("size", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("streams", LargeBinary, nullable=False),  # names as a JSON list, compressed
)

# Roots of the full subtrees of the log's tree, so that no proof needs all leaves.
tree_node = Table(
    "tree_node",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
)

# The public halves of all keys that have signed checkpoints.
signer = Table(
    "signer",
    metadata,
    Column("key", Name, primary_key=True),
    Column("since", BigInteger, nullable=False),
)

# Large runs as they were folded last, each as of the event with this leaf: a cache, so that opening one does not read
# all of its events.
snapshot = Table(
    "snapshot",
    metadata,
    Column("run_id", Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

EVENT_COLUMNS = tuple(column.name for column in event.columns)[:15]  # those of store.Recorded, in its order
INLINE = {table.name: table for table in (work, lease, decision, content, timer, cache)}
INSERT_ONLY = frozenset({"decision", "content"})
APPEND_ONLY = ("event", "archived", "decision", "content", "checkpoint", "tree_node", "signer")
