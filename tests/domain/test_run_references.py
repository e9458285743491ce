"""What a step is launched with: references replaced by what other steps made, by parameters, by task fields.

What is not there fails the step with a sentence; it never ends the controller, and never the run as if all were well.
"""

from typing import Any

import msgspec
import pytest

from domain.content import Configuration, Container, Content, Edit, Overrides, Parameter, Script
from domain.pipeline import ContinueBehaviour
from domain.run_events import StepFailed
from domain.task import ModelAdded, TaskCreated, TaskEdited
from domain.times import rfc3339
from tests.domain.play import Play, pipeline, step

TEMPLATE = Content(
    hyperparameters={
        "General": {"lr": Parameter(0.1, "float"), "a.b": Parameter([1, 2])},
        "Args": {"lr": Parameter("x")},
    },
    configuration={"model": Configuration("depth: 3", "yaml")},
    script=Script(branch="main", commit="abc", entry_point="train.py", requirements={"pip": "numpy"}),
    container=Container(image="python:3.11"),
    comment="the template",
    tags=["t1"],
    output_destination="s3://bucket",
)


def launched(value: Any, *, override: dict[str, Any] | None = None, **fields: Any) -> Play:
    """Step `a` has made all that can be referred to and completed; `b` refers to it by `value`."""
    first = step("a", parameter_override=override or {})
    second = step("b", "a", parameter_override={"General/x": value})
    play = Play(pipeline([first, second], defaults={"rate": 0.5, "size": None, "name": "iris"}), TEMPLATE, **fields)
    play.artifact(
        "a", "data", hash="h", size=12, type="dict", format="json", preview="{}", metadata={"rows": 3, "d": {"x": 1}}
    )
    play.artifact("a", "my data.csv")
    for number in (1, 2):
        play.task(
            "a", ModelAdded(id=f"m{number}", kind="output", name=f"model {number}", labels={"cat": number}, tags=("x",))
        )
    play.task("a", ModelAdded(id="m0", kind="input", name="given", framework="sklearn", config_dict={"depth": 3}))
    play.complete("a")
    return play


def value_of(play: Play) -> Any:
    overrides = play.created("b").overrides
    assert overrides is not None
    return overrides.parameters["General/x"]


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("${pipeline.rate}", 0.5),
        ("${pipeline.size}", None),
        ("at ${pipeline.rate}!", "at 0.5!"),
        ("${a.artifacts.data.name}", "data"),
        ("${a.artifacts.data.url}", "foldline://blobs/data"),
        ("${a.artifacts.data.hash}", "h"),
        ("${a.artifacts.data.size}", "12"),
        ("${a.artifacts.data.type}", "dict"),
        ("${a.artifacts.data.preview}", "{}"),
        ("${a.artifacts.data.mode}", "output"),
        ("${a.artifacts.data.metadata}", '{"d": {"x": 1}, "rows": 3}'),
        ("${a.artifacts.data.metadata.rows}", "3"),
        ("${a.artifacts.data.metadata.d.x}", "1"),
        (r"${a.artifacts.my data\.csv.url}", "foldline://blobs/my data.csv"),
        ("see ${a.artifacts.data.url}, ${a.artifacts.data.size} bytes", "see foldline://blobs/data, 12 bytes"),
        ("${a.parameters.General/lr}", 0.1),
        ("${a.parameters.lr}", 0.1),
        ("${a.parameters.Args/lr}", "x"),
        ("${a.parameters.General/a.b}", [1, 2]),
        ("${a.models.output.0.id}", "m1"),
        ("${a.models.output.-1.id}", "m2"),
        ("${a.models.output.-2.name}", "model 1"),
        ("${a.models.output.1.labels}", {"cat": 2}),
        ("${a.models.output.1.labels.cat}", 2),
        ("${a.models.output.0.tags}", ["x"]),
        ("${a.models.input.0.framework}", "sklearn"),
        ("${a.models.input.0.config_dict.depth}", 3),
        ("${a.script.branch}", "main"),
        ("${a.script.version_num}", "abc"),
        ("${a.script.requirements.pip}", "numpy"),
        ("${a.script.requirements}", {"pip": "numpy"}),
        ("${a.container.image}", "python:3.11"),
        ("${a.container}", {"image": "python:3.11", "arguments": "", "setup_script": ""}),
        ("${a.execution.docker_cmd}", "python:3.11"),
        ("${a.output.destination}", "s3://bucket"),
        ("${a.comment}", "the template"),
        ("${a.tags}", ["t1"]),
        ("${a.system_tags}", []),
        ("${a.type}", "training"),
        ("${a.project}", "examples"),
        ("${a.name}", "a"),
    ],
)
def test_a_reference_becomes_its_value(reference, value):
    found = value_of(launched(reference))
    assert found == value
    assert type(found) is type(value)


