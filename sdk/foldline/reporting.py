"""What a task has reported, read back: curves, single values, plots, the end of its console."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from foldline.handle import TaskHandle
from foldline.listing import Json
from foldline.logger import SINGLE, SUMMARY

AXES: Final = ("iter", "timestamp", "iso_time")
FIGURES: Final = ("plotly", "table")
PIECE: Final = 64 * 1024
MOST: Final = 1024 * 1024  # bytes of a log in one answer


class WithReports(TaskHandle):
    """Task's methods about metrics, plots and the console."""

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """{title: {series: {"last", "min", "max", ...}}}, single values under the title Summary."""
        return self._client.tasks.scalars(self.id)["last"]

    def get_last_iteration(self) -> int:
        """The highest iteration reported, of scalars and plots; 0 before the first."""
        curves = [found["iteration"] for of in self.get_last_scalar_metrics().values() for found in of.values()]
        plots = [plot["iteration"] for plot in self._client.plots.list(self.id)]
        return max((int(iteration) for iteration in [*curves, *plots] if iteration != SINGLE), default=0)

    def get_reported_scalars(self, max_samples: int = 0, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
        """{title: {series: {"name", "x", "y"}}}, without single values.

        Of longer series `max_samples` means come back, 0 being all points. `x_axis` is iter, timestamp (milliseconds
        since 1970) or iso_time.
        """
        if x_axis not in AXES:
            raise ValueError(f"x_axis is one of {', '.join(AXES)}, not {x_axis!r}")
        curves = self._client.tasks.scalars(self.id, samples=max(int(max_samples), 0))["curves"]
        return {
            title: {
                series: {"name": series, "x": _along(curve, x_axis), "y": curve["values"]}
                for series, curve in of.items()
            }
            for title, of in curves.items()
        }

    def get_all_reported_scalars(self, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
        """As `get_reported_scalars`, always with all points."""
        return self.get_reported_scalars(0, x_axis)

    def get_reported_single_values(self) -> dict[str, float]:
        """What report_single_value has said, by name."""
        found: dict[str, float] = {}
        for name, summary in self.get_last_scalar_metrics().get(SUMMARY, {}).items():
            if summary["iteration"] == SINGLE:
                found[name] = summary["last"]
            else:  # somebody drew a curve of this name as well
                points = self._client.tasks.scalars(self.id, title=SUMMARY, series=name)["points"]
                found.update((name, value) for iteration, value in points if iteration == SINGLE)
        return found

    def get_reported_single_value(self, name: str) -> float | None:
        return self.get_reported_single_values().get(name)

    def get_reported_plots(self, max_iterations: int | None = None) -> list[dict[str, Any]]:
        """Every plot: its task, iter, metric (the title), variant (the series), timestamp in milliseconds, and type.

        `plot_str` of a figure or table is its JSON, `url` of a picture or of media where it lies. Of each title and
        series the last iteration comes back, or the last `max_iterations`.
        """
        most = max(int(max_iterations or 1), 1)
        newest: dict[tuple[str, str], list[Json]] = {}
        for plot in self._client.plots.list(self.id):
            newest.setdefault((plot["title"], plot["series"]), []).append(plot)
        return [self._as_event(plot) for plots in newest.values() for plot in plots[-most:]]

    def get_reported_console_output(self, number_of_reports: int = 1) -> Sequence[str]:
        """The last lines of the log of the last attempt, so many of them."""
        most, tail = max(int(number_of_reports), 1), PIECE
        while True:
            data, end = self._client.tasks.log_tail(self.id, tail)
            lines = data.decode("utf-8", "replace").splitlines()
            if len(lines) > most or tail >= min(end, MOST):
                return lines[-most:]
            tail = min(tail * 4, MOST)

    def _as_event(self, plot: Mapping[str, Any]) -> dict[str, Any]:
        event = {
            "task": self.id,
            "type": "plot" if plot["kind"] in FIGURES else plot["kind"],
            "iter": plot["iteration"],
            "metric": plot["title"],
            "variant": plot["series"],
            "timestamp": _milliseconds(plot["reported_at"]),
            "url": plot["url"],
        }
        if plot["kind"] in FIGURES and plot["sha256"]:
            drawn = self._client.blobs.read(plot["sha256"])
            event |= {"plot_str": json.dumps(json.loads(drawn)), "plot_len": len(drawn)}
        return event


def _along(curve: Mapping[str, Any], axis: str) -> list[Any]:
    match axis:
        case "iter":
            return curve["iterations"]
        case "timestamp":
            return [_milliseconds(at) for at in curve["times"]]
        case _:
            return curve["times"]


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
