"""Who waits for whom: children, an order to run in, and circles named."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.graph import children_of, in_order
from domain.refused import Invalid

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


@pytest.mark.parametrize(
    ("parents", "children"),
    [
        ({}, {}),
        ({"a": []}, {"a": ()}),
        (DIAMOND, {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}),
        ({"b": ["a"], "a": []}, {"b": (), "a": ("b",)}),
    ],
)
def test_children_are_those_that_wait(parents, children):
    assert children_of(parents) == children


@pytest.mark.parametrize(
    ("parents", "order"),
    [
        ({}, []),
        (DIAMOND, ["a", "b", "c", "d"]),
        ({"c": ["b"], "b": ["a"], "a": []}, ["a", "b", "c"]),
        ({"x": [], "y": [], "z": []}, ["x", "y", "z"]),
    ],
)
def test_each_step_comes_after_its_parents(parents, order):
    assert in_order(parents) == order


@pytest.mark.parametrize(
    ("parents", "circle"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, "a -> b -> c -> a"),
        ({"root": [], "a": ["root", "b"], "b": ["a"], "after": ["b"]}, "a -> b -> a"),
        ({"after": ["b"], "a": ["b"], "b": ["a"]}, "b -> a -> b"),
    ],
)
def test_a_circle_is_named_in_the_direction_of_the_work(parents, circle):
    with pytest.raises(Invalid) as invalid:
        in_order(parents)
    assert str(invalid.value) == f"The steps wait for each other in a circle: {circle}."
    assert invalid.value.where == "steps"


@st.composite
def graphs(draw: st.DrawFn) -> Mapping[str, Sequence[str]]:
    names = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    return {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) for name in names}


@settings(deadline=None)
@given(graphs())
def test_a_graph_has_an_order_or_a_true_circle(parents):
    try:
        order = in_order(parents)
    except Invalid as invalid:
        circle = str(invalid).partition(": ")[2].rstrip(".").split(" -> ")
        wrong = [(before, step) for before, step in pairwise(circle) if before not in parents[step]]
        ends_where_it_began = len(circle) > 1 and circle[0] == circle[-1]
    else:
        wrong = [
            (parent, step) for step in order for parent in parents[step] if order.index(parent) >= order.index(step)
        ]
        ends_where_it_began = sorted(order) == sorted(parents)
    assert not wrong
    assert ends_where_it_began
