"""Which task or pipeline is meant by a template's name."""

from sqlalchemy import Connection, and_, literal, select

from eventstore.schema import event
from projections.tables import INDEXED_LETTERS, beginning, pipeline_row, task_row


def template(connection: Connection, project: str | None, name: str) -> str | None:
    """The id of the task of this name that was changed last; None when there is none.

    Tasks that failed do not count, nor do the steps of runs: they are called as their templates are.
    """
    task, name = task_row.c, _as_in_rows(name)
    last_event = and_(event.c.stream == literal("task-").concat(task.id), event.c.version == task.version)
    query = (
        select(task.id)
        .join(event, last_event)
        .where(beginning(task.name) == name[:INDEXED_LETTERS], task.name == name)
        .where(task.status != "failed", task.run_id.is_(None))
        .order_by(event.c.position.desc())
        .limit(1)
    )
    if project is not None:
        query = query.where(task.project == _as_in_rows(project))
    return connection.execute(query).scalar()


def _as_in_rows(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def pipeline(connection: Connection, project: str | None, name: str) -> str | None:
    """The id of the pipeline of this name that was registered last; None when there is none."""
    known, name = pipeline_row.c, _as_in_rows(name)
    query = select(known.id).where(known.name == name).order_by(known.registered_at.desc(), known.id).limit(1)
    if project is not None:
        query = query.where(known.project == _as_in_rows(project))
    return connection.execute(query).scalar()
