"""Callbacks of the steps of a dynamic run: asked of a host that has perhaps not come to the step's call yet."""

import threading
from typing import TYPE_CHECKING, Final

from foldline.automation.callbacks import Registered, Serving
from foldline.listing import Json

if TYPE_CHECKING:
    from foldline.automation.controller import PipelineController
    from foldline.automation.hosting import Hosting

# Seconds between two looks at questions that nobody here can answer yet.
PAUSE: Final = 1.0


class CalledServing(Serving):
    """Leaves a question open until its step has been called: a host that takes over makes the calls one by one."""

    def __init__(self, pipeline: "PipelineController", hosting: "Hosting", registered: Registered) -> None:
        super().__init__(pipeline, hosting, registered)
        self._steps: set[str] = set()
        self._news = threading.Event()

    def called(self, step: str) -> None:
        """The pipeline's function has called that step: its callbacks are registered."""
        self._steps.add(step)
        self._news.set()

    def _take(self, items: list[Json]) -> None:
        self._news.clear()
        known = [item for item in items if item["step"] in self._steps]
        super()._take(known)
        if len(known) < len(items):
            self._news.wait(PAUSE)