def test_a_reference_to_a_steps_id_is_its_tasks():
    play = launched("${a.id}")
    assert value_of(play) == play.tasks["a"].id


def test_a_model_knows_the_task_that_made_it():
    play = launched("${a.models.output.0.task}")
    assert value_of(play) == play.tasks["a"].id


def test_an_artifacts_time_is_the_one_at_which_it_was_recorded():
    play = launched("${a.artifacts.data.timestamp}")
    assert value_of(play) == rfc3339(play.step("a").artifacts["data"].timestamp)
    assert str(value_of(play)).endswith("Z")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (
            "${a.artifacts.dada.url}",
            "${a.artifacts.dada.url}: step 'a' has no artifact 'dada'; its artifacts are: data, my data.csv",
        ),
        ("${a.artifacts.data.colour}", "${a.artifacts.data.colour}: artifact 'data' has no 'colour'"),
        ("${a.artifacts.data.metadata.columns}", "artifact 'data' has no 'metadata.columns'"),
        ("${a.artifacts.data.metadata.rows.x}", "artifact 'data' has no 'metadata.rows.x'"),
        ("${a.artifacts.data.__class__}", "artifact 'data' has no '__class__'"),
        (r"${a.artifacts.my data\.csv.hash}", "artifact 'my data.csv' has no 'hash'"),
        ("${a.parameters.General/rate}", "step 'a' has no parameter 'General/rate'"),
        ("${a.parameters.Other/lr}", "step 'a' has no parameter 'Other/lr'"),
        ("${a.parameters./lr}", "Parameter '/lr' has no section"),
        ("${a.models.output.2.id}", "step 'a' has 2 output models"),
        ("${a.models.output.-3.id}", "step 'a' has 2 output models"),
        ("${a.models.output.0.colour}", "a model has no 'colour'"),
        ("${a.models.output.0.__class__}", "a model has no '__class__'"),
        ("${a.models.output.0.labels.dog}", "a model has no 'labels.dog'"),
        ("${a.script.brunch}", "${a.script.brunch}: a task has no field 'script.brunch'"),
        ("${a.script.branch.upper}", "a task has no field 'script.branch.upper'"),
        ("${a.script.__class__}", "a task has no field 'script.__class__'"),
        ("${a.tags.append}", "a task has no field 'tags.append'"),
        ("${a.execution.queue}", "a task has no field 'execution.queue'"),
    ],
)
def test_a_reference_to_nothing_fails_the_step_with_a_sentence(reference, reason):
    play = launched(reference)
    [fact] = play.of_type(StepFailed)
    assert isinstance(fact.event, StepFailed)
    assert reason in fact.event.reason
    assert play.step("b").task_id is None
    assert play.run.status == "failed"
    assert play.run.reason == f"step 'b' failed: {fact.event.reason}"


def test_a_reference_to_nothing_among_text_fails_the_step_too():
    assert launched("see ${a.artifacts.dada.url}").step("b").status == "failed"


def test_a_reference_to_nothing_passes_where_the_author_says_so():
    from_nothing = step(
        "b", parameter_override={"General/x": "${a.artifacts.data.url}"}, continue_behaviour=ContinueBehaviour()
    )
    play = Play(pipeline([step("a"), from_nothing])).play("a completes")
    assert (play.step("b").status, play.run.status) == ("failed", "completed")


