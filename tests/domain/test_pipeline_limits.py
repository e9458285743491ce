"""What a definition may say about retries, limits, callbacks and the types of its parameters."""

from typing import Any

import pytest

from domain.pipeline import (
    HOOKS,
    Approval,
    Definition,
    HostDefinition,
    PipelineParameter,
    Retry,
    StepDefinition,
    check_parameters,
    checked,
    literal_queues,
)
from domain.refused import Invalid


def definition(step: dict[str, Any] | None = None, **fields: Any) -> Definition:
    whole = {"name": "iris", "project": "examples", "default_queue": "default", **fields}
    return Definition(steps=[StepDefinition(**{"name": "a", "base_task_id": "b" * 32, **(step or {})})], **whole)


def typed(kind: str | None, default: Any = None) -> Definition:
    return definition(parameters=[PipelineParameter(name="x", type=kind, default=default)])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 3),
        ("float", 0.5),
        ("float", 3),
        ("bool", False),
        ("str", "3"),
        ("list", [1, "a"]),
        ("dict", {"a": 1}),
        *[(kind, None) for kind in ("int", "float", "bool", "str", "list", "dict")],
        (None, object()),
        ("a type of the author's own", "anything"),
    ],
)
def test_a_parameter_takes_values_of_its_type(kind, value):
    check_parameters(typed(kind), {"x": value})
    checked(typed(kind, default=value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 0.5),
        ("int", True),
        ("int", "3"),
        ("float", "0.5"),
        ("float", False),
        ("bool", 1),
        ("bool", "true"),
        ("str", 3),
        ("list", "a,b"),
        ("list", {"a": 1}),
        ("dict", [1]),
    ],
)
def test_and_no_others(kind, value):
    with pytest.raises(Invalid, match=f"Parameter 'x' takes {kind}, not ") as given:
        check_parameters(typed(kind), {"x": value})
    assert given.value.where == "parameters/x"
    with pytest.raises(Invalid, match=f"Parameter 'x' takes {kind}, not ") as default:
        checked(typed(kind, default=value))
    assert default.value.where == "parameters/0/default"


def test_a_value_for_an_unknown_parameter_is_invalid():
    with pytest.raises(Invalid, match="The pipeline has no parameter 'y'; it has: x") as invalid:
        check_parameters(typed("int"), {"y": 1})
    assert invalid.value.where == "parameters/y"


@pytest.mark.parametrize(
    ("step", "where", "said"),
    [
        ({"time_limit": 0}, "steps/0/time_limit", "above 0"),
        ({"time_limit": -1.0}, "steps/0/time_limit", "above 0"),
        ({"approval": Approval(deadline=0)}, "steps/0/approval/deadline", "above 0"),
        ({"retry": Retry(times=-1)}, "steps/0/retry/times", "0 or more"),
        ({"retry": Retry(delay=-1)}, "steps/0/retry", "its factor at least 1"),
        ({"retry": Retry(factor=0.5)}, "steps/0/retry", "its factor at least 1"),
        ({"retry": Retry(jitter=1.5)}, "steps/0/retry", "its jitter from 0 to 1"),
        ({"hooks": ["before"]}, "steps/0/hooks", "There is no hook 'before': choose from pre, factory"),
        ({"monitor_metrics": [["loss", "train"]]}, "steps/0/monitor_metrics", "has 4 names"),
        ({"monitor_artifacts": [["a", "b", "c"]]}, "steps/0/monitor_artifacts", "has 2 names"),
        ({"monitor_models": [["a"]]}, "steps/0/monitor_models", "has 2 names"),
        ({"base_task_id": None}, "steps/0", "has no template"),
    ],
)
def test_what_makes_no_sense_in_a_step_is_named(step, where, said):
    with pytest.raises(Invalid, match=said) as invalid:
        checked(definition(step))
    assert invalid.value.where == where


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"time_limit": 0}, "time_limit"),
        ({"hook_timeout": 0}, "hook_timeout"),
        ({"retry": Retry(times=-1)}, "retry/times"),
        ({"hooks": ["pre"]}, "hooks"),
        ({"dynamic": True}, "host"),
    ],
)
def test_what_makes_no_sense_in_the_pipeline_is_named(fields, where):
    with pytest.raises(Invalid) as invalid:
        checked(definition(**fields))
    assert invalid.value.where == where


@pytest.mark.parametrize(
    "step",
    [
        {"hooks": HOOKS},
        {"base_task_id": None, "approval": Approval()},
        {"base_task_id": None, "hooks": ["factory"]},
        {"base_task_id": None, "pipeline_id": "c" * 32},
        {"retry": Retry(times=0)},
        {"retry": Retry(times=3, delay=1, factor=2, jitter=1, max_delay=9)},
    ],
)
def test_what_makes_sense_passes(step):
    checked(definition(step))


def test_an_approval_or_a_pipeline_needs_no_queue_and_everything_else_does():
    for step in ({"base_task_id": None, "approval": Approval()}, {"base_task_id": None, "pipeline_id": "c" * 32}):
        checked(definition(step, default_queue=None))
    with pytest.raises(Invalid, match="has no queue"):
        checked(definition({"approval": Approval()}, default_queue=None))


def test_a_dynamic_pipeline_needs_no_steps_but_a_host():
    whole = Definition(name="iris", project="examples", dynamic=True, host=HostDefinition(queue="gpu"))
    assert checked(whole) == whole
    assert literal_queues(whole) == {"gpu"}
