"""Conditions on tags, as ClearML's documentation of Task.query_tasks has them."""

import pytest

from foldline import tagging


@pytest.mark.parametrize(
    ("condition", "present", "passes"),
    [
        pytest.param(["a", "b"], "b", True, id="one of several is enough"),
        pytest.param(["a", "b"], "c", False, id="none of them is not"),
        pytest.param(["a", "-b"], "ab", False, id="an excluded one is not there"),
        pytest.param(["-b"], "", True, id="only exclusions"),
        pytest.param(["__$all", "a", "b"], "ab", True, id="all of them"),
        pytest.param(["__$all", "a", "b"], "a", False, id="not all of them"),
        pytest.param(["__$and", "a", "-b"], "a", True, id="all of them but one"),
        pytest.param(["__$all", "a", "__$not", "b"], "ab", False, id="not after all"),
        pytest.param(["__$all", "a", "__$not", "b"], "ac", True, id="not holds for the next one only"),
        pytest.param(["__$or", "a", "__$and", "b", "c"], "bc", True, id="groups joined by the first operator"),
        pytest.param(["__$or", "a", "__$and", "b", "c"], "b", False, id="of groups none holds"),
    ],
)
def test_a_condition(condition: list[str], present: str, passes: bool):
    assert tagging.test(condition)(list(present)) is passes


@pytest.mark.parametrize(
    ("present", "passes"), [("abcdf", True), ("abcg", True), ("abcef", False), ("abc", False), ("bcdf", False)]
)
def test_the_documented_condition_of_groups(present: str, passes: bool):
    condition = ["__$all", "a", "b", "c", "__$or", "d", "__$not", "e", "__$and", "__$or", "f", "g"]
    assert tagging.test(condition)(list(present)) is passes


def test_what_the_server_is_asked_for():
    assert tagging.one_of(["a", "b", "-c"]) == ["a", "b"]
    assert tagging.one_of(["__$all", "a"]) == []
