"""What a task is made of, and how edits and overrides change it; what does not fit is refused, never stored."""

from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from domain.content import (
    LISTS,
    Configuration,
    Container,
    Content,
    Edit,
    Overrides,
    Parameter,
    Script,
    check_field,
    edited,
    field_of,
    overridden,
    split_parameter,
)
from domain.refused import Invalid

LR = Parameter(0.1, "float", "learning rate")
BASE = Content(
    type="training",
    comment="first",
    hyperparameters={"General": {"lr": LR, "epochs": Parameter(3)}, "Args": {"seed": Parameter(1)}},
    configuration={"model": Configuration("depth: 3", "yaml", "the model")},
    script=Script(entry_point="train.py", branch="main", requirements={"pip": "numpy", "conda": "mkl"}),
    container=Container(image="python:3.11"),
    tags=["a"],
)


@pytest.mark.parametrize(
    ("edit", "field", "then"),
    [
        pytest.param(Edit(), "comment", "first", id="nothing"),
        pytest.param(Edit(comment=""), "comment", "", id="an empty text is a text"),
        pytest.param(Edit(type="testing"), "type", "testing", id="type"),
        pytest.param(Edit(tags=[]), "tags", [], id="no tags any more"),
        pytest.param(Edit(system_tags=["hidden"]), "system_tags", ["hidden"], id="system tags"),
        pytest.param(Edit(output_destination="s3://b"), "output_destination", "s3://b", id="output"),
        pytest.param(Edit(script=Script(branch="dev")), "script", Script(branch="dev"), id="the script, whole"),
        pytest.param(Edit(container=Container()), "container", Container(), id="the container, whole"),
        pytest.param(
            Edit(hyperparameters={"General": {"lr": Parameter(0.2)}}),
            "hyperparameters",
            {"General": {"lr": Parameter(0.2), "epochs": Parameter(3)}, "Args": {"seed": Parameter(1)}},
            id="one parameter",
        ),
        pytest.param(
            Edit(hyperparameters={"General": {"epochs": None}, "New": {"x": Parameter(None)}}),
            "hyperparameters",
            {"General": {"lr": LR}, "Args": {"seed": Parameter(1)}, "New": {"x": Parameter(None)}},
            id="one deleted, one whose value is nothing",
        ),
        pytest.param(
            Edit(hyperparameters={"Args": None, "Other": None}),
            "hyperparameters",
            {"General": {"lr": LR, "epochs": Parameter(3)}},
            id="a section deleted, and one that was not there",
        ),
        pytest.param(
            Edit(hyperparameters={"Args": {"seed": Parameter(2)}}, replace_hyperparameters=True),
            "hyperparameters",
            {"Args": {"seed": Parameter(2)}},
            id="all replaced",
        ),
        pytest.param(
            Edit(configuration={"data": Configuration("text")}),
            "configuration",
            {"model": Configuration("depth: 3", "yaml", "the model"), "data": Configuration("text")},
            id="one more configuration",
        ),
        pytest.param(Edit(configuration={"model": None}), "configuration", {}, id="a configuration deleted"),
    ],
)
def test_an_edit_changes_what_it_names(edit, field, then):
    after = edited(BASE, edit)
    assert getattr(after, field) == then
    untouched = {name for name in BASE.__struct_fields__ if name != field}
    assert all(getattr(after, name) == getattr(BASE, name) for name in untouched)


def test_what_is_changed_is_not_what_was_given():
    edited(BASE, Edit(hyperparameters={"General": {"lr": None}}))
    overridden(BASE, Overrides(parameters={"General/lr": 9}, task={"script.requirements.pip": "torch"}))
    assert BASE.hyperparameters["General"]["lr"] == LR
    assert BASE.script.requirements == {"pip": "numpy", "conda": "mkl"}


@pytest.mark.parametrize(
    ("overrides", "path", "then"),
    [
        pytest.param(
            Overrides(parameters={"General/lr": 1}),
            "hyperparameters.General.lr",
            Parameter(1, "float", "learning rate"),
            id="a parameter keeps its type and description",
        ),
        pytest.param(
            Overrides(parameters={"New/a/b": {"x": [1]}}),
            "hyperparameters.New.a/b",
            Parameter({"x": [1]}),
            id="a new parameter in a new section, a slash in its name",
        ),
        pytest.param(
            Overrides(configuration={"model": "depth: 4"}),
            "configuration.model",
            Configuration("depth: 4", "yaml", "the model"),
            id="a configuration keeps its type",
        ),
        pytest.param(
            Overrides(configuration={"new": "x"}), "configuration.new", Configuration("x"), id="a new configuration"
        ),
        pytest.param(Overrides(task={"script.branch": "dev"}), "script.branch", "dev", id="branch"),
        pytest.param(Overrides(task={"script.version_num": "abc"}), "script.commit", "abc", id="ClearML's commit"),
        pytest.param(Overrides(task={"execution.docker_cmd": "img"}), "container.image", "img", id="ClearML's image"),
        pytest.param(
            Overrides(task={"output.destination": "s3://b"}), "output_destination", "s3://b", id="ClearML's output"
        ),
        pytest.param(
            Overrides(task={"script.requirements.pip": "torch"}),
            "script.requirements",
            {"pip": "torch", "conda": "mkl"},
            id="one kind of requirements",
        ),
        pytest.param(
            Overrides(task={"script.requirements": ["torch", "numpy"]}),
            "script.requirements",
            {"pip": ["torch", "numpy"]},
            id="requirements are pip's when nothing else is said",
        ),
        pytest.param(
            Overrides(task={"script.requirements": {"conda": "x"}}), "script.requirements", {"conda": "x"}, id="all"
        ),
        pytest.param(Overrides(task={"tags": ("x", 5)}), "tags", ["x", "5"], id="tags are texts"),
        pytest.param(
            Overrides(task={"script.arguments": ["--n", 3]}), "script.arguments", ["--n", "3"], id="arguments"
        ),
        pytest.param(Overrides(task={"container.image": 3.11}), "container.image", "3.11", id="a number as text"),
        pytest.param(Overrides(task={"comment": None}), "comment", "", id="nothing as text"),
        pytest.param(Overrides(task={"script.source": None}), "script.source", None, id="no source"),
        pytest.param(Overrides(task={"type": "testing"}), "type", "testing", id="type"),
    ],
)
def test_an_override_changes_what_it_names(overrides, path, then):
    value: Any = overridden(BASE, overrides)
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert value == then
    assert type(value) is type(then)


