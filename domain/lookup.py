"""What a step's references stand for, in a run as it is."""

from typing import Any

from domain.content import NONE, Content, Overrides, edited, field_of, inside, overridden, split_parameter
from domain.lifecycle import words
from domain.pipeline import StepDefinition
from domain.references import MissingReference, Reference, as_text, resolve
from domain.run_state import Run, Step
from domain.task_events import ArtifactAdded, ModelAdded
from domain.times import rfc3339


def resolved(run: Run, name: str) -> tuple[Overrides, str]:
    """What the step overrides in its template, and its queue. Raises MissingReference, and Invalid for a bad one."""
    names, step, gates = run.plan.steps, run.plan.steps[name], run.step(name).gates

    def lookup(reference: Reference) -> Any:
        return _look_up(run, reference)

    overrides = NONE
    if step.parameter_override or step.configuration_overrides or step.task_overrides or gates.parameters:
        # The kept definition has its keys sorted: in any other order the first thing missing, hence the reason, would
        # be another one when it is decided again.
        deep = step.recursively_parse_parameters
        parameters, task = sorted(step.parameter_override.items()), sorted(step.task_overrides.items())
        values = {path: resolve(value, names, lookup, deep=deep) for path, value in parameters}
        overrides = Overrides(
            # What its callback left of them counts, when it was asked.
            parameters=values if gates.parameters is None else dict(gates.parameters),
            configuration={name: as_text(value) for name, value in step.configuration_overrides.items()},
            task={path: resolve(value, names, lookup) for path, value in task},
        )
    queue = gates.queue or run.queue or step.queue or run.plan.definition.default_queue or ""
    return overrides, as_text(resolve(queue, names, lookup)) if "$" in queue else queue


def _look_up(run: Run, reference: Reference) -> Any:
    """The value a reference stands for. Raises MissingReference with the sentence that becomes the step's reason."""
    if reference.step is None:
        name = reference.path[0]
        if name in run.parameters:
            return run.parameters[name]
        if name in run.plan.defaults:
            return run.plan.defaults[name]
        raise MissingReference(f"{reference.text}: the pipeline has no parameter {name!r}")
    step = run.step(reference.step)
    if reference.kind == "parameters":
        return _parameter_of(run, reference, step)
    if reference.kind == "field":
        return _field_of(run, reference, step)
    if step.task_id is None:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has no task, it is {words(step.status)}")
    if reference.kind == "id":
        return step.task_id
    if reference.kind == "artifact":
        return _artifact_of(reference, step)
    return _model_of(reference, step)


def _artifact_of(reference: Reference, step: Step) -> str:
    name, attribute = reference.path
    if name not in step.artifacts:
        known = ", ".join(sorted(step.artifacts)) or "none"
        raise MissingReference(
            f"{reference.text}: step {reference.step!r} has no artifact {name!r}; its artifacts are: {known}"
        )
    artifact = step.artifacts[name]
    if attribute == "timestamp":
        return rfc3339(artifact.timestamp)
    value = _inside(artifact.record, attribute)
    if value is None:
        raise MissingReference(f"{reference.text}: artifact {name!r} has no {attribute!r}")
    return as_text(value)


def _model_of(reference: Reference, step: Step) -> Any:
    kind, index, attribute = reference.path
    models = [model for model in step.models if model.kind == kind]
    try:
        model = models[int(index)]
    except IndexError:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has {len(models)} {kind} models") from None
    if attribute == "task":
        return step.task_id
    value = _inside(model, attribute)
    if value is None:
        raise MissingReference(f"{reference.text}: a model has no {attribute!r}")
    return value


def _inside(record: ArtifactAdded | ModelAdded, attribute: str) -> Any:
    """A field of `record`, or what lies inside it under a dotted name; None when there is nothing."""
    try:
        return inside(record, attribute.split("."))
    except LookupError:
        return None


def _parameter_of(run: Run, reference: Reference, step: Step) -> Any:
    path = reference.path[0]
    section, name = split_parameter(path) if "/" in path else ("General", path)
    known = _content_of(run, reference, step).hyperparameters.get(section, {})
    if name not in known:
        raise MissingReference(f"{reference.text}: step {reference.step!r} has no parameter '{section}/{name}'")
    return known[name].value


def _field_of(run: Run, reference: Reference, step: Step) -> Any:
    path = ".".join(reference.path)
    if path == "project":
        return project_of(run, run.plan.steps[reference.step or ""])
    if path == "name":
        return run.plan.steps[reference.step or ""].task_name or reference.step
    try:
        return field_of(_content_of(run, reference, step), path)
    except LookupError:
        raise MissingReference(f"{reference.text}: a task has no field {path!r}") from None


def _content_of(run: Run, reference: Reference, step: Step) -> Content:
    """What the step's task is made of. The newest word counts: the template, its overrides, then what the task said."""
    content = run.plan.content_of(reference.step or "")
    if step.overrides:
        content = overridden(content, step.overrides)
    for edit in step.edits:
        content = edited(content, edit)
    return content


def project_of(run: Run, step: StepDefinition) -> str:
    target = run.plan.definition.target_project
    if step.project:
        return step.project
    if isinstance(target, str):
        return target
    return run.project if target else step.content_project or run.project
