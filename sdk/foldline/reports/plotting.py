"""Logger's methods that draw: bars, lines, points, matrices, surfaces, tables, and figures of plotly."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from foldline.errors import DefinitionError
from foldline.reports import figures, tables
from foldline.reports.figures import Axes
from foldline.reports.sending import Sending


class WithPlots(Sending):
    """Each figure is kept as JSON that plotly draws; neither plotly nor numpy is needed to make it."""

    SeriesInfo: ClassVar = figures.SeriesInfo

    def report_histogram(
        self,
        title: str,
        series: str,
        values: Any,
        iteration: int | None = None,
        labels: Sequence[str] | None = None,
        xlabels: Sequence[str] | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        mode: str | None = None,
        data_args: Mapping[str, Any] | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """Bars as high as `values`, a colour for each row; nothing is counted here. numpy.histogram has counted.

        `mode` is group (the default), stack or relative. Raises DefinitionError when labels and values do not fit.
        """
        axes = Axes(xaxis, yaxis)
        figure = figures.histogram(
            title, series, values, labels, xlabels, axes, mode or "group", data_args, extra_layout
        )
        self._report_figure(title, series, iteration, figure)

    def report_vector(
        self,
        title: str,
        series: str,
        values: Any,
        iteration: int | None = None,
        labels: Sequence[str] | None = None,
        xlabels: Sequence[str] | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        mode: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """The older name of `report_histogram`."""
        self.report_histogram(
            title, series, values, iteration, labels, xlabels, xaxis, yaxis, mode, extra_layout=extra_layout
        )

    def report_table(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        table_plot: Any = None,
        csv: str | None = None,
        url: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
        extra_data: Mapping[str, Any] | None = None,
    ) -> None:
        """One of: a data frame or a list of rows, the first of which is the header; a CSV file; the address of one."""
        from foldline.storage import fetch_url

        if sum(source is not None for source in (table_plot, csv, url)) != 1:
            raise DefinitionError("report_table() takes one of table_plot, csv and url")
        if table_plot is not None:
            found = tables.of(table_plot)
        else:
            found = tables.of_csv(fetch_url(csv or url or "", self.client))
        figure = figures.table(series, *found, extra_layout, extra_data)
        self._report_figure(title, series, iteration, figure, "table")

    def report_line_plot(
        self,
        title: str,
        series: Sequence[figures.SeriesInfo | Mapping[str, Any]],
        xaxis: str,
        yaxis: str,
        mode: str = "lines",
        iteration: int | None = None,
        reverse_xaxis: bool = False,
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """One or more lines, each a SeriesInfo or a dictionary of its fields; kept under the name of the first."""
        found = [one if isinstance(one, figures.SeriesInfo) else figures.SeriesInfo(**one) for one in series]
        figure = figures.lines(title, found, Axes(xaxis, yaxis), mode, reverse_xaxis, comment, extra_layout)
        self._report_figure(title, found[0].name if found else "", iteration, figure)

    def report_scatter2d(
        self,
        title: str,
        series: str,
        scatter: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        labels: Sequence[str] | None = None,
        mode: str = "lines",
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """Pairs of x and y, as lines, markers or lines+markers."""
        line = figures.SeriesInfo(series, scatter, labels)
        figure = figures.lines(title, [line], Axes(xaxis, yaxis), mode, False, comment, extra_layout)
        self._report_figure(title, series, iteration, figure)

    def report_scatter3d(
        self,
        title: str,
        series: str,
        scatter: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        zaxis: str | None = None,
        labels: Sequence[str] | None = None,
        mode: str = "markers",
        fill: bool = False,
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """Points of x, y and z; or a list of such series, which `labels` then name."""
        axes = Axes(xaxis, yaxis, zaxis)
        figure = figures.scatter3d(title, series, scatter, axes, labels, mode, fill, comment, extra_layout)
        self._report_figure(title, series, iteration, figure)

    def report_confusion_matrix(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: Sequence[str] | None = None,
        ylabels: Sequence[str] | None = None,
        yaxis_reversed: bool = False,
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """A matrix as a heat map with its numbers; 0, 0 is below, with `yaxis_reversed` above."""
        axes = Axes(xaxis, yaxis)
        figure = figures.heatmap(title, matrix, axes, xlabels, ylabels, yaxis_reversed, comment, extra_layout)
        self._report_figure(title, series, iteration, figure)

    def report_matrix(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: Sequence[str] | None = None,
        ylabels: Sequence[str] | None = None,
        yaxis_reversed: bool = False,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """The older name of `report_confusion_matrix`."""
        self.report_confusion_matrix(
            title, series, matrix, iteration, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, None, extra_layout
        )

    def report_surface(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        zaxis: str | None = None,
        xlabels: Sequence[str] | None = None,
        ylabels: Sequence[str] | None = None,
        camera: Sequence[float] | None = None,
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """A matrix as a surface; `camera` is x, y and z of where it is seen from."""
        axes = Axes(xaxis, yaxis, zaxis)
        figure = figures.surface(title, matrix, axes, xlabels, ylabels, camera, comment, extra_layout)
        self._report_figure(title, series, iteration, figure)

    def report_plotly(self, title: str, series: str, figure: Any, iteration: int | None = None) -> None:
        """A figure of plotly, or the dictionary that plotly.js takes."""
        self._report_figure(title, series, iteration, figures.titled(figure, series))

    def _report_figure(
        self, title: str, series: str, iteration: int | None, figure: Mapping[str, Any], kind: str = "plotly"
    ) -> None:
        text = json.dumps(figure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._report_bytes(title, series, iteration, kind, f"{kind}.json", text.encode(errors="replace"))
