"""`${...}`: what can be written, what it means, and what becomes of text around it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from domain.references import MissingReference, Reference, as_text, parse, references, resolve
from domain.refused import Invalid

STEPS = ("train", "train.big", "stage data", "größe", "a.b.c", "v1.2")


def lookup(reference: Reference) -> Any:
    """Values of all sorts, by the reference's text between the braces."""
    values = {
        "pipeline.url": "http://data",
        "pipeline.count": 5,
        "pipeline.rate": 0.5,
        "pipeline.flag": True,
        "pipeline.none": None,
        "pipeline.list": [1, "ü"],
        "pipeline.map": {"b": 1, "a": None},
        "pipeline.reference": "${pipeline.url}",
        "train.id": "t1",
    }
    body = reference.text[2:-1].strip()
    if body not in values:
        raise MissingReference(f"{reference.text} is not there")
    return values[body]


@pytest.mark.parametrize(
    ("body", "step", "kind", "path"),
    [
        ("pipeline.url", None, "parameter", ("url",)),
        ("pipeline.a.b", None, "parameter", ("a.b",)),
        ("pipeline.with space", None, "parameter", ("with space",)),
        ("pipeline.größe", None, "parameter", ("größe",)),
        ("train.id", "train", "id", ()),
        ("stage data.id", "stage data", "id", ()),
        ("größe.id", "größe", "id", ()),
        ("  train.id ", "train", "id", ()),
        ("train.artifacts.data.url", "train", "artifact", ("data", "url")),
        ("train.artifacts.my data.size", "train", "artifact", ("my data", "size")),
        (r"train.artifacts.data\.csv.url", "train", "artifact", ("data.csv", "url")),
        (r"train.artifacts.a\.b\.c.url", "train", "artifact", ("a.b.c", "url")),
        ("train.artifacts.data.metadata.rows", "train", "artifact", ("data", "metadata.rows")),
        ("train.artifacts.übung.url", "train", "artifact", ("übung", "url")),
        ("train.parameters.General/lr", "train", "parameters", ("General/lr",)),
        ("train.parameters.General/a.b.c", "train", "parameters", ("General/a.b.c",)),
        (r"train.parameters.General/a\.b", "train", "parameters", ("General/a.b",)),
        ("train.parameters.lr", "train", "parameters", ("lr",)),
        ("train.models.output.0.url", "train", "model", ("output", "0", "url")),
        ("train.models.output.-1.id", "train", "model", ("output", "-1", "id")),
        ("train.models.input.12.config_dict.depth", "train", "model", ("input", "12", "config_dict.depth")),
        ("train.script.branch", "train", "field", ("script", "branch")),
        ("train.script.requirements.pip", "train", "field", ("script", "requirements", "pip")),
        ("train.execution.docker_cmd", "train", "field", ("execution", "docker_cmd")),
        ("train.container.image", "train", "field", ("container", "image")),
        ("train.output.destination", "train", "field", ("output", "destination")),
        ("train.comment", "train", "field", ("comment",)),
        ("train.tags", "train", "field", ("tags",)),
        ("train.system_tags", "train", "field", ("system_tags",)),
        ("train.project", "train", "field", ("project",)),
    ],
)
def test_every_form_is_understood(body, step, kind, path):
    assert parse(body, STEPS) == Reference(f"${{{body}}}", step, kind, path)


@pytest.mark.parametrize(
    ("body", "step", "path"),
    [
        ("train.artifacts.x.url", "train", ("x", "url")),
        ("train.big.artifacts.x.url", "train.big", ("x", "url")),
        ("a.b.c.artifacts.x.url", "a.b.c", ("x", "url")),
        ("v1.2.artifacts.x.url", "v1.2", ("x", "url")),
        (r"v1\.2.artifacts.x.url", "v1.2", ("x", "url")),
        (r"a\.b\.c.artifacts.x\.y.url", "a.b.c", ("x.y", "url")),
    ],
)
def test_a_step_whose_name_has_dots_is_found_by_the_longest_name(body, step, path):
    assert parse(body, STEPS) == Reference(f"${{{body}}}", step, "artifact", path)


