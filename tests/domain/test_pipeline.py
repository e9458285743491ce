"""A pipeline: what is checked before anything runs, versions, and the plan that a run follows."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from domain.content import Content
from domain.pipeline import (
    Definition,
    Pipeline,
    PipelineParameter,
    PipelineRegistered,
    PipelineSubmitted,
    Plan,
    StepDefinition,
    checked,
    effective_parents,
    evolve,
    literal_queues,
    next_version,
    register,
)
from domain.refused import Invalid, Refused


def step(name: str, **fields: Any) -> StepDefinition:
    return StepDefinition(name=name, **{"base_task_id": "b1", **fields})


def definition(*steps: StepDefinition, **fields: Any) -> Definition:
    return Definition(**{"name": "iris", "project": "examples", "default_queue": "default", "steps": steps, **fields})


A, B = step("a"), step("b", parents=["a"])
RATE = PipelineParameter(name="rate", default=0.1)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(definition(A), id="one step"),
        pytest.param(definition(B, A), id="a parent defined later"),
        pytest.param(definition(step("a", queue="gpu"), default_queue=None), id="a queue of its own"),
        pytest.param(definition(step("a", base_task_id=None, base_task_name="x")), id="a template by name"),
        pytest.param(definition(step("a", base_task_id=None, task=Content())), id="a template inside"),
        pytest.param(definition(step("a", base_task_id=None, content="c" * 64)), id="pinned"),
        pytest.param(definition(step("größe / 'a' ../b")), id="any name"),
        pytest.param(definition(step("pipeline.x")), id="a name that begins like the reserved one"),
        pytest.param(
            definition(step("a", parameter_override={"General/x": "${pipeline.rate}"}), parameters=[RATE]),
            id="a reference to a parameter",
        ),
        pytest.param(
            definition(A, step("b", parameter_override={"General/x": "${a.artifacts.data.url}"})),
            id="a reference to a step that is no parent by name",
        ),
        pytest.param(
            definition(step("a", parameter_override={"General/x": ["${nobody.id}"]})),
            id="what is not parsed deep is no reference",
        ),
        pytest.param(definition(step("a", task_overrides={"script.version_num": "abc"})), id="ClearML's field name"),
        pytest.param(definition(step("a", queue="${pipeline.rate}"), parameters=[RATE]), id="a queue by reference"),
        pytest.param(
            definition(A, default_queue="${pipeline.rate}", parameters=[RATE]), id="the default queue by reference"
        ),
        pytest.param(definition(A, target_project=None), id="no target project"),
    ],
)
def test_what_makes_sense_is_taken_as_it_is(given):
    assert checked(given) is given


@pytest.mark.parametrize(
    ("given", "sentence", "where"),
    [
        pytest.param(definition(A, name=" "), "A pipeline needs a name.", "name", id="no name"),
        pytest.param(definition(A, project=""), "A pipeline needs a project.", "project", id="no project"),
        pytest.param(definition(), "Pipeline 'iris' has no steps: add at least one.", "steps", id="no steps"),
        pytest.param(definition(A, step("")), "A step needs a name.", "steps/1/name", id="no name of a step"),
        pytest.param(
            definition(step("pipeline")), "A step cannot be called 'pipeline'", "steps/0/name", id="reserved name"
        ),
        pytest.param(
            definition(A, A), "Two steps are called 'a': names must differ.", "steps/1/name", id="the same name twice"
        ),
        pytest.param(
            definition(A, parameters=[RATE, RATE]),
            "Two parameters are called 'rate': names must differ.",
            "parameters/1/name",
            id="the same parameter twice",
        ),
        pytest.param(
            definition(A, parameters=[PipelineParameter(name=" ")]),
            "A parameter needs a name.",
            "parameters/0/name",
            id="a parameter without a name",
        ),
        pytest.param(
            definition(step("a", base_task_id=None)),
            "Step 'a' has no template: give base_task_id or base_task_name.",
            "steps/0",
            id="no template",
        ),
        pytest.param(
            definition(A, default_queue=None),
            "Step 'a' has no queue: give it one, or set default_queue.",
            "steps/0/queue",
            id="no queue",
        ),
        pytest.param(
            definition(step("a", on_lost="wait")),
            "on_lost is 'requeue' or 'fail', not 'wait'.",
            "steps/0/on_lost",
            id="on_lost",
        ),
        pytest.param(
            definition(step("a", max_attempts=0)), "max_attempts is at least 1.", "steps/0/max_attempts", id="attempts"
        ),
        pytest.param(
            definition(step("a", parents=["a"])), "Step 'a' waits for itself.", "steps/0/parents", id="its own parent"
        ),
        pytest.param(
            definition(A, step("b", parents=["x"])),
            "Step 'b' waits for 'x', which is no step: steps are 'a', 'b'.",
            "steps/1/parents",
            id="unknown parent",
        ),
        pytest.param(
            definition(step("a", parents=["b"]), B),
            "The steps wait for each other in a circle: a -> b -> a.",
            "steps",
            id="a circle",
        ),
        pytest.param(
            definition(step("a", parameter_override={"General/x": "${b.id}"}), B),
            "in a circle: a -> b -> a.",
            "steps",
            id="a circle through a reference",
        ),
        pytest.param(
            definition(step("a", parameter_override={"lr": 1})),
            "Step 'a': Parameter 'lr' has no section: write it as 'General/lr'.",
            "steps/0/parameter_override",
            id="a parameter without section",
        ),
        pytest.param(
            definition(step("a", task_overrides={"script.brunch": 1})),
            "Step 'a': A task has no field 'script.brunch' to override",
            "steps/0/task_overrides",
            id="an unknown task field",
        ),
        pytest.param(
            definition(step("a", task_overrides={"tags": "best"})),
            "Step 'a': Task field 'tags' is a list of texts, not 'best'.",
            "steps/0/task_overrides",
            id="a task field of another type",
        ),
        pytest.param(
            definition(step("a", parameter_override={"General/x": "${nobody.id}"})),
            "Step 'a': ${nobody.id} speaks of neither a step nor a parameter: steps are 'a'",
            "steps/0",
            id="a reference to nobody",
        ),
        pytest.param(
            definition(step("a", task_overrides={"comment": "see ${nobody.id}"})),
            "Step 'a': ${nobody.id} speaks of neither",
            "steps/0",
            id="a reference to nobody in a task field",
        ),
        pytest.param(
            definition(step("a", queue="${nobody.id}")), "Step 'a': ${nobody.id}", "steps/0", id="and in a queue"
        ),
        pytest.param(
            definition(
                step("a", parameter_override={"General/x": ["${nobody.id}"]}, recursively_parse_parameters=True)
            ),
            "Step 'a': ${nobody.id} speaks of neither",
            "steps/0",
            id="and deep inside",
        ),
        pytest.param(
            definition(step("a", parameter_override={"General/x": "${a.id}"})),
            "Step 'a' refers to itself: ${a.id}.",
            "steps/0",
            id="a reference to itself",
        ),
        pytest.param(
            definition(step("a", parameter_override={"General/x": "${pipeline.lr}"}), parameters=[RATE]),
            "Step 'a': the pipeline has no parameter 'lr' (${pipeline.lr}); it has: rate. Add it to parameters.",
            "steps/0",
            id="an unknown parameter",
        ),
        pytest.param(
            definition(A, default_queue="${pipeline.queue}"),
            "default_queue: the pipeline has no parameter 'queue' (${pipeline.queue}); it has: none.",
            "default_queue",
            id="an unknown parameter in the default queue",
        ),
        pytest.param(
            definition(A, B, default_queue="${a.parameters.General/queue}"),
            "default_queue may refer to the pipeline's parameters only, not to ${a.parameters.General/queue}",
            "default_queue",
            id="a step in the default queue",
        ),
        pytest.param(
            definition(A, default_queue="${nobody.id}"),
            "default_queue: ${nobody.id} speaks of neither",
            "default_queue",
            id="nobody in the default queue",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(given, sentence, where):
    with pytest.raises(Invalid) as invalid:
        checked(given)
    assert sentence in str(invalid.value)
    assert invalid.value.where == where


def test_a_circle_far_from_the_first_step_is_found_among_many():
    steps = [step(f"s{n}", parents=[f"s{n - 1}"] if n else []) for n in range(2000)]
    assert checked(definition(*steps))
    with pytest.raises(Invalid, match="in a circle: s1998 -> s1999 -> s1998"):
        checked(definition(*steps[:1998], step("s1998", parents=["s1999"]), step("s1999", parents=["s1998"])))


@pytest.mark.parametrize(
    ("fields", "parents"),
    [
        ({}, ()),
        ({"parents": ["b", "a", "b"]}, ("b", "a")),
        ({"parents": ["b"], "parameter_override": {"General/x": "${a.id}${b.id}"}}, ("b", "a")),
        ({"task_overrides": {"script.branch": "${a.script.branch}"}}, ("a",)),
        ({"queue": "${a.parameters.General/queue}"}, ("a",)),
        ({"parameter_override": {"General/x": "${pipeline.rate}"}}, ()),
        ({"parameter_override": {"General/x": ["${a.id}"]}}, ()),
        ({"parameter_override": {"General/x": ["${a.id}"]}, "recursively_parse_parameters": True}, ("a",)),
        ({"configuration_overrides": {"model": "${a.id}"}}, ()),
    ],
)
def test_a_step_waits_for_its_parents_and_for_those_it_refers_to(fields, parents):
    assert effective_parents(step("c", **fields), {"a": 0, "b": 1, "c": 2}) == parents


@pytest.mark.parametrize(
    ("given", "queues"),
    [
        (definition(A), {"default"}),
        (definition(step("a", queue="gpu"), B), {"gpu", "default"}),
        (definition(step("a", queue="${pipeline.rate}"), step("b", queue="x-${pipeline.rate}")), set()),
        (definition(step("a", queue="gpu"), default_queue="never used"), {"gpu"}),
    ],
)
def test_the_queues_that_a_definition_names_outright(given, queues):
    assert literal_queues(given) == queues


@pytest.mark.parametrize(
    ("version", "following"),
    [
        ("", "1.0.0"),
        ("1.0.0", "1.0.1"),
        ("1.0.9", "1.0.10"),
        ("1", "2"),
        ("2026.1", "2026.2"),
        ("1.0rc", "1.0rc.1"),
        ("v1", "v1.1"),
        ("1.²", "1.².1"),
    ],
)
def test_the_next_version_counts_its_last_number_up(version, following):
    assert next_version(version) == following


def registered(version: str, digest: str = "d1") -> PipelineRegistered:
    return PipelineRegistered(name="iris", project="examples", pipeline_version=version, definition=digest)


@pytest.mark.parametrize(
    ("given", "version", "digest", "then"),
    [
        pytest.param([], None, "d1", ["1.0.0"], id="the first"),
        pytest.param([], "2.5", "d1", ["2.5"], id="the first with a version of its own"),
        pytest.param([registered("1.0.0")], None, "d1", [], id="the same again"),
        pytest.param([registered("1.0.0")], "1.0.0", "d1", [], id="the same with its version"),
        pytest.param([registered("1.0.0")], "1.1", "d1", ["1.1"], id="the same under a new version"),
        pytest.param([registered("1.0.0")], None, "d2", ["1.0.1"], id="another"),
        pytest.param([registered("1.0.0")], "1.0.0", "d2", ["1.0.0"], id="another under the same version"),
        pytest.param(
            [registered("1.0.0"), registered("1.0.1", "d2")], None, "d1", ["1.0.2"], id="an older one comes back"
        ),
    ],
)
def test_a_definition_becomes_the_newest(given, version, digest, then):
    pipeline = Pipeline(id="p1")
    for event in given:
        pipeline = evolve(pipeline, event, 1)
    found = register(replace(definition(A), version=version), digest, pipeline)
    assert found == [registered(said, digest) for said in then]


def test_a_pipeline_remembers_its_newest_definition_and_its_count_of_runs():
    pipeline = Pipeline(id="p1")
    for at, event in enumerate(
        [registered("1.0.0"), PipelineSubmitted(run_id="r1", number=1), PipelineSubmitted(run_id="r2", number=2)], 1
    ):
        pipeline = evolve(pipeline, event, at)
    assert pipeline == Pipeline(
        id="p1",
        version=3,
        name="iris",
        project="examples",
        pipeline_version="1.0.0",
        definition="d1",
        runs=2,
        registered_at=1,
    )


def test_a_plan_knows_parents_children_defaults_and_contents():
    content = Content(comment="the template")
    given = definition(
        step("a", content="c1"),
        step("b", parents=["a"], content="c1"),
        step("c", parameter_override={"General/x": "${a.id} ${b.id}"}),
        parameters=[RATE, PipelineParameter(name="size")],
    )
    plan = Plan(given, {"c1": content})
    assert plan.parents == {"a": (), "b": ("a",), "c": ("a", "b")}
    assert plan.children == {"a": ("b", "c"), "b": ("c",), "c": ()}
    assert plan.defaults == {"rate": 0.1, "size": None}
    assert plan.content_of("b") is content
    with pytest.raises(Refused, match="Step 'c' has no template"):
        plan.content_of("c")


def test_the_definition_in_the_contract_is_one():
    """As docs/api.md prints it, but for the ids that it leaves out."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    [example] = re.findall(r"```json\n(\{\"name\": \"iris\".*?)```", page, re.DOTALL)
    given = checked(msgspec.json.decode(example, type=Definition, strict=True))
    assert [given_step.name for given_step in given.steps] == ["stage_data", "train"]


def test_a_refusal_stays_readable_in_a_pipeline_of_many_steps():
    many = [step(f"s{n}") for n in range(1000)]
    for wrong in (step("x", parents=["y"]), step("x", queue="${y.id}")):
        with pytest.raises(Invalid) as invalid:
            checked(definition(*many, wrong))
        assert len(str(invalid.value)) < 400