def test_which_of_two_missing_things_is_named_does_not_depend_on_the_order_they_were_written_in():
    """The definition is kept with sorted keys: deciding again must find the same reason."""
    values = {"General/z": "${a.artifacts.z.url}", "General/b": "${a.artifacts.b.url}"}
    reasons: set[str] = set()
    for override in (values, dict(reversed(values.items()))):
        play = Play(pipeline([step("a"), step("b", parameter_override=override)])).play("a completes")
        reasons.add(play.step("b").reason)
    assert len(reasons) == 1


# The newest word about a step counts


def edit_of(name: str, value: Any) -> Edit:
    return Edit(hyperparameters={"General": {name: None if value is None else Parameter(value)}})


@pytest.mark.parametrize(
    ("override", "edits", "reference", "value"),
    [
        pytest.param({"General/lr": 0.3}, [], "${a.parameters.General/lr}", 0.3, id="the override"),
        pytest.param(
            {"General/lr": "${pipeline.rate}"}, [], "${a.parameters.General/lr}", 0.5, id="an override by reference"
        ),
        pytest.param({"General/new": 1}, [], "${a.parameters.General/new}", 1, id="a parameter it brings along"),
        pytest.param(
            {"General/lr": 0.3}, [edit_of("lr", 0.4)], "${a.parameters.General/lr}", 0.4, id="what the task said itself"
        ),
        pytest.param({}, [edit_of("lr", 1), edit_of("lr", 2)], "${a.parameters.General/lr}", 2, id="the last time"),
        pytest.param({}, [edit_of("acc", 0.9)], "${a.parameters.General/acc}", 0.9, id="a new parameter of the task"),
        pytest.param(
            {}, [edit_of("lr", None), edit_of("lr", 3)], "${a.parameters.General/lr}", 3, id="deleted and set again"
        ),
        pytest.param({}, [Edit(comment="done")], "${a.comment}", "done", id="a comment"),
        pytest.param({}, [Edit(tags=["best"])], "${a.tags}", ["best"], id="tags"),
        pytest.param({}, [Edit(script=Script(branch="dev"))], "${a.script.branch}", "dev", id="a task field"),
    ],
)
def test_the_newest_word_counts(override, edits, reference, value):
    second = step("b", "a", parameter_override={"General/x": reference})
    steps = [step("a", parameter_override=override), second]
    play = Play(pipeline(steps, defaults={"rate": 0.5}), TEMPLATE)
    play.begin("a")
    for edit in edits:
        play.task("a", TaskEdited(edit=edit, attempt=1))
    play.complete("a")
    assert value_of(play) == value


@pytest.mark.parametrize(
    "edits",
    [
        [edit_of("lr", None)],
        [Edit(hyperparameters={"General": None})],
        [Edit(hyperparameters={"Args": {"seed": Parameter(1)}}, replace_hyperparameters=True)],
        [edit_of("lr", 5), edit_of("lr", None)],
    ],
    ids=["it", "its section", "all", "after it was set"],
)
def test_a_parameter_that_the_task_deleted_is_not_there(edits):
    override = {"General/lr": 0.3}
    reader = step("b", parameter_override={"General/x": "${a.parameters.General/lr}"})
    play = Play(pipeline([step("a", parameter_override=override), reader]), TEMPLATE)
    play.begin("a")
    for edit in edits:
        play.task("a", TaskEdited(edit=edit, attempt=1))
    play.complete("a")
    assert play.step("b").reason == "${a.parameters.General/lr}: step 'a' has no parameter 'General/lr'"


def test_a_parent_that_failed_at_launch_still_has_its_templates_values():
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    steps = [
        step("a", queue="nowhere", continue_behaviour=may_fail),
        step("b", "a", parameter_override={"General/x": "${a.parameters.General/lr}"}),
        step("c", "a", parameter_override={"General/x": "${a.id}"}),
    ]
    play = Play(pipeline(steps), TEMPLATE)
    assert value_of(play) == 0.1
    assert play.step("c").reason == "${a.id}: step 'a' has no task, it is failed"


# Overrides


