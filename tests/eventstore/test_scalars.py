"""Numbers by title, series and iteration."""

import math

import pytest

from eventstore.scalars import SINGLE, Point, Scalars, Summary
from eventstore.sql import SqlStore

TASK, OTHER = "ab" * 16, "cd" * 16


@pytest.fixture
def scalars(sql_store: SqlStore) -> Scalars:
    return Scalars(sql_store.database)


def test_points_are_kept_by_iteration(scalars: Scalars):
    scalars.add(TASK, [Point("loss", "train", 2, 0.25), Point("loss", "train", 1, 0.5)])
    scalars.add(TASK, [Point("loss", "train", 10, 0.125), Point("loss", "test", 1, 9.0)])
    assert scalars.points(TASK, "loss", "train") == [(1, 0.5), (2, 0.25), (10, 0.125)]
    assert scalars.points(TASK, "loss", "unknown") == []


def test_a_series_is_summed_up(scalars: Scalars):
    scalars.add(TASK, [Point("loss", "train", n, value) for n, value in [(0, 3.0), (1, 1.0), (2, 2.0)]])
    scalars.add(TASK, [Point("acc", "ä", -1, 0.5)])
    scalars.add(OTHER, [Point("loss", "train", 9, 99.0)])
    assert scalars.last(TASK) == {
        "acc": {"ä": Summary(last=0.5, min=0.5, max=0.5, iteration=-1, count=1)},
        "loss": {"train": Summary(last=2.0, min=1.0, max=3.0, iteration=2, count=3)},
    }
    assert scalars.last("ef" * 16) == {}


def test_a_point_reported_again_takes_the_new_value(scalars: Scalars):
    scalars.add(TASK, [Point("loss", "train", 1, 1.0), Point("loss", "train", 1, 2.0)])
    assert scalars.points(TASK, "loss", "train") == [(1, 2.0)]
    scalars.add(TASK, [Point("loss", "train", 1, 3.0)])
    assert scalars.points(TASK, "loss", "train") == [(1, 3.0)]


def test_what_is_no_finite_number_is_kept_as_none(scalars: Scalars):
    scalars.add(TASK, [Point("loss", "train", 1, 1.0), Point("loss", "train", 2, math.nan)])
    scalars.add(TASK, [Point("loss", "train", 3, math.inf), Point("loss", "train", 4, None)])
    assert scalars.points(TASK, "loss", "train") == [(1, 1.0), (2, None), (3, None), (4, None)]
    assert scalars.last(TASK)["loss"]["train"] == Summary(last=None, min=1.0, max=1.0, iteration=4, count=4)


def test_many_points_at_once(scalars: Scalars):
    scalars.add(TASK, [])
    scalars.add(TASK, [Point("loss", "train", n, n / 2) for n in range(3000)])
    assert scalars.last(TASK)["loss"]["train"].count == 3000


def test_curves_are_all_points_with_their_times_but_no_single_values(scalars: Scalars):
    scalars.add(TASK, [Point("loss", "train", 2, 0.25, ago=5.0), Point("loss", "train", 1, 0.5, ago=65.0)])
    scalars.add(TASK, [Point("acc", "test", 7, None), Point("Summary", "best", SINGLE, 0.9)])
    scalars.add(OTHER, [Point("loss", "train", 3, 1.0)])
    curves = scalars.curves(TASK)
    assert {title: list(series) for title, series in curves.items()} == {"acc": ["test"], "loss": ["train"]}
    first, second = curves["loss"]["train"]
    assert (first[:2], second[:2]) == ((1, 0.5), (2, 0.25))
    assert second.at - first.at == 60_000_000
    assert curves["acc"]["test"][0].value is None


def test_long_curves_come_as_the_means_of_windows(scalars: Scalars):
    values = [1.0, 3.0, 10.0, None, 30.0]
    scalars.add(TASK, [Point("loss", "train", n, value) for n, value in enumerate(values)])
    first, second = scalars.curves(TASK, 2)["loss"]["train"]
    assert (first[:2], second[:2]) == ((1, 2.0), (3, 20.0))
    assert [sample[:2] for sample in scalars.curves(TASK, 5)["loss"]["train"]] == list(enumerate(values))
    scalars.add(TASK, [Point("none", "at all", n, None) for n in range(3)])
    assert [sample.value for sample in scalars.curves(TASK, 1)["none"]["at all"]] == [None]
