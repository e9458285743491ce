"""`Logger`: what a task reports while it runs. Collected here, sent by a thread, and at the end."""

import atexit
import contextlib
import logging
import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final

from foldline import compat, console
from foldline.reports.plotting import WithPlots
from foldline.reports.samples import WithSamples

if TYPE_CHECKING:
    from foldline.client import Client

# Where report_single_value keeps its numbers: no iteration of any curve.
SUMMARY: Final = "Summary"
SINGLE: Final = -(2**31)

log = logging.getLogger("foldline")


class _Substitute:
    """What is reported for numbers of one kind that no plot can show; None leaves them out."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.warn_period = 1000
        self._seen = 0

    def set(self, value: float | None, warn_period: int) -> None:
        self.value, self.warn_period, self._seen = value, int(warn_period), 0

    def of(self, where: str, number: float) -> float | None:
        """What to report for `number`; says so the first time, and every so many times."""
        if self._seen % max(self.warn_period, 1) == 0:
            instead = "left out" if self.value is None else f"reported as {self.value}"
            log.warning("scalar %s is %s, which no plot can show: %s", where, number, instead)
        self._seen += 1
        return self.value


class Logger(WithPlots, WithSamples):
    """Reports of one task. What is reported is on the server within two seconds, and after `flush()` at once."""

    _nan: ClassVar = _Substitute()
    _infinite: ClassVar = _Substitute()

    @classmethod
    def current_logger(cls) -> "Logger | None":
        """The logger of the task that this process runs; None when it runs none."""
        from foldline.task import Task

        task = Task.current_task()
        return None if task is None else task.get_logger()

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """One point of the curve `series` in the plot `title`."""
        named, of, place = self._placed(title, series, iteration)
        self._report_number(named, of, place, value)

    def report_single_value(self, name: str, value: float) -> None:
        """A number that has no iterations, under the title Summary."""
        named, of, _ = self._placed(SUMMARY, name, None)
        self._report_number(named, of, SINGLE, value)

    def _report_number(self, title: str, series: str, iteration: int, value: float) -> None:
        number: float | None = float(value)
        if not math.isfinite(number):
            substitute = self._nan if math.isnan(number) else self._infinite
            number = substitute.of(f"{title}/{series} at {iteration}", number)
        if number is not None:
            self._outbox.add_point(title, series, iteration, number)

    def report_text(
        self, msg: str, level: int = logging.INFO, print_console: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """A line on the console, which is the task's log; without `print_console` in the log alone, where that can be.

        `args` are filled in as those of logging are.
        """
        compat.ignored("Logger.report_text", level=level)
        text = str(msg) % args if args else str(msg)
        if print_console or not console.keep_only(self._id, f"{text}\n"):
            print(text, flush=True)

    def flush(self, wait: bool = False) -> bool:
        """Send what was reported; whether all of it has arrived."""
        compat.ignored("Logger.flush", wait=wait)
        return self._outbox.send()

    def get_flush_period(self) -> float | None:
        """In seconds; None when only `flush()` and the end send."""
        return self._outbox.every

    def set_flush_period(self, period: float | None) -> None:
        """Send every `period` seconds; with None or 0 only when flushed, when much waits, and at the end."""
        self._outbox.every = period or None

    def capture_logging(self) -> contextlib.AbstractContextManager[None]:
        """For `with`: what is logged in it is in the task's log, as everything on the console is."""
        return contextlib.nullcontext()

    @classmethod
    def set_reporting_nan_value(cls, value: float | None, warn_period: int = 1000) -> None:
        """Report NaN as `value`, with a warning every `warn_period` times. None, as at first, leaves it out."""
        cls._nan.set(value, warn_period)

    @classmethod
    def set_reporting_inf_value(cls, value: float | None, warn_period: int = 1000) -> None:
        """Report what is infinite as `value`, with a warning every `warn_period` times. None leaves it out."""
        cls._infinite.set(value, warn_period)

    @classmethod
    def tensorboard_auto_group_scalars(cls, group_scalars: bool = False) -> None:
        compat.ignored("Logger.tensorboard_auto_group_scalars", group_scalars=group_scalars)

    @classmethod
    def tensorboard_single_series_per_graph(cls, single_series: bool = False) -> None:
        compat.ignored("Logger.tensorboard_single_series_per_graph", single_series=single_series)

    @classmethod
    def matplotlib_force_report_non_interactive(cls, force: bool) -> None:
        """Figures of matplotlib are always kept as pictures: there is nothing to force."""


_loggers: dict[str, Logger] = {}


def logger_of(client: "Client", identifier: str) -> Logger:
    """The one logger of a task in this process."""
    if not _loggers:
        atexit.register(flush_all)
    return _loggers.get(identifier) or _loggers.setdefault(identifier, Logger(client, identifier))


def flush_all() -> None:
    """Send what every logger of this process still holds, and what stands in the console's buffers."""
    for found in list(_loggers.values()):
        found.flush()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            log.debug("the console is closed")
