"""Runs looked up to be shown: those of pipelines from their events, custom ones from the lists."""

from typing import Any

from api.asking import WAIT_FOR_PROJECTION
from api.at import version_at
from api.listening import Listening, listening
from api.run_views import run_row_view, run_view, step_view
from api.services import Services
from api.waits import queued
from api.wire import time_text
from domain.refused import Invalid, Unknown
from domain.run import Run
from projections import custom

Json = dict[str, Any]

MADE_FROM = ("runs", "tasks", "origins")  # the projections behind the list of runs of both kinds


def run_at(services: Services, run_id: str, at: str | None = None) -> Run:
    """The run of a pipeline, now or as of `at`. Raises Unknown, Invalid."""
    version = None if at is None else version_at(services.reader, services.store, run_id, at)
    return services.reader.run(run_id, at=version)


def shown(services: Services, run_id: str, at: str | None = None) -> Json:
    """The run of either kind. Raises Unknown, and Invalid for a moment that it cannot be shown at."""
    try:
        return run_view(run_at(services, run_id, at), None if at is not None else listening(services))
    except Unknown as unknown:
        return _custom(services, run_id, at, unknown)


def _custom(services: Services, run_id: str, at: str | None, unknown: Unknown) -> Json:
    """The task of this id as a run of kind custom. Raises `unknown` when it is none."""
    try:
        services.reader.task(run_id)
    except Unknown:
        raise unknown from None
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION, names=MADE_FROM)
    with services.store.database.reading() as connection:
        row = custom.custom_run(connection, run_id)
    if row is None:
        raise unknown
    if at is not None:
        raise Invalid("A custom run is shown as of now only: leave out `at`.", "at")
    return run_row_view({name: value for name, value in row.items() if name != "position"}, listening(services))


def custom_steps(services: Services, run_id: str, limit: int, cursor: str | None) -> tuple[list[Json], str | None]:
    """What a custom run made, as steps; and the cursor to more. Raises Unknown, Invalid."""
    shown(services, run_id)
    with services.store.database.reading() as connection:
        rows, following = custom.made(connection, run_id, limit=limit, cursor=cursor)
    seen = listening(services)
    return [made_view(row, seen) for row in rows], following


def made_view(row: Json, seen: Listening) -> Json:
    """A task or run that was made from inside a process, as a step of it."""
    is_run = row["kind"] == "run"
    waits = queued(row["queue"] or "", seen) if not is_run and row["status"] == "queued" else None
    return {
        "name": row["name"],
        "status": row["status"],
        "reason": row["reason"] or (waits["text"] if waits and waits["kind"] != "slot" else ""),
        "task_id": row["id"],
        "attempts": int(row["started_at"] is not None) if is_run else row["attempt"],
        "parents": [],
        "queue": row["default_queue"] if is_run else row["queue"],
        "stage": None,
        "queued_at": None if is_run else time_text(row["queued_at"]),
        "started_at": time_text(row["started_at"]),
        "ended_at": time_text(row["ended_at"]),
        "artifacts": row["artifacts"] if is_run else [],
        "kind": "pipeline" if is_run else "task",
        "run_id": row["id"] if is_run else None,
        "retries": 0,
        "waiting_for": waits,
        "cache": None,
    }


class Trees:
    """Runs with what they are made of, at any depth; each once, whoever made whom."""

    def __init__(self, services: Services) -> None:
        self._services, self._seen = services, listening(services)
        self._shown: set[str] = set()

    def tree(self, run_id: str) -> Json:
        """Raises Unknown."""
        self._shown.add(run_id)
        try:
            run = self._services.reader.run(run_id)
        except Unknown as unknown:
            run = _custom(self._services, run_id, None, unknown)
            return {"run": run, "steps": self._made_steps(run_id), "made": []}
        return {"run": run_view(run, self._seen), "steps": self._steps(run), "made": self._made(run_id)}

    def _steps(self, run: Run) -> list[Json]:
        steps = [step_view(run, name, self._seen) for name in run.plan.names]
        customs = self._customs([step["task_id"] for step in steps if step["task_id"] and not step["run_id"]])
        return [{"step": step, "run": self._below(step["run_id"], step["task_id"], customs)} for step in steps]

    def _made_steps(self, run_id: str) -> list[Json]:
        rows = self._rows(run_id)
        customs = self._customs([row["id"] for row in rows])
        steps = [made_view(row, self._seen) for row in rows]
        return [{"step": step, "run": self._below(step["run_id"], step["task_id"], customs)} for step in steps]

    def _made(self, run_id: str) -> list[Json]:
        rows = self._rows(run_id)
        customs = self._customs([row["id"] for row in rows])
        names = ("kind", "id", "name", "project", "status", "reason")
        return [
            {
                **{name: row[name] for name in names},
                "run": self._below(row["id"] if row["kind"] == "run" else None, row["id"], customs),
            }
            for row in rows
        ]

    def _below(self, run_id: str | None, task_id: str | None, customs: set[str]) -> Json | None:
        below = run_id or (task_id if task_id in customs else None)
        return None if below is None or below in self._shown else self.tree(below)

    def _rows(self, origin: str) -> list[Json]:
        rows: list[Json] = []
        cursor: str | None = None
        with self._services.store.database.reading() as connection:
            while True:
                some, cursor = custom.made(connection, origin, limit=500, cursor=cursor)
                rows += some
                if cursor is None:
                    return rows

    def _customs(self, ids: list[str]) -> set[str]:
        with self._services.store.database.reading() as connection:
            return custom.customs_among(connection, ids)