def test_overrides_are_typed_and_recorded_with_their_values():
    first = step(
        "a",
        parameter_override={"General/rate": "${pipeline.rate}", "General/n": 3, "Args/list": ["${pipeline.rate}"]},
        configuration_overrides={"model": {"b": 1, "a": [True]}, "text": "plain ${pipeline.rate}"},
        task_overrides={"script.branch": "run-${pipeline.rate}", "container.image": "${pipeline.rate}"},
    )
    play = Play(pipeline([first], defaults={"rate": 0.5}), TEMPLATE)
    assert play.created("a").overrides == Overrides(
        parameters={"General/rate": 0.5, "General/n": 3, "Args/list": ["${pipeline.rate}"]},
        configuration={"model": '{"a": [true], "b": 1}', "text": "plain ${pipeline.rate}"},
        task={"script.branch": "run-0.5", "container.image": 0.5},
    )


def test_a_step_without_overrides_records_none():
    assert Play(pipeline([step("a")])).created("a").overrides is None


def test_references_deep_inside_are_replaced_when_asked_for():
    deep = step("b", parameter_override={"General/x": {"from": ["${a.id}"]}}, recursively_parse_parameters=True)
    play = Play(pipeline([step("a"), deep])).play("a completes")
    assert value_of(play) == {"from": [play.tasks["a"].id]}


def test_a_parameter_given_to_the_run_replaces_the_default():
    reader = step("b", parameter_override={"General/x": "${pipeline.rate} ${pipeline.size}"})
    play = Play(pipeline([reader], defaults={"rate": 0.5, "size": 1}), parameters={"rate": [2], "size": None})
    assert value_of(play) == "[2] None"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"tags": "${pipeline.name}"}, "Task field 'tags' is a list of texts, not 'iris'."),
        ({"script.arguments": "${pipeline.rate}"}, "Task field 'script.arguments' is a list of texts, not 0.5."),
    ],
)
def test_a_value_that_does_not_fit_its_field_fails_the_step(task, reason):
    play = Play(pipeline([step("a", task_overrides=task)], defaults={"rate": 0.5, "name": "iris"}))
    assert (play.step("a").reason, play.run.status) == (reason, "failed")


def test_a_type_that_is_no_text_becomes_one():
    play = Play(pipeline([step("a", task_overrides={"type": "${pipeline.n}"})], defaults={"n": 5}))
    created = play.created("a")
    assert created.type == "5"
    assert msgspec.json.decode(msgspec.json.encode(created), type=TaskCreated) == created


# Queues


@pytest.mark.parametrize(
    ("definition", "fields", "created", "queue"),
    [
        ({}, {}, {}, "default"),
        ({}, {"queue": "gpu"}, {}, "gpu"),
        ({}, {"queue": "gpu"}, {"queue": "services"}, "services"),
        ({}, {"queue": "${pipeline.where}"}, {}, "gpu"),
        ({}, {"queue": "g${pipeline.rest}"}, {}, "gpu"),
        ({"default_queue": "${pipeline.where}"}, {}, {}, "gpu"),
        ({"default_queue": "${pipeline.where}"}, {}, {"parameters": {"where": "services"}}, "services"),
    ],
)
def test_the_queue_of_a_step(definition, fields, created, queue):
    given = pipeline([step("a", **fields)], defaults={"where": "gpu", "rest": "pu"}, **definition)
    play = Play(given, queues=("default", "gpu", "services"), **created)
    assert play.step("a").queue == queue


def test_a_queue_may_be_what_another_step_found_out():
    play = Play(pipeline([step("a"), step("b", queue="${a.parameters.General/queue}")]), queues=("default", "gpu"))
    play.begin("a")
    play.task("a", TaskEdited(edit=edit_of("queue", "gpu"), attempt=1))
    play.complete("a")
    assert play.step("b").queue == "gpu"


@pytest.mark.parametrize("queue", ["${pipeline.where}", "nowhere"])
def test_a_queue_that_does_not_exist_fails_the_step(queue):
    play = Play(pipeline([step("a", queue=queue)], defaults={"where": "nowhere"}))
    assert play.step("a").reason == "there is no queue 'nowhere'; there were at submit: default, services"
    assert (play.run.status, play.run.reason) == ("failed", f"step 'a' failed: {play.step('a').reason}")
