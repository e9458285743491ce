"""What Logger sends: figures as plotly's JSON, tables, pictures and media, and numbers that are none."""

import base64
import csv
import io
import json
import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from foldline import Logger
from foldline.client import Client
from foldline.errors import DefinitionError
from foldline.reports.pictures import SIGNATURE, png_of
from tests.sdk.canned import Answer, Canned

PLOTS, SCALARS = "tasks/t/plots", "tasks/t/scalars"
POINTS = [(0, 1.5), (1, 2.5)]


@dataclass
class Reports:
    """What the canned server was told."""

    canned: Canned
    logger: Logger
    content: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def plots(self) -> list[dict[str, Any]]:
        assert self.logger.flush()
        stored = [asked for asked in self.canned.asked if asked.method == "PUT"]
        self.content |= {asked.path.partition("/")[2]: asked.content for asked in stored}
        return [asked.json() for asked in self.canned.to("POST", PLOTS)]

    def bytes(self) -> bytes:
        """Of the last plot."""
        return self.content[self.plots()[-1]["sha256"]]

    def figure(self) -> dict[str, Any]:
        return json.loads(self.bytes())

    def points(self) -> list[dict[str, Any]]:
        assert self.logger.flush()
        return [point for asked in self.canned.to("POST", SCALARS) for point in asked.json()["points"]]


@pytest.fixture
def reports(canned: Canned) -> Iterator[Reports]:
    canned.on("HEAD", "blobs/*", Answer(404, {"detail": "none"}))
    canned.on("PUT", "blobs/*", Answer(201))
    canned.on("POST", PLOTS, Answer(201, {}))
    canned.on("POST", SCALARS, Answer(204))
    with Client(canned.url, patience=0) as client:
        yield Reports(canned, Logger(client, "t"))


@pytest.fixture
def logger(reports: Reports) -> Logger:
    return reports.logger


