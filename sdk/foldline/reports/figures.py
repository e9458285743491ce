"""Figures as plotly draws them, {"data": [...], "layout": {...}}, made of plain lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, cast

from foldline.errors import DefinitionError
from foldline.reports.values import column, plain, rows, words

Figure = dict[str, Any]
Extra = Mapping[str, Any] | None

BARMODES: Final = ("stack", "group", "relative")
# What `extra_layout` may say of a heat map that plotly keeps with the data.
OF_A_HEATMAP: Final = frozenset(
    [
        "colorbar",
        "colorscale",
        "hovertemplate",
        "reversescale",
        "showscale",
        "text",
        "textfont",
        "texttemplate",
        "zmax",
        "zmid",
        "zmin",
    ]
)


@dataclass
class SeriesInfo:
    """One line of `Logger.report_line_plot`: pairs of x and y, and a label for each."""

    name: str
    data: Any
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        self.data = rows(self.data, f"series {self.name!r}", 2)
        if self.labels is not None and len(self.labels) != len(self.data):
            raise DefinitionError(f"series {self.name!r} has {len(self.data)} points and {len(self.labels)} labels")


@dataclass(frozen=True, slots=True)
class Axes:
    x: str | None = None
    y: str | None = None
    z: str | None = None

    def flat(self) -> Figure:
        return {"xaxis": {"title": self.x}, "yaxis": {"title": self.y}}

    def scene(self) -> Figure:
        return {**self.flat(), "zaxis": {"title": self.z}}


def _counted(values: Any) -> tuple[Any, list[str] | None]:
    """What `numpy.histogram` gives: the counts, and the edges of what was counted as labels. Else the values alone."""
    listed: list[Any] = plain(values) if isinstance(values, tuple) else []
    if len(listed) != 2 or not all(isinstance(one, list) for one in listed):
        return cast(Any, values), None
    counts, edges = listed
    if len(edges) != len(counts) + 1:
        return cast(Any, values), None
    return counts, [f"{low:g} to {high:g}" for low, high in pairwise(edges)]


def histogram(
    title: str,
    series: str,
    values: Any,
    labels: Any,
    xlabels: Any,
    axes: Axes,
    mode: str,
    data_args: Extra,
    extra_layout: Extra,
) -> Figure:
    """A group of bars for each column; each row is one colour. Raises DefinitionError."""
    if mode not in BARMODES:
        raise DefinitionError(f"the mode of a histogram is one of {', '.join(BARMODES)}, not {mode!r}")
    counts, edges = _counted(values)
    found, ticks = rows(counts, "a histogram"), words(xlabels) or edges
    if ticks is not None and len(ticks) != len(found[0]):
        raise DefinitionError(f"the histogram has {len(found[0])} bars in a row and {len(ticks)} xlabels")
    names = words(labels) or [series]
    if len(names) == 1:
        names *= len(found)
    if len(names) != len(found):
        raise DefinitionError(f"the histogram has {len(found)} rows and {len(names)} labels")
    data = [
        merged({"type": "bar", "name": label, "x": ticks or list(range(len(row))), "y": row}, data_args)
        for label, row in zip(names, found, strict=True)
    ]
    layout = {"title": title, **axes.flat(), "barmode": mode, "bargap": 0.08, "bargroupgap": 0}
    return {"data": data, "layout": merged(layout, extra_layout)}


def lines(
    title: str,
    series: Sequence[SeriesInfo],
    axes: Axes,
    mode: str,
    reverse_xaxis: bool = False,
    comment: str | None = None,
    extra_layout: Extra = None,
) -> Figure:
    data: list[Figure] = []
    for one in series:
        trace = {"x": column(one.data, 0), "y": column(one.data, 1), "text": words(one.labels)}
        data.append({"type": "scatter", "mode": mode, "name": str(one.name), **trace})
    layout: Figure = {"title": headed(title, comment), **axes.flat()}
    if reverse_xaxis:
        layout["xaxis"]["autorange"] = "reversed"
    return {"data": data, "layout": merged(layout, extra_layout)}


def scatter3d(
    title: str,
    series: str,
    scatter: Any,
    axes: Axes,
    labels: Any,
    mode: str,
    fill: bool,
    comment: str | None,
    extra_layout: Extra,
) -> Figure:
    """Points of x, y and z, or a list of such series, which `labels` then name."""
    listed, names = plain(scatter), words(labels)
    several = _depth(listed) == 3
    clouds = cast(list[Any], listed if several else [listed])
    if several and names is not None and len(names) != len(clouds):
        raise DefinitionError(f"there are {len(clouds)} series and {len(names)} labels for them")
    data: list[Figure] = []
    for number, points in enumerate(clouds):
        found = rows(points, f"series {series!r}", 3)
        trace: Figure = {"type": "scatter3d", "mode": mode, "name": series, "marker": {"size": 5, "opacity": 0.8}}
        trace |= {axis: column(found, place) for place, axis in enumerate("xyz")}
        if several:
            trace["name"] = names[number] if names else f"{series} {number}"
        else:
            trace["text"] = names
        if fill:
            trace["surfaceaxis"] = 1
        data.append(trace)
    layout = {"title": headed(title, comment), "showlegend": True, "scene": axes.scene()}
    return {"data": data, "layout": merged(layout, extra_layout)}


def heatmap(
    title: str,
    matrix: Any,
    axes: Axes,
    xlabels: Any,
    ylabels: Any,
    yaxis_reversed: bool,
    comment: str | None,
    extra_layout: Extra,
) -> Figure:
    extra = dict(extra_layout or {})
    trace: Figure = {"type": "heatmap", "z": rows(matrix, "a matrix"), "x": words(xlabels), "y": words(ylabels)}
    trace |= {"texttemplate": "%{z}"} if extra_layout is None else {}
    trace |= {each: plain(extra.pop(each)) for each in OF_A_HEATMAP & extra.keys()}
    layout: Figure = {"title": headed(title, comment), **axes.flat()}
    if yaxis_reversed:
        layout["yaxis"]["autorange"] = "reversed"
    return {"data": [trace], "layout": merged(layout, extra)}


def surface(
    title: str,
    matrix: Any,
    axes: Axes,
    xlabels: Any,
    ylabels: Any,
    camera: Sequence[float] | None,
    comment: str | None,
    extra_layout: Extra,
) -> Figure:
    scene = axes.scene()
    for axis, labels in (("xaxis", words(xlabels)), ("yaxis", words(ylabels))):
        if labels:
            scene[axis] |= {"ticktext": labels, "tickvals": list(range(len(labels)))}
    if camera is not None:
        scene["camera"] = {"eye": dict(zip("xyz", cast(list[Any], plain(camera)), strict=True))}
    trace = {"type": "surface", "z": rows(matrix, "a surface"), "showscale": False}
    layout = {"title": headed(title, comment), "showlegend": False, "scene": scene}
    return {"data": [trace], "layout": merged(layout, extra_layout)}


def table(
    series: str, header: Sequence[Any], columns: Sequence[Sequence[Any]], extra_layout: Extra, extra_data: Extra
) -> Figure:
    trace: Figure = {
        "type": "table",
        "header": {"values": [str(name) for name in header], "align": "left"},
        "cells": {"values": [list(column) for column in columns], "align": "left"},
    }
    return {"data": [merged(trace, extra_data)], "layout": merged({"title": series}, extra_layout)}


def titled(figure: Any, series: str) -> Figure:
    """A plotly figure, or the dictionary of one, as plain JSON; called `series` when it has no title of its own."""
    found: Any = cast(Any, figure) if isinstance(figure, Mapping) else figure.to_plotly_json()
    drawn = cast(Figure, plain(found))
    layout = drawn.setdefault("layout", {})
    if isinstance(layout, dict):
        cast(Figure, layout).setdefault("title", series)
    return drawn


def headed(title: str, comment: str | None) -> str:
    return f"{title}<br><sup>{comment}</sup>" if comment else title


def merged(base: Mapping[str, Any], extra: Extra) -> Figure:
    """`base` with what `extra` says, dictionary by dictionary."""
    found = dict(base)
    for name, value in (extra or {}).items():
        before = found.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[name] = merged(cast(Mapping[str, Any], before), cast(Mapping[str, Any], value))
        else:
            found[name] = plain(value)
    return found


def _depth(listed: Any) -> int:
    depth = 0
    while isinstance(listed, list) and listed:
        depth, listed = depth + 1, cast(list[Any], listed)[0]
    return depth
