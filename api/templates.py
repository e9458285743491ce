"""Templates named by project and name: found when a pipeline is submitted, so that the run is pinned to one."""

from dataclasses import dataclass

from msgspec.structs import replace

from api.asking import WAIT_FOR_PROJECTION
from api.errors import Problem
from api.services import Services
from controller.handle import By
from domain.pipeline import Definition, StepDefinition
from domain.refused import Invalid, Unknown
from projections.templates import pipeline, template

Named = tuple[str | None, str]  # project, or any; name


def resolved_once(services: Services, definition: Definition, asking: By) -> Definition:
    """As `resolved`; for a repeat, which is answered from what it did, whatever the tasks are called by now."""
    if asking.command_id is not None and services.store.command(asking.command_id):
        return definition
    return resolved(services, definition)


def resolved(services: Services, definition: Definition) -> Definition:
    """`definition` with the id of each template that it gives by name, and each pipeline or run as `pipeline_id`.

    Raises Invalid when there is none, and Problem when the lists do not keep up with the log.
    """
    tasks = {_task_name(step) for step in definition.steps if _names_task(step)}
    pipelines = {_pipeline_name(step) for step in definition.steps if _names_pipeline(step)}
    found = _Found({}, {})
    if tasks or pipelines:
        _wait_for_lists(services)
        with services.store.database.reading() as connection:
            found.tasks.update({key: template(connection, *key) for key in tasks})
            missing = {key for key in tasks if found.tasks[key] is None}
            found.pipelines.update({key: pipeline(connection, *key) for key in pipelines | missing})
    steps = [_with_id(number, step, found) for number, step in enumerate(definition.steps)]
    ids = {step.base_task_id for step in steps if step.base_task_id is not None and step.task is None}
    runnable = {key for key in ids if _is_pipeline_or_run(services, key)}
    return replace(definition, steps=[_as_pipeline(step) if step.base_task_id in runnable else step for step in steps])


@dataclass(frozen=True, slots=True)
class _Found:
    tasks: dict[Named, str | None]
    pipelines: dict[Named, str | None]


def _wait_for_lists(services: Services) -> None:
    head = services.store.head()
    for name in ("tasks", "pipelines"):
        if not services.projections.wait_for(head, WAIT_FOR_PROJECTION, names=[name]):
            said = f"The list of {name}, where templates are looked up, is not up to date yet: try again in a second."
            raise Problem(503, "projection-behind", said, {"Retry-After": "1"})


def _is_pipeline_or_run(services: Services, key: str) -> bool:
    """What is neither, nor a task, is refused by whoever looks for the task."""
    try:
        services.reader.task(key)
    except Unknown:
        pass
    else:
        return False
    if services.reader.is_run(key):
        return True
    try:
        services.reader.pipeline(key)
    except Unknown:
        return False
    return True


def _as_pipeline(step: StepDefinition) -> StepDefinition:
    return replace(step, base_task_id=None, pipeline_id=step.base_task_id)


def _names_task(step: StepDefinition) -> bool:
    return step.base_task_name is not None and not (step.base_task_id or step.task or step.pipeline_id)


def _names_pipeline(step: StepDefinition) -> bool:
    return step.pipeline_name is not None and not (step.base_task_id or step.task or step.pipeline_id)


def _task_name(step: StepDefinition) -> Named:
    return step.base_task_project, step.base_task_name or ""


def _pipeline_name(step: StepDefinition) -> Named:
    return step.pipeline_project, step.pipeline_name or ""


def _with_id(number: int, step: StepDefinition, found: _Found) -> StepDefinition:
    """Where both a task and a pipeline have the name that a step gives as a task's, the task is meant."""
    if _names_task(step):
        key, what, where = _task_name(step), "template task", "base_task_name"
        if (task_id := found.tasks[key]) is not None:
            return replace(step, base_task_id=task_id)
    elif _names_pipeline(step):
        key, what, where = _pipeline_name(step), "pipeline", "pipeline_name"
    else:
        return step
    if (pipeline_id := found.pipelines[key]) is not None:
        return replace(step, pipeline_id=pipeline_id)
    project, name = key
    place = f"in project {project!r}" if project else "in any project"
    if what == "pipeline":
        cure = "register it, or give pipeline_id"
    else:
        place, cure = f"{place} that has not failed", "create it, or give base_task_id"
    raise Invalid(f"Step {step.name!r}: there is no {what} {name!r} {place}: {cure}.", f"steps/{number}/{where}")
