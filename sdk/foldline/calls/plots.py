"""Plots of a task: what it draws, by title, series and iteration."""

from collections.abc import Mapping
from typing import Any

from foldline import process
from foldline.calls.base import Calls, given, part
from foldline.listing import Json, Listing


class Plots(Calls):
    def add(self, identifier: str, plot: Mapping[str, Any]) -> Json:
        """Name a plot whose bytes are stored already: a blob (`sha256`), or elsewhere (`url`)."""
        body = {**given(attempt=process.attempt_of(identifier)), **plot}
        return self._post(f"tasks/{part(identifier)}/plots", body)

    def list(
        self,
        identifier: str,
        *,
        title: str | None = None,
        series: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
    ) -> Listing:
        """By title, series and iteration."""
        return self._list(f"tasks/{part(identifier)}/plots", limit, title=title, series=series, kind=kind)
