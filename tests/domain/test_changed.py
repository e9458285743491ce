"""`domain.changed.replace` is `dataclasses.replace`, only quicker."""

import dataclasses

import pytest

from domain.changed import replace
from domain.pipeline import Definition, Plan
from domain.run import Run, Step
from domain.task import Task

VALUES = [
    Task(id="t", name="train", queue="default"),
    Step(status="running", attempts=2),
    Run(id="r", plan=Plan(Definition(name="p", project="x"), {}), version=7),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_changes_what_it_is_told_and_keeps_the_rest(value: Task | Step | Run):
    changed = replace(value, status="completed")
    assert changed == dataclasses.replace(value, status="completed")
    assert changed is not value
    assert value.status != "completed"


def test_a_field_that_is_not_there_is_a_mistake():
    with pytest.raises(TypeError, match="Step has no field colour"):
        replace(VALUES[1], colour="red")


def test_the_copy_is_as_frozen_as_the_original():
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(VALUES[0], name="other").name = "third"  # type: ignore[union-attr, misc]
