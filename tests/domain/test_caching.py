"""What the key of a step's results is made of, and why there may be none."""

import pytest

from domain.caching import LONGEST, differing, key_of, parts_of, why_not
from domain.content import Configuration, Container, Content, Parameter, Script

SCRIPT = Script(source="5" * 64, entry_point="train.py")


def content(script: Script = SCRIPT, **fields: object) -> Content:
    return Content(script=script, **fields)  # type: ignore[arg-type]


def key(given: Content, **inputs: object) -> str:
    return key_of(parts_of(given, inputs))


@pytest.mark.parametrize(
    "other",
    [
        content(Script(source="6" * 64, entry_point="train.py")),
        content(Script(source="5" * 64, entry_point="other.py")),
        content(Script(source="5" * 64, entry_point="train.py", arguments=["--fast"])),
        content(Script(source="5" * 64, entry_point="train.py", requirements={"pip": "numpy==2"})),
        content(Script(source="5" * 64, entry_point="train.py", diff="+ x")),
        content(container=Container(image="python:3.12")),
        content(hyperparameters={"General": {"lr": Parameter(0.1)}}),
        content(configuration={"model": Configuration("depth: 3")}),
    ],
    ids=["source", "entry point", "arguments", "packages", "changes", "image", "parameter", "configuration"],
)
def test_whatever_decides_what_it_does_is_in_the_key(other):
    assert key(other) != key(content())


@pytest.mark.parametrize(
    "other",
    [
        content(comment="tuned"),
        content(tags=["best"], system_tags=["hidden"]),
        content(output_destination="s3://elsewhere"),
        content(type="testing"),
    ],
    ids=["comment", "tags", "destination", "type"],
)
def test_what_people_say_about_it_is_not(other):
    assert key(other) == key(content())


def test_the_order_of_parameters_does_not_matter_and_their_types_do():
    one, two = Parameter(1), Parameter(2)
    assert key(content(hyperparameters={"G": {"a": one, "b": two}})) == key(
        content(hyperparameters={"G": {"b": two, "a": one}})
    )
    assert key(content(hyperparameters={"G": {"a": Parameter(1)}})) != key(
        content(hyperparameters={"G": {"a": Parameter("1")}})
    )


def test_an_input_counts_by_what_it_is():
    given = content(hyperparameters={"kwargs_artifacts": {"data": Parameter("7e7e.data")}})
    other = content(hyperparameters={"kwargs_artifacts": {"data": Parameter("9f9f.data")}})
    same = {"kwargs_artifacts/data": "artifact abc"}
    assert key(given) != key(other)
    assert key(given, **same) == key(other, **same)


def test_a_functions_own_code_stands_for_the_files_around_it():
    def function(source: str, code: str) -> Content:
        return content(Script(source=source, entry_point="pipe.py", function="train", code=code))

    assert key(function("5" * 64, "a")) == key(function("6" * 64, "a"))
    assert key(function("5" * 64, "a")) != key(function("5" * 64, "b"))


def test_long_parts_are_kept_by_their_hash():
    long = {"General": {"text": Parameter("x" * (LONGEST + 1)), "short": Parameter("x" * LONGEST)}}
    parts = parts_of(content(hyperparameters=long), {})
    assert parts["General/text"].startswith("sha256:")
    assert parts["General/short"] == "x" * LONGEST


def test_what_differs_is_named():
    assert differing({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "d": 4}) == ["b", "c", "d"]
    assert differing({"a": 1}, {"a": 1}) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(), "nothing says which code it runs"),
        (Script(repository="https://x", branch="main"), "without a commit or a tag"),
    ],
)
def test_what_is_not_known_to_do_the_same_is_never_reused(script, said):
    assert said in why_not(content(script))


@pytest.mark.parametrize(
    "script",
    [
        SCRIPT,
        Script(module="iris.train", function="train"),
        Script(repository="https://x", commit="0f1e"),
        Script(repository="https://x", tag="v1"),
        Script(diff="print(1)"),
    ],
)
def test_what_is_known_can_be(script):
    assert why_not(content(script)) == ""
