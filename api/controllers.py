"""A run is its own controller task: what is asked of a task, by a run's id, is asked of the run."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from api import bodies
from api.services import Services
from api.views import controller_content, controller_task, run_as_task, task_view
from controller.formats import content_from
from controller.handle import Answer, By, StaleVersion
from controller.reading import Reader
from domain.content import Content
from domain.refused import Refused, Unknown
from domain.run import Run
from domain.run_events import RunEdited
from domain.task import Task, TaskEdited

T = TypeVar("T")


def asked_of(services: Services, task_id: str, task: Callable[[], T], run: Callable[[], T]) -> T:
    """What the one comes to, or the other where the id is a run's.

    Found out first: a repeat under an idempotency key must be answered as what it was.
    """
    return run() if services.reader.is_run(task_id) else task()


def _either(task: Callable[[], T], run: Callable[[], T]) -> T:
    """What the first finds, or else the second. Raises Unknown, as of the task."""
    try:
        return task()
    except Unknown as unknown:
        try:
            return run()
        except Unknown:
            raise unknown from None


def task_of(reader: Reader, task_id: str, version: int | None = None) -> Task:
    """The task, or the run of this id as the task that it is: now, or as it was at `version`. Raises Unknown."""
    return _either(lambda: reader.task(task_id, upto=version), lambda: controller_task(reader.run(task_id, at=version)))


def content_of_host(reader: Reader, run: Run) -> Content:
    """What the run's host runs."""
    return Content() if run.content is None else content_from(reader.text(run.content))


def view_of(reader: Reader, task_id: str, version: int | None = None) -> dict[str, Any]:
    """The task, or the run read as one: now, or as it was at `version`. Raises Unknown."""

    def task() -> dict[str, Any]:
        found = reader.task(task_id, upto=version)
        return task_view(found, reader.content_of(found))

    def run() -> dict[str, Any]:
        found = reader.run(task_id, at=version)
        return run_as_task(found, content_of_host(reader, found))

    return _either(task, run)


def edited_run(services: Services, run_id: str, body: bodies.EditTask) -> tuple[RunEdited, int]:
    """The edit of a run that is edited as a task, and the run version that it was made for.

    Raises Unknown, and Refused for what a run keeps.
    """
    run = services.reader.run(run_id)
    meant = body.edited(controller_content(run, content_of_host(services.reader, run)))
    _check_what_stays(run, meant)
    edited = RunEdited(edit=meant.edit, name=meant.name, parameters=_parameters(run, meant), runtime=meant.runtime)
    return edited, run.version


def _check_what_stays(run: Run, meant: TaskEdited) -> None:
    kept = {"project": (meant.project, run.project), "parent": (meant.parent, run.parent_run)}
    kept["type"] = (meant.edit.type if meant.edit else None, "controller")
    for name, (wanted, present) in kept.items():
        if wanted not in (None, present):
            raise Refused(f"Run {run.name!r} keeps its {name}, {present!r}: leave it out, or submit another run.")
    if meant.attempt is not None and not (run.host.status == "running" and run.host.attempt == meant.attempt):
        raise Refused(f"Attempt {meant.attempt} is not the host of run {run.name!r} any more: it can change nothing.")


def _parameters(run: Run, meant: TaskEdited) -> Mapping[str, Any] | None:
    """Other values for the parameters of a draft, which are its section Args. Raises Refused for one taken away.

    Once it has begun, what its references stand for is settled: then the section is what its host makes of it.
    """
    sections = (meant.edit.hyperparameters if meant.edit else None) or {}
    given = {name: entry for name, entry in (sections.get("Args") or {}).items() if name in run.parameters}
    if run.status != "created":
        return None
    for name, entry in given.items():
        if entry is None:
            raise Refused(f"Run {run.name!r} keeps its parameter {name!r}, which its pipeline has: give it a value.")
    values = {name: entry.value for name, entry in given.items() if entry is not None}
    return {name: value for name, value in values.items() if value != run.parameters[name]} or None


def ended(
    services: Services, run_id: str, status: str, reason: str, asking: By, expect: int | None, attempt: int
) -> Answer:
    """End the run's host, or the run when it has none; `attempt` is the host that says so itself, else 0.

    Raises Unknown, Refused, StaleVersion.
    """
    run = services.reader.run(run_id)
    if expect not in (None, run.version):
        said = f"The command was meant for version {expect} of run {run.name!r}, which is at {run.version}: look again."
        raise StaleVersion(said)
    return services.controller.end_host(run_id, status, reason, asking, attempt=attempt)
