"""Templates named by project and name: found when a pipeline is submitted, so that the run is pinned to one task."""

from dataclasses import replace

from api.asking import WAIT_FOR_PROJECTION
from api.errors import Problem
from api.services import Services
from controller.handle import By
from domain.pipeline import Definition, StepDefinition
from domain.refused import Invalid
from projections.templates import template

Found = dict[tuple[str | None, str], str | None]


def resolved_once(services: Services, definition: Definition, asking: By) -> Definition:
    """As `resolved`; for a repeat, which is answered from what it did, whatever the tasks are called by now."""
    if asking.command_id is not None and services.store.command(asking.command_id):
        return definition
    return resolved(services, definition)


def resolved(services: Services, definition: Definition) -> Definition:
    """`definition` with the id of each template that it gives by name.

    Raises Invalid when there is none, and Problem when the list of tasks does not keep up with the log.
    """
    wanted = {_named(step) for step in definition.steps if _is_by_name(step)}
    if not wanted:
        return definition
    if not services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION, name="tasks"):
        said = "The list of tasks, in which templates are looked up, is not up to date yet: try again in a second."
        raise Problem(503, "projection-behind", said, {"Retry-After": "1"})
    with services.store.database.reading() as connection:
        found = {(project, name): template(connection, project, name) for project, name in wanted}
    return replace(definition, steps=[_with_id(number, step, found) for number, step in enumerate(definition.steps)])


def _is_by_name(step: StepDefinition) -> bool:
    return step.base_task_name is not None and step.base_task_id is None and step.task is None


def _named(step: StepDefinition) -> tuple[str | None, str]:
    return step.base_task_project, step.base_task_name or ""


def _with_id(number: int, step: StepDefinition, found: Found) -> StepDefinition:
    if not _is_by_name(step):
        return step
    task_id = found[_named(step)]
    if task_id is None:
        where = f"in project {step.base_task_project!r}" if step.base_task_project else "in any project"
        raise Invalid(
            f"Step {step.name!r}: there is no template task {step.base_task_name!r} {where} that has not failed: "
            "create it, or give base_task_id.",
            f"steps/{number}/base_task_name",
        )
    return replace(step, base_task_id=task_id)
