"""The tables of the read side. All of them can be thrown away: the log makes them again.

Times are microseconds since 1970, UTC. `position` is that of the event that made the row: lists are newest first by it.
Columns that hold JSON are named in JSON_COLUMNS; their text is a function of the log like everything else.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    literal_column,
    quoted_name,
)

from eventstore.schema import Name

metadata = MetaData()

# How far each projection has come. A rebuild goes on beside it, in tables of its own, up to `next_position`.
projection = Table(
    "projection",
    metadata,
    Column("name", Name, primary_key=True),
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),  # of the code that made the rows
    Column("generation", Integer, nullable=False),  # how often its tables were made
    Column("next_position", BigInteger),
    Column("updated_at", BigInteger, nullable=False),  # when the last event in the rows was recorded
    Column("error", Text),
)

task_row = Table(
    "task_row",
    metadata,
    Column("id", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("type", Name, nullable=False),
    Column("status", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("parent", Name),
    Column("run_id", Name),
    Column("step", Name),
    Column("queue", Name),
    Column("attempt", Integer, nullable=False),
    Column("agent_id", Name),
    Column("tags", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
)

task_tag = Table(
    "task_tag",
    metadata,
    Column("tag", Name, primary_key=True),
    Column("task_id", Name, primary_key=True),
)

run_row = Table(
    "run_row",
    metadata,
    Column("id", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),  # the run version
    Column("name", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("kind", Text, nullable=False),
    Column("pipeline_id", Name),
    Column("pipeline_version", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("origin", Name),
    Column("parent_run", Name),
    Column("parent_step", Name),
    Column("cache", Text, nullable=False),
    Column("status", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("default_queue", Text),
    Column("queues", Text, nullable=False),  # where its steps wait, as far as it is known
    Column("step_counts", Text, nullable=False),
    Column("host_queue", Text, nullable=False),  # where its host waits or would wait; empty without one
    Column("host_queued_at", BigInteger),  # since when its host waits there
    Column("host_agent", Name),  # who runs its host
    Column("host_state", Text, nullable=False),  # null before a host is asked for
    Column("asks_created", Boolean, nullable=False),  # about each of its steps
    Column("hooks", Text, nullable=False),  # the open ones: {id: the step that waits for the answer, or ""}
    Column("artifacts", Text, nullable=False),  # the names of its own
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
)

run_tag = Table(
    "run_tag",
    metadata,
    Column("tag", Name, primary_key=True),
    Column("run_id", Name, primary_key=True),
)

step_row = Table(
    "step_row",
    metadata,
    Column("id", Name, primary_key=True),  # that of its task, which follows from the run and the step's name
    Column("run_id", Name, nullable=False),
    Column("number", Integer, nullable=False),  # 0, 1, 2 ... in the order of definition
    Column("name", Name, nullable=False),
    Column("status", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("task_id", Name),  # null until the task is there
    Column("attempts", Integer, nullable=False),
    Column("parents", Text, nullable=False),
    Column("queue", Name),  # until it is enqueued: as it is defined
    Column("stage", Text),
    Column("artifacts", Text, nullable=False),
    Column("child_run", Name),  # of the pipeline that it runs
    Column("retries", Integer, nullable=False),
    Column("time_limit", Float),  # seconds
    Column("timed_out", Boolean, nullable=False),
    Column("draft", Boolean, nullable=False),  # its task is a draft that somebody enqueues
    Column("done", Boolean, nullable=False),  # its task completed, whatever the step came to
    Column("asks_created", Boolean, nullable=False),  # the host is asked once its task is there
    Column("was_asked", Boolean, nullable=False),
    Column("queued_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
)

queue_row = Table(
    "queue_row",
    metadata,
    Column("name", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("paused_at", BigInteger),  # null while work is handed out from it
    Column("paused_by", Text, nullable=False),
    Column("pause_reason", Text, nullable=False),
)

# What was made, enqueued or submitted from inside the process of a task, which has its own place in the list of runs.
origin_row = Table(
    "origin_row",
    metadata,
    Column("id", Name, primary_key=True),  # of the task, or of the run as whose host it ran
    Column("position", BigInteger, nullable=False),  # of the first event that named it
)

made_row = Table(
    "made_row",
    metadata,
    Column("origin", Name, primary_key=True),
    Column("id", Name, primary_key=True),
    Column("kind", Name, nullable=False),  # task or run
    Column("position", BigInteger, nullable=False),
)

agent_row = Table(
    "agent_row",
    metadata,
    Column("id", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", Name, nullable=False),
    Column("status", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("queues", Text, nullable=False),
    Column("slots", BigInteger, nullable=False),
    Column("services", Boolean, nullable=False),
    Column("host", Text, nullable=False),
    Column("agent_version", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

pipeline_row = Table(
    "pipeline_row",
    metadata,
    Column("id", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("name", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("pipeline_version", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
)

# The task is the one that has made the model, else the first that has read it: only its words about it count.
model_row = Table(
    "model_row",
    metadata,
    Column("id", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("task_id", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("url", Name, nullable=False),
    Column("framework", Name, nullable=False),
    Column("comment", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("config_text", Text, nullable=False),
    Column("config_dict", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("parent", Name),
    Column("iteration", BigInteger),
    Column("published", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

model_tag = Table(
    "model_tag",
    metadata,
    Column("tag", Name, primary_key=True),
    Column("model_id", Name, primary_key=True),
)

# One row for each time that a task waited in a queue, and for each attempt at it.
timeline = Table(
    "timeline",
    metadata,
    Column("task_id", Name, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),  # the task's, at the event that began it
    Column("run_id", Name),
    Column("step", Name),
    Column("attempt", Integer, nullable=False),  # while it waits: the one it waits for
    Column("phase", Text, nullable=False),  # queued or running
    Column("queue", Name),
    Column("agent_id", Name),
    Column("host", Text),
    Column("outcome", Text),  # what ended it: started, moved, dequeued, completed, failed, stopped or lost
    Column("started_at", BigInteger, nullable=False),
    Column("began_at", BigInteger),  # when the user's code began
    Column("ended_at", BigInteger),
)

JSON_COLUMNS = frozenset(
    {"tags", "parameters", "queues", "step_counts", "parents", "artifacts", "labels", "config_dict", "metadata"}
    | {"host_state", "hooks"}
)

# PostgreSQL refuses an index entry of more than 2,704 bytes, and people choose names: only their beginning is indexed.
INDEXED_LETTERS = 200


def beginning(column: ColumnElement[Any]) -> ColumnElement[str]:
    """What the indexes hold of a text that people choose. Literals, or a database would not see the index in it."""
    return func.substr(column, literal_column("1"), literal_column(str(INDEXED_LETTERS)))


def _index(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool] | None = None) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


_task, _run, _model = task_row.c, run_row.c, model_row.c
_index("task_row_newest", _task.position, _task.id)
_index("task_row_project", beginning(_task.project), _task.position)
_index("task_row_name", beginning(_task.name), _task.position)
_index("task_row_status", _task.status, _task.position)
_index("task_row_parent", beginning(_task.parent), _task.position, where=_task.parent.is_not(None))
_index("task_row_run", _task.run_id, _task.position, where=_task.run_id.is_not(None))
_index("task_row_queued", _task.status, _task.queue, _task.queued_at, where=_task.status == "queued")
_index("task_row_held", _task.status, _task.agent_id, where=_task.status == "in_progress")
_index("task_tag_task", task_tag.c.task_id)
_index("run_row_newest", _run.position, _run.id)
_index("run_row_project", beginning(_run.project), _run.position)
_index("run_row_name", beginning(_run.name), _run.position)
_index("run_row_status", _run.status, _run.position)
_index("run_row_pipeline", _run.pipeline_id, _run.position)
_index("run_row_parent", _run.parent_run, _run.position, where=_run.parent_run.is_not(None))
_index("run_row_origin", _run.origin, _run.position, where=_run.origin.is_not(None))
_index("run_row_host_queued", _run.host_queue, _run.host_queued_at, where=_run.host_queued_at.is_not(None))
_index("run_row_host_held", _run.host_agent, where=_run.host_agent.is_not(None))
_index("run_tag_run", run_tag.c.run_id)
_index("step_row_run", step_row.c.run_id, step_row.c.number)
_index("origin_row_newest", origin_row.c.position, origin_row.c.id)
_index("made_row_oldest", made_row.c.origin, made_row.c.position)
_index("pipeline_row_newest", pipeline_row.c.position, pipeline_row.c.id)
_index("model_row_newest", _model.position, _model.id)
_index("model_row_task", _model.task_id)
_index("model_row_project", beginning(_model.project), _model.position)
_index("model_row_name", beginning(_model.name), _model.position)
_index("model_row_url", beginning(_model.url), _model.position)
_index("model_tag_model", model_tag.c.model_id)
_index("timeline_run", timeline.c.run_id, timeline.c.started_at, where=timeline.c.run_id.is_not(None))


def copies(tables: Sequence[Table], generation: int, suffix: str = "") -> Mapping[str, Table]:
    """{name: table} as they are made for the `generation`th time. Both databases want each index's name once."""
    apart = MetaData()
    made = {table.name: table.to_metadata(apart, name=f"{table.name}{suffix}") for table in tables}
    for table in made.values():
        for index in table.indexes:
            index.name = quoted_name(f"{index.name}_{generation}", None)
    return made


def key_of(tag: str) -> str:
    """What stands for a tag in the tables that are searched by it."""
    return tag if len(tag) <= INDEXED_LETTERS else sha256(tag.encode()).hexdigest()