@pytest.mark.parametrize("steps", [STEPS, dict.fromkeys(STEPS, 1)], ids=["sequence", "mapping"])
def test_steps_may_be_any_collection_of_names(steps):
    assert parse("train.id", steps).step == "train"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("nobody.id", "${nobody.id} speaks of neither a step nor a parameter: steps are 'train', 'train.big'"),
        ("", "${} speaks of neither"),
        ("train", "${train} speaks of neither"),
        ("pipeline", "${pipeline} speaks of neither"),
        ("pipeline.", "${pipeline.} speaks of neither"),
        ("HOME", "${HOME} speaks of neither"),
        ("train.", "${train.} names nothing that step 'train' has"),
        ("train.id.more", "names nothing that step 'train' has"),
        ("train.artifacts", "names nothing"),
        ("train.artifacts.data", "write ${train.id}, ${train.artifacts.NAME.url}"),
        ("train.artifacts.data.", "names nothing"),
        ("train.artifacts..url", "names nothing"),
        ("train.parameters", "names nothing"),
        ("train.parameters.", "names nothing"),
        ("train.models.output.0", "names nothing"),
        ("train.models.output.first.url", "names nothing"),
        ("train.models.other.0.url", "names nothing"),
        ("train.models.output.--1.url", "names nothing"),
        ("train.metrics.loss", "names nothing"),
    ],
)
def test_what_means_nothing_is_named_with_what_could_be_meant(body, sentence):
    with pytest.raises(Invalid) as invalid:
        parse(body, STEPS)
    assert sentence in str(invalid.value)


def test_a_reference_where_there_are_no_steps_says_so():
    with pytest.raises(Invalid, match="steps are none yet"):
        parse("train.id", ())


@pytest.mark.parametrize(
    ("value", "then"),
    [
        ("plain", "plain"),
        ("", ""),
        (7, 7),
        (None, None),
        # Alone, a reference keeps its type.
        ("${pipeline.count}", 5),
        ("${pipeline.rate}", 0.5),
        ("${pipeline.flag}", True),
        ("${pipeline.none}", None),
        ("${pipeline.list}", [1, "ü"]),
        ("${pipeline.map}", {"b": 1, "a": None}),
        ("${ pipeline.count }", 5),
        # In other text it becomes text.
        ("x-${pipeline.url}-y", "x-http://data-y"),
        ("x-${pipeline.count}-y", "x-5-y"),
        ("${pipeline.rate}/${pipeline.flag}", "0.5/True"),
        ("none: ${pipeline.none}", "none: None"),
        ("list: ${pipeline.list}", 'list: [1, "ü"]'),
        ("map: ${pipeline.map}", 'map: {"a": null, "b": 1}'),
        ("${pipeline.count}${pipeline.count}", "55"),
        # What a reference yields is not read again.
        ("${pipeline.reference}", "${pipeline.url}"),
        ("<${pipeline.reference}>", "<${pipeline.url}>"),
        # No reference at all.
        ("$pipeline.url", "$pipeline.url"),
        ("${pipeline.url", "${pipeline.url"),
        ("{pipeline.url}", "{pipeline.url}"),
        ("$ {pipeline.url}", "$ {pipeline.url}"),
        # Nested braces: the inner reference counts.
        ("${${pipeline.count}}", "${5}"),
    ],
)
def test_a_value_with_its_references_replaced(value, then):
    found = resolve(value, STEPS, lookup)
    assert found == then
    assert type(found) is type(then)


NESTED = {"a": ["${pipeline.count}", ("x${pipeline.count}", {"b": "${train.id}"})], "${train.id}": 1}


