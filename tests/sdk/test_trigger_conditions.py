"""What a trigger waits for, as tables."""

from typing import Any

import pytest

from foldline.automation.trigger_conditions import Changed, DatasetTrigger, ModelTrigger, TaskTrigger

TASK: dict[str, Any] = {
    "id": "a" * 32,
    "name": "train net",
    "project": "iris",
    "type": "training",
    "status": "completed",
    "tags": ["good", "new"],
    "system_tags": [],
    "attempts": [{"number": 1, "agent": "a1"}],
}
DATASET: dict[str, Any] = {**TASK, "type": "data_processing", "system_tags": ["dataset"]}
MODEL: dict[str, Any] = {
    "id": "b" * 32, "name": "net", "project": "iris", "tags": ["good"], "published": False, "archived": False,
}  # fmt: skip
METRICS = {"test": {"accuracy": {"last": 0.7, "min": 0.2, "max": 0.9}}}
JOB: dict[str, Any] = {"name": "j", "base_task_id": "c" * 32, "queue": "default"}
WATCH: dict[str, Any] = {"metrics": "test", "variant": "accuracy"}


@pytest.mark.parametrize(
    ("given", "record", "statuses", "expected"),
    [
        pytest.param({}, {}, (), True, id="any change"),
        pytest.param({"project": "iris"}, {}, (), True, id="the project"),
        pytest.param({"project": "iris"}, {"project": "iris/deep"}, (), False, id="not what is below it"),
        pytest.param({"match_name": "^train"}, {}, (), True, id="its name"),
        pytest.param({"match_name": "^net"}, {}, (), False, id="another name"),
        pytest.param({"tags": ["good", "new"]}, {}, (), True, id="all tags"),
        pytest.param({"tags": ["good", "old"]}, {}, (), False, id="one of the tags"),
        pytest.param({"tags": ["good"], "required_tags": ["old"]}, {}, (), False, id="a required tag"),
        pytest.param({"on_status": ["failed", "completed"]}, {}, (), True, id="its status"),
        pytest.param({"on_status": ["failed"]}, {}, (), False, id="another status"),
        pytest.param({"on_status": ["failed"]}, {"status": "queued"}, {"failed", "queued"}, True, id="for a moment"),
        pytest.param({"exclude_dev": True}, {}, (), True, id="run by an agent"),
        pytest.param({"exclude_dev": True}, {"attempts": [{"agent": None}]}, (), False, id="run by hand"),
        pytest.param({}, {"project": ".trash/iris"}, (), False, id="deleted"),
        pytest.param({**WATCH, "threshold": 0.2}, {}, (), True, id="the lowest is low enough"),
        pytest.param({**WATCH, "threshold": 0.1}, {}, (), False, id="the lowest is not"),
        pytest.param({**WATCH, "threshold": 0.9, "value_sign": "max"}, {}, (), True, id="the highest is high enough"),
        pytest.param({**WATCH, "threshold": 0.95, "value_sign": "maximum"}, {}, (), False, id="the highest is not"),
        pytest.param({**WATCH, "threshold": 0, "value_sign": "max"}, {}, (), True, id="a threshold of 0"),
        pytest.param({**WATCH, "variant": "loss", "threshold": 9}, {}, (), False, id="nothing reported there"),
    ],
)
def test_which_tasks(given: dict[str, Any], record: dict[str, Any], statuses: set[str], expected: bool):
    trigger = TaskTrigger(**JOB, **given)
    trigger.verify()
    changed = Changed(record={**TASK, **record}, statuses=statuses, metrics=lambda: METRICS)
    assert trigger.matches(changed) is expected


@pytest.mark.parametrize(
    ("given", "record", "expected"),
    [
        pytest.param({}, {}, True, id="finalized"),
        pytest.param({}, {"status": "published"}, True, id="published at once"),
        pytest.param({}, {"status": "created"}, False, id="a draft"),
        pytest.param({}, {"system_tags": []}, False, id="no dataset"),
        pytest.param({"on_publish": True}, {}, False, id="not published yet"),
        pytest.param({"on_publish": True}, {"status": "published"}, True, id="published"),
        pytest.param({"on_archive": True}, {}, False, id="not archived"),
        pytest.param({"on_archive": True}, {"system_tags": ["dataset", "archived"]}, True, id="archived"),
        pytest.param({"project": "other"}, {}, False, id="another project"),
    ],
)
def test_which_datasets(given: dict[str, Any], record: dict[str, Any], expected: bool):
    assert DatasetTrigger(**JOB, **given).matches(Changed(record={**DATASET, **record})) is expected


@pytest.mark.parametrize(
    ("given", "record", "expected"),
    [
        pytest.param({}, {}, True, id="any"),
        pytest.param({"on_publish": True}, {}, False, id="not published"),
        pytest.param({"on_publish": True}, {"published": True}, True, id="published"),
        pytest.param({"on_archive": True}, {}, False, id="not archived"),
        pytest.param({"on_archive": True}, {"archived": True}, True, id="archived"),
        pytest.param({"tags": ["best"]}, {}, False, id="without its tag"),
    ],
)
def test_which_models(given: dict[str, Any], record: dict[str, Any], expected: bool):
    assert ModelTrigger(**JOB, **given).matches(Changed(record={**MODEL, **record})) is expected


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (TaskTrigger(**JOB, metrics="m"), "all three, or none"),
        (TaskTrigger(**JOB, threshold=0), "all three, or none"),
        (TaskTrigger(**JOB, on_status=["done"]), "trigger_on_status is a list of"),
        (TaskTrigger(**JOB, on_status="failed"), "trigger_on_status is a list of"),
        (TaskTrigger(**JOB, **WATCH, threshold=1, value_sign="up"), "Invalid value_sign `up`"),
        (ModelTrigger(**JOB, tags="good"), "must be a list of strings"),
        (ModelTrigger(**JOB, match_name="("), "is no regular expression"),
        (DatasetTrigger(name="j", base_task_id="c"), "'queue' must be provided"),
    ],
)
def test_what_is_no_trigger(trigger: TaskTrigger, expected: str):
    with pytest.raises(ValueError, match=expected):
        trigger.verify()


def test_what_stands_for_the_object():
    given = {"a": "${model.id}", "b": ["at ${model.name}"], "c": {"d": "${model.project}"}, "e": "${task.id}", "f": 1}
    assert ModelTrigger(**JOB).filled(given, MODEL) == {
        "a": "b" * 32, "b": ["at net"], "c": {"d": "iris"}, "e": "${task.id}", "f": 1,
    }  # fmt: skip