def pixels(png: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, colour type and bytes of a PNG whose rows are not filtered."""
    assert png.startswith(SIGNATURE)
    width, height, depth, colours = struct.unpack(">IIBB", png[16:26])
    assert depth == 8
    length = struct.unpack(">I", png[33:37])[0]
    raw = zlib.decompress(png[41 : 41 + length])
    stride = len(raw) // height
    return width, height, colours, b"".join(raw[start + 1 : start + stride] for start in range(0, len(raw), stride))


class Packed:
    """A figure as plotly 6 and later gives it: arrays of numpy in base64."""

    def to_plotly_json(self) -> dict[str, Any]:
        numbers = numpy.array([1.0, math.nan, 0.0, 1.0], dtype="<f8")
        z = {"dtype": "f8", "bdata": base64.b64encode(numbers.tobytes()).decode(), "shape": "2, 2"}
        return {"data": [{"type": "heatmap", "z": z, "x": {"dtype": "i1", "bdata": "AQI="}}], "layout": {}}


PACKED = Packed()
FIGURES: dict[str, tuple[Callable[[Logger], None], dict[str, Any]]] = {
    "bars": (
        lambda log: log.report_histogram("t", "s", [1, 2, 3], 4, xaxis="x", xlabels=["a", "b", "c"]),
        {"type": "bar", "name": "s", "x": ["a", "b", "c"], "y": [1, 2, 3]},
    ),
    "bars of an array": (
        lambda log: log.report_histogram("t", "s", numpy.array([[1.5, math.nan]]), 4, data_args={"orientation": "h"}),
        {"type": "bar", "name": "s", "x": [0, 1], "y": [1.5, None], "orientation": "h"},
    ),
    "bars by their older name": (
        lambda log: log.report_vector("t", "s", [1, 2], 4, ["one"]),
        {"type": "bar", "name": "one", "x": [0, 1], "y": [1, 2]},
    ),
    "a line": (
        lambda log: log.report_scatter2d("t", "s", POINTS, 4, labels=["a", "b"]),
        {"type": "scatter", "mode": "lines", "name": "s", "x": [0, 1], "y": [1.5, 2.5], "text": ["a", "b"]},
    ),
    "points of an array": (
        lambda log: log.report_scatter2d("t", "s", numpy.array(POINTS), 4, mode="markers"),
        {"type": "scatter", "mode": "markers", "name": "s", "x": [0, 1], "y": [1.5, 2.5], "text": None},
    ),
    "several lines": (
        lambda log: log.report_line_plot("t", [{"name": "s", "data": POINTS}], "x", "y", iteration=4),
        {"type": "scatter", "mode": "lines", "name": "s", "x": [0, 1], "y": [1.5, 2.5], "text": None},
    ),
    "points in space": (
        lambda log: log.report_scatter3d("t", "s", numpy.array([[1, 2, 3], [4, 5, 6]]), 4, fill=True),
        {"type": "scatter3d", "mode": "markers", "x": [1, 4], "y": [2, 5], "z": [3, 6], "surfaceaxis": 1},
    ),
    "a heat map": (
        lambda log: log.report_confusion_matrix("t", "s", [[1, 2], [3, 4]], 4, xlabels=["a", "b"]),
        {"type": "heatmap", "z": [[1, 2], [3, 4]], "x": ["a", "b"], "y": None, "texttemplate": "%{z}"},
    ),
    "a heat map by its older name": (
        lambda log: log.report_matrix("t", "s", numpy.eye(2), 4, extra_layout={"zmax": 2}),
        {"type": "heatmap", "z": [[1.0, 0.0], [0.0, 1.0]], "zmax": 2},
    ),
    "a surface": (
        lambda log: log.report_surface("t", "s", [[1, 2], [3, 4]], 4, camera=(1, 2, 3)),
        {"type": "surface", "z": [[1, 2], [3, 4]]},
    ),
    "a figure of plotly with packed arrays": (
        lambda log: log.report_plotly("t", "s", PACKED, 4),
        {"type": "heatmap", "z": [[1.0, None], [0.0, 1.0]], "x": [1, 2]},
    ),
    "a figure of plotly": (
        lambda log: log.report_plotly("t", "s", {"data": [{"type": "pie", "values": numpy.array([1, 2])}]}, 4),
        {"type": "pie", "values": [1, 2]},
    ),
}


@pytest.mark.parametrize(("report", "trace"), FIGURES.values(), ids=FIGURES)
def test_a_figure_is_plotlys_json_made_of_plain_numbers(
    reports: Reports, report: Callable[[Logger], None], trace: dict[str, Any]
):
    report(reports.logger)
    (plot,) = reports.plots()
    assert {name: plot[name] for name in ("title", "series", "iteration", "kind")} == {
        "title": "t",
        "series": "s",
        "iteration": 4,
        "kind": "plotly",
    }
    figure = reports.figure()
    assert set(figure) == {"data", "layout"}
    assert figure["layout"]["title"]
    drawn = figure["data"][0]
    assert {name: drawn[name] for name in trace} == trace
    assert plot["size"] == len(reports.bytes())


def test_what_is_said_of_axes_comments_and_layouts_is_in_the_figure(reports: Reports):
    layout = {"xaxis": {"range": [0, 2]}, "showlegend": False}
    reports.logger.report_line_plot("t", [], "x", "y", "markers", None, True, "a remark", layout)
    drawn = reports.figure()["layout"]
    assert drawn["title"] == "t<br><sup>a remark</sup>"
    assert drawn["xaxis"] == {"title": "x", "autorange": "reversed", "range": [0, 2]}
    assert (drawn["yaxis"], drawn["showlegend"]) == ({"title": "y"}, False)
    reports.logger.report_surface("t", "s", [[1]], zaxis="z", xlabels=["a"], camera=(1, 2, 3))
    scene = reports.figure()["layout"]["scene"]
    assert scene["camera"] == {"eye": {"x": 1, "y": 2, "z": 3}}
    assert (scene["zaxis"]["title"], scene["xaxis"]["ticktext"]) == ("z", ["a"])
    reports.logger.report_confusion_matrix("t", "s", [[1]], yaxis_reversed=True)
    assert reports.figure()["layout"]["yaxis"]["autorange"] == "reversed"


def test_a_histogram_that_numpy_has_counted(reports: Reports):
    reports.logger.report_histogram("t", "s", numpy.histogram([1, 1, 2, 5], bins=[0, 2, 4, 6]))
    [bars] = reports.figure()["data"]
    assert (bars["x"], bars["y"]) == (["0 to 2", "2 to 4", "4 to 6"], [2, 1, 1])


def test_rows_of_bars_and_clouds_of_points_have_names_of_their_own(reports: Reports):
    reports.logger.report_histogram("t", "s", [[1, 2], [3, 4]], labels=["a", "b"], mode="stack")
    figure = reports.figure()
    assert [trace["name"] for trace in figure["data"]] == ["a", "b"]
    assert figure["layout"]["barmode"] == "stack"
    clouds = [numpy.zeros((2, 3)), [[1, 2, 3]]]
    reports.logger.report_scatter3d("t", "s", clouds)
    assert [trace["name"] for trace in reports.figure()["data"]] == ["s 0", "s 1"]


WRONG: dict[str, Callable[[Logger], None]] = {
    "labels that do not fit": lambda log: log.report_histogram("t", "s", [[1], [2]], labels=["a", "b", "c"]),
    "xlabels that do not fit": lambda log: log.report_histogram("t", "s", [1, 2], xlabels=["a"]),
    "no mode": lambda log: log.report_histogram("t", "s", [1], mode="overlay"),
    "three dimensions": lambda log: log.report_confusion_matrix("t", "s", numpy.zeros((2, 2, 2))),
    "rows that differ": lambda log: log.report_confusion_matrix("t", "s", [[1, 2], [3]]),
    "no pairs": lambda log: log.report_scatter2d("t", "s", [[1, 2, 3]]),
    "too few labels": lambda log: log.report_scatter2d("t", "s", POINTS, labels=["a"]),
    "no numbers": lambda log: log.report_surface("t", "s", 7),
    "two tables": lambda log: log.report_table("t", "s", table_plot=[["a"]], csv="a.csv"),
    "no table": lambda log: log.report_table("t", "s", table_plot=7),
    "no image": lambda log: log.report_image("t", "s"),
    "two images": lambda log: log.report_image("t", "s", image=[[1]], url="x:y"),
    "an image of five colours": lambda log: log.report_image("t", "s", image=numpy.zeros((2, 6, 5))),
    "no file": lambda log: log.report_image("t", "s", local_path="nowhere.png"),
    "a stream of something": lambda log: log.report_media("t", "s", stream=io.BytesIO(b"x")),
    "no media": lambda log: log.report_media("t", "s"),
    "no figure": lambda log: log.report_matplotlib_figure("t", "s", 7),
}


@pytest.mark.parametrize("report", WRONG.values(), ids=WRONG)
def test_what_cannot_be_drawn_is_said_where_it_is_reported(logger: Logger, report: Callable[[Logger], None]):
    with pytest.raises(DefinitionError):
        report(logger)


class Frame:
    """As much of a pandas data frame as a table reads: pandas itself is not needed to run these tests."""

    def __init__(self, columns: dict[str, list[Any]], index: Any) -> None:
        self.columns = numpy.array(list(columns), dtype=object)
        self.index = index
        self.iloc = _Columns(list(columns.values()))


class _Columns:
    def __init__(self, columns: list[list[Any]]) -> None:
        self._columns = columns

    def __getitem__(self, where: tuple[slice, int]) -> Any:
        return numpy.array(self._columns[where[1]], dtype=object)


class RangeIndex:
    names = [None]


class Index:
    def __init__(self, names: list[str | None], keys: list[Any]) -> None:
        self.names, self._keys = names, keys

    def tolist(self) -> list[Any]:
        return self._keys


NUMBERS = {"legs": [2, 4], "weight": [0.5, math.nan]}
TABLES: dict[str, tuple[Any, list[str], list[list[Any]]]] = {
    "rows": ([["a", "b"], [1, math.inf], [3, "x"]], ["a", "b"], [[1, 3], ["Inf", "x"]]),
    "nothing": ([], [], []),
    "a header alone": ([["a", "b"]], ["a", "b"], [[], []]),
    "a frame": (Frame(NUMBERS, RangeIndex()), ["legs", "weight"], [[2, 4], [0.5, "NaN"]]),
    "a frame with an index": (
        Frame(NUMBERS, Index(["name"], ["bird", "dog"])),
        ["name", "legs", "weight"],
        [["bird", "dog"], [2, 4], [0.5, "NaN"]],
    ),
    "a frame with two indexes": (
        Frame({"n": [1, 2]}, Index([None, "b"], [("x", 1), ("y", 2)])),
        ["", "b", "n"],
        [["x", "y"], [1, 2], [1, 2]],
    ),
}


@pytest.mark.parametrize(("table", "header", "columns"), TABLES.values(), ids=TABLES)
def test_a_table_is_a_header_and_columns(reports: Reports, table: Any, header: list[str], columns: list[list[Any]]):
    reports.logger.report_table("t", "s", 1, table_plot=table, extra_data={"columnwidth": [2, 1]})
    assert reports.plots()[-1]["kind"] == "table"
    (trace,) = reports.figure()["data"]
    assert (trace["type"], trace["header"]["values"], trace["cells"]["values"]) == ("table", header, columns)
    assert trace["columnwidth"] == [2, 1]


@pytest.mark.parametrize("source", ["csv", "url"])
def test_a_table_may_be_a_csv_file(reports: Reports, tmp_path: Path, source: str):
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["name", "legs", "weight"], ["bird", 2, 0.5], ["sea horse, small", 0, ""]])
    where: dict[str, Any] = {"csv": str(path)} if source == "csv" else {"url": path.as_uri()}
    reports.logger.report_table("t", "s", **where)
    (trace,) = reports.figure()["data"]
    assert trace["header"]["values"] == ["name", "legs", "weight"]
    assert trace["cells"]["values"] == [["bird", "sea horse, small"], [2, 0], [0.5, ""]]


RED, GREEN = [255, 0, 0], [0, 255, 0]
IMAGES: dict[str, tuple[Any, tuple[int, int, int, bytes] | None]] = {
    "gray": (numpy.array([[0, 128], [255, 7]], dtype=numpy.uint8), (2, 2, 0, bytes([0, 128, 255, 7]))),
    "floats up to one": (numpy.array([[0.0, 0.5, 1.0]]), (3, 1, 0, bytes([0, 128, 255]))),
    "large floats": (numpy.array([[-3.0, 100.4, 300.0]]), (3, 1, 0, bytes([0, 100, 255]))),
    "true and false": (numpy.array([[True, False]]), (2, 1, 0, bytes([255, 0]))),
    "one colour": (numpy.array([[[9], [8]]], dtype=numpy.uint8), (2, 1, 0, bytes([9, 8]))),
    "RGB": (numpy.array([[RED], [GREEN]], dtype=numpy.uint8), (1, 2, 2, bytes([*RED, *GREEN]))),
    "RGBA": (numpy.array([[[1, 2, 3, 4]]], dtype=numpy.int64), (1, 1, 6, bytes([1, 2, 3, 4]))),
    "colours first": (numpy.arange(18, dtype=numpy.uint8).reshape(3, 1, 6), None),
    "a list": ([[RED, GREEN]], (2, 1, 2, bytes([*RED, *GREEN]))),
    "PIL": (Image.new("L", (2, 1), 7), None),
    "PIL in other colours": (Image.new("CMYK", (2, 1)), None),
}


@pytest.mark.parametrize(("image", "expected"), IMAGES.values(), ids=IMAGES)
def test_an_image_is_a_png(reports: Reports, image: Any, expected: tuple[int, int, int, bytes] | None):
    reports.logger.report_image("t", "s", 2, image=image)
    (plot,) = reports.plots()
    assert (plot["kind"], plot["filename"]) == ("image", "image.png")
    if expected is not None:
        assert pixels(reports.bytes()) == expected
    with Image.open(io.BytesIO(reports.bytes())) as opened:
        opened.load()
        assert opened.size == ((6, 1) if expected is None and not isinstance(image, Image.Image) else opened.size)


@pytest.mark.parametrize("image", [[[0, 128], [255, 7]], [[[0, 0.5, 1.0]]], [[True, False]], [[None, 300, -1]]])
def test_without_numpy_an_image_is_the_same(monkeypatch: pytest.MonkeyPatch, image: list[Any]):
    with_numpy = png_of(numpy.array(image, dtype=float if None in image[0] else None))
    monkeypatch.delitem(sys.modules, "numpy")
    assert pixels(png_of(image)) == pixels(with_numpy)


def test_a_file_is_kept_as_it_is_and_may_go_then(reports: Reports, tmp_path: Path):
    path = tmp_path / "sample 1.jpg"
    path.write_bytes(b"a picture")
    reports.logger.report_image("t", "s", local_path=str(path), delete_after_upload=True, max_image_history=3)
    assert not path.exists()
    (plot,) = reports.plots()
    assert (plot["kind"], plot["filename"], plot["iteration"], plot["keep"]) == ("image", "sample 1.jpg", 0, 3)
    assert reports.bytes() == b"a picture"


def test_an_image_may_be_reported_by_the_older_names(reports: Reports):
    reports.logger.report_image_and_upload("t", "s", 2, matrix=[[7]])
    reports.logger.report_image("t", "s", 3, matrix=[[7]])
    assert [plot["iteration"] for plot in reports.plots()] == [2, 3]
    assert pixels(reports.bytes()) == (1, 1, 0, bytes([7]))


def test_media_are_what_their_extension_says(reports: Reports, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("<p>hello")
    reports.logger.report_media("t", "page", local_path=str(page))
    reports.logger.report_media("t", "sound", stream=io.BytesIO(b"beep"), file_extension="wav")
    reports.logger.report_media("t", "words", stream=io.StringIO("hello"), file_extension=".txt")
    reports.logger.report_media("t", "film", url="https://example.com/films/a.mp4?x=1")
    reports.logger.report_image("t", "picture", url="s3://bucket/a.png")
    told = [(plot["series"], plot["kind"], plot["filename"], plot.get("url")) for plot in reports.plots()]
    assert told == [
        ("page", "html", "page.html", None),
        ("sound", "media", "media.wav", None),
        ("words", "text", "media.txt", None),
        ("film", "media", "a.mp4", "https://example.com/films/a.mp4?x=1"),
        ("picture", "image", "a.png", "s3://bucket/a.png"),
    ]
    assert sorted(reports.content.values()) == [b"<p>hello", b"beep", b"hello"]


def test_a_large_file_is_sent_from_where_it_lies(reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foldline.reports.sending.LARGE", 5)
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a long film")
    reports.logger.report_media("t", "s", local_path=str(path))
    path.unlink()
    assert (reports.plots()[0]["size"], reports.bytes()) == (11, b"a long film")


def test_pictures_go_where_they_are_told_to(reports: Reports, tmp_path: Path):
    logger = reports.logger
    assert (logger.get_default_upload_destination(), logger.get_default_debug_sample_history()) == (
        "foldline://blobs",
        -1,
    )
    logger.set_default_upload_destination(tmp_path.as_uri())
    logger.set_default_debug_sample_history(7)
    logger.report_image("t", "s", image=[[0]])
    (plot,) = reports.plots()
    assert (plot["keep"], "sha256" in plot) == (7, False)
    (file,) = tmp_path.rglob("*.png")
    assert plot["url"].endswith(file.name)
    assert file.read_bytes().startswith(SIGNATURE)


def test_a_figure_of_matplotlib_is_its_picture(reports: Reports):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    reports.logger.report_matplotlib_figure("t", "s", figure, 3, report_image=True)
    (plot,) = reports.plots()
    assert (plot["kind"], plot["iteration"]) == ("image", 3)
    with Image.open(io.BytesIO(reports.bytes())) as opened:
        assert opened.size == (100, 50)


def test_names_are_made_printable(reports: Reports):
    reports.logger.report_scalar("a\nb", "", 1, 1)
    reports.logger.report_plotly("x" * 300, None, {"data": []})  # pyright: ignore[reportArgumentType]
    (point,) = reports.points()
    assert (point["title"], point["series"]) == ("a b", "a b")
    (plot,) = reports.plots()
    assert plot["title"] == plot["series"] == "x" * 255


def test_numbers_that_no_plot_can_show_are_left_out_or_replaced(reports: Reports, caplog: pytest.LogCaptureFixture):
    logger = reports.logger
    try:
        logger.report_scalar("loss", "train", math.nan, 1)
        assert "loss/train at 1 is nan, which no plot can show: left out" in caplog.text
        Logger.set_reporting_nan_value(-1.0, warn_period=2)
        Logger.set_reporting_inf_value(9.0)
        caplog.clear()
        for iteration in (2, 3, 4):
            logger.report_scalar("loss", "train", math.nan, iteration)
        assert [record.message.split()[3] for record in caplog.records] == ["2", "4"]
        logger.report_scalar("loss", "train", -math.inf, 5)
    finally:
        Logger.set_reporting_nan_value(None)
        Logger.set_reporting_inf_value(None)
    assert [(point["iteration"], point["value"]) for point in reports.points()] == [(2, -1), (3, -1), (4, -1), (5, 9)]


def test_a_single_value_has_no_iteration(reports: Reports):
    reports.logger.report_single_value("accuracy", 0.5)
    (point,) = reports.points()
    assert (point["title"], point["series"], point["iteration"], point["value"]) == (
        "Summary",
        "accuracy",
        -(2**31),
        0.5,
    )
    assert reports.logger.highest_iteration == 0


def test_when_much_waits_it_is_sent_at_once(reports: Reports, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foldline.reports.outbox.MOST_BYTES", 10)
    reports.logger.set_flush_period(None)
    assert reports.logger.get_flush_period() is None
    reports.logger.set_flush_period(0.5)
    assert reports.logger.get_flush_period() == 0.5
    reports.logger.set_flush_period(0)
    reports.logger.report_image("t", "s", image=[[0]])
    assert len(reports.canned.to("POST", PLOTS)) == 1