def test_references_inside_lists_and_mappings_are_replaced_when_deep():
    """Keys stay as they are, and tuples become lists, as in JSON."""
    assert resolve(NESTED, STEPS, lookup) == {"a": [5, ["x5", {"b": "t1"}]], "${train.id}": 1}
    assert [found.text for found in references(NESTED, STEPS)] == [
        "${pipeline.count}",
        "${pipeline.count}",
        "${train.id}",
    ]


def test_references_inside_lists_and_mappings_stay_text_when_not_deep():
    assert resolve(NESTED, STEPS, lookup, deep=False) is NESTED
    assert list(references(NESTED, STEPS, deep=False)) == []
    assert resolve("${pipeline.count}", STEPS, lookup, deep=False) == 5


def test_a_reference_to_nothing_says_which():
    with pytest.raises(MissingReference, match=r"\$\{train.artifacts.x.url\} is not there"):
        resolve(["fine", {"a": "see ${train.artifacts.x.url}"}], STEPS, lookup)


def test_all_references_of_a_text_are_found_in_its_order():
    text = "${train.id} and ${pipeline.url} and ${stage data.artifacts.x.url}"
    assert [(found.step, found.kind) for found in references(text, STEPS)] == [
        ("train", "id"),
        (None, "parameter"),
        ("stage data", "artifact"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (5, "5"),
        (0.1, "0.1"),
        (True, "True"),
        (None, "None"),
        ([1, {"b": "ü", "a": False}], '[1, {"a": false, "b": "ü"}]'),
    ],
)
def test_how_a_value_reads_inside_text(value, text):
    assert as_text(value) == text


# Properties

NAME = st.text(
    st.characters(exclude_characters="{}\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
).filter(lambda name: name == name.strip())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def escaped(name: str) -> str:
    return name.replace(".", "\\.")


@settings(deadline=None)
@given(NAME.filter(lambda name: name != "pipeline"), NAME, st.sampled_from(["url", "size", "metadata.rows"]))
def test_any_artifact_of_any_step_can_be_named(step, artifact, attribute):
    text = f"${{{step}.artifacts.{escaped(artifact)}.{attribute}}}"
    [found] = references(text, [step])
    assert found == Reference(text, step, "artifact", (artifact, attribute))


@settings(deadline=None)
@given(NAME.filter(lambda name: name != "pipeline"), NAME, NAME)
def test_any_parameter_of_any_step_can_be_named(step, section, name):
    text = f"${{{step}.parameters.{section}/{name}}}"
    [found] = references(text, [step])
    assert (found.step, found.kind, found.path) == (step, "parameters", (f"{section}/{name}",))


@settings(deadline=None)
@given(NAME, JSON)
def test_any_parameter_of_the_pipeline_keeps_its_value_and_type(name, value):
    found = resolve(f"${{pipeline.{name}}}", [], lambda reference: {name: value}[reference.path[0]])
    assert found is value


@settings(deadline=None)
@given(JSON)
def test_a_value_without_references_is_what_it_was(value):
    def refuse(reference: Reference) -> Any:
        raise AssertionError(reference)

    has_reference = "${" in json.dumps(value)
    assert has_reference or resolve(value, STEPS, refuse) == value


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="${}"), max_size=5), min_size=3, max_size=3), JSON, JSON)
def test_text_around_references_stays_text(texts, first, second):
    before, between, after = texts
    found = resolve(
        f"<{before}${{pipeline.a}}{between}${{pipeline.b}}{after}",
        [],
        lambda reference: {"a": first, "b": second}[reference.path[0]],
    )
    assert found == f"<{before}{as_text(first)}{between}{as_text(second)}{after}"


def test_steps_in_no_order_are_named_in_the_same_one_by_every_process():
    with pytest.raises(Invalid, match="steps are 's0', 's1', 's2', 's3', 's4', 's5', 's6', 's7', 's8', 's9'"):
        parse("nobody.id", Map({f"s{number}": None for number in (3, 1, 4, 5, 9, 2, 6, 0, 8, 7)}))
