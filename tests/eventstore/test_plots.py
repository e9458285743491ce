"""Plots by title, series and iteration."""

from dataclasses import replace
from typing import Any

import pytest

from eventstore.plots import Plot, PlotKey, Plots
from eventstore.sql import SqlStore

TASK, OTHER = "ab" * 16, "cd" * 16
IMAGE = Plot(
    title="samples",
    series="validation",
    iteration=0,
    kind="image",
    digest="0f" * 32,
    filename="a.png",
    url=f"foldline://blobs/{'0f' * 32}/a.png",
    size=12,
)


@pytest.fixture
def plots(sql_store: SqlStore) -> Plots:
    return Plots(sql_store.database)


def keys(plots: Plots, **asked: Any) -> list[PlotKey]:
    return [one.key for one in plots.page(TASK, limit=100, **asked)]


def test_a_plot_comes_back_as_it_was_and_one_of_the_same_key_takes_its_place(plots: Plots):
    plots.add(TASK, IMAGE)
    kept = plots.of(TASK, IMAGE.key)
    assert kept is not None
    assert kept.reported_at > 0
    assert replace(kept, reported_at=0) == IMAGE
    elsewhere = replace(IMAGE, kind="media", digest=None, url="s3://bucket/a.mp4", filename="a.mp4", size=None)
    plots.add(TASK, elsewhere)
    assert [replace(one, reported_at=0) for one in plots.page(TASK, limit=10)] == [elsewhere]
    assert plots.of(TASK, PlotKey("samples", "validation", 1)) is None
    assert plots.of(OTHER, IMAGE.key) is None


def test_plots_are_listed_by_title_series_and_iteration_behind_a_key(plots: Plots):
    for title, series, iteration in [("b", "x", 1), ("a", "ü", 10), ("a", "x", 2), ("a", "x", 10), ("a", "x", -1)]:
        plots.add(TASK, replace(IMAGE, title=title, series=series, iteration=iteration))
    plots.add(OTHER, replace(IMAGE, title="a"))
    all_of_them = [("a", "x", -1), ("a", "x", 2), ("a", "x", 10), ("a", "ü", 10), ("b", "x", 1)]
    assert keys(plots) == all_of_them
    first = plots.page(TASK, limit=2)
    rest = plots.page(TASK, limit=10, after=first[-1].key)
    assert [one.key for one in (*first, *rest)] == all_of_them


def test_plots_are_found_by_title_series_and_kind(plots: Plots):
    plots.add(TASK, IMAGE)
    plots.add(TASK, replace(IMAGE, series="train", kind="plotly"))
    assert keys(plots, title="samples") == [("samples", "train", 0), ("samples", "validation", 0)]
    assert keys(plots, series="train") == keys(plots, kind="plotly") == [("samples", "train", 0)]
    assert keys(plots, title="other") == []


def test_of_many_iterations_only_the_last_ones_are_kept_when_so_asked(plots: Plots):
    plots.add(TASK, replace(IMAGE, series="other"))
    for iteration in range(5):
        plots.add(TASK, replace(IMAGE, iteration=iteration), keep=2)
    assert keys(plots) == [("samples", "other", 0), ("samples", "validation", 3), ("samples", "validation", 4)]