def test_overrides_of_nothing_change_nothing():
    assert overridden(BASE, Overrides()) == BASE


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"tags": "best"}, "'tags' is a list of texts"),
        ({"script.arguments": {"--n": 3}}, "'script.arguments' is a list of texts"),
        ({"script.brunch": "dev"}, "A task has no field 'script.brunch' to override: choose from comment, type"),
        ({"script.branch.main": "x"}, "A task has no field 'script.branch.main'"),
        ({"container.image.tag": "x"}, "A task has no field 'container.image.tag'"),
        ({"tags.0": "x"}, "A task has no field 'tags.0'"),
        ({"script": {"branch": "x"}}, "A task has no field 'script'"),
        ({"script.": "x"}, "A task has no field 'script.'"),
        ({"script.requirements.": "x"}, "A task has no field 'script.requirements.'"),
        ({"hyperparameters": {}}, "A task has no field 'hyperparameters'"),
        ({"name": "x"}, "A task has no field 'name'"),
        ({"": "x"}, "A task has no field ''"),
    ],
)
def test_an_override_that_does_not_fit_is_invalid(task, sentence):
    with pytest.raises(Invalid) as invalid:
        overridden(BASE, Overrides(task=task))
    assert sentence in str(invalid.value)


ODD = [5, 0.5, True, None, "text", ["a", 1], {"pip": ["a"]}, {}]
FIELDS = [
    "comment",
    "type",
    "output_destination",
    "tags",
    "system_tags",
    *(f"script.{name}" for name in Script.__struct_fields__),
    *(f"container.{name}" for name in Container.__struct_fields__),
    "script.requirements.pip",
]


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_whatever_an_override_says_the_content_can_be_read_back(path, value):
    """It becomes part of an event: what does not fit the field's type would make the log unreadable."""
    fits = path not in LISTS or isinstance(value, list)
    with nullcontext() if fits else pytest.raises(Invalid, match="is a list of texts"):
        text = msgspec.json.encode(overridden(BASE, Overrides(task={path: value})))
        assert msgspec.json.encode(msgspec.json.decode(text, type=Content)) == text


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_that_can_be_overridden_is_known(path):
    assert check_field(path) == path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("script.version_num", "script.commit"),
        ("container.docker_cmd", "container.image"),
        ("execution.docker_cmd", "container.image"),
        ("output.destination", "output_destination"),
    ],
)
def test_clearmls_names_are_understood(name, path):
    assert check_field(name) == path
    assert field_of(BASE, name) == field_of(BASE, path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("script.branch", "main"),
        ("script.requirements", {"pip": "numpy", "conda": "mkl"}),
        ("script.requirements.pip", "numpy"),
        ("container.image", "python:3.11"),
        ("container", {"image": "python:3.11", "arguments": "", "setup_script": ""}),
        ("comment", "first"),
        ("tags", ["a"]),
        ("system_tags", []),
    ],
)
def test_a_field_is_read_as_plain_json(path, value):
    found = field_of(BASE, path)
    assert found == value
    assert type(found) is type(value)


def test_a_section_is_read_whole_as_plain_json():
    assert field_of(BASE, "script") == msgspec.json.decode(msgspec.json.encode(BASE.script))


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "script.nothing",
        "script.branch.lower",
        "script.__class__",
        "tags.append",
        "script.requirements.gem",
        "",
    ],
)
def test_a_field_that_is_not_there_is_not_found(path):
    with pytest.raises(LookupError):
        field_of(BASE, path)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("General/lr", ("General", "lr")),
        ("General/a/b", ("General", "a/b")),
        ("General/a.b", ("General", "a.b")),
        ("Größe/ü ü", ("Größe", "ü ü")),
    ],
)
def test_a_parameter_has_a_section_and_a_name(path, parts):
    assert split_parameter(path) == parts


@pytest.mark.parametrize(
    ("path", "cure"),
    [("lr", "General/lr"), ("/lr", "General/lr"), ("General/", "General/General"), ("", "General/name")],
)
def test_a_parameter_without_a_section_is_invalid_and_the_cure_is_named(path, cure):
    with pytest.raises(Invalid) as invalid:
        split_parameter(path)
    assert str(invalid.value) == f"Parameter {path!r} has no section: write it as '{cure}'."
