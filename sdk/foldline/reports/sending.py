"""What all of Logger's reports have in common: names, iterations, and the way out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldline import iterations
from foldline.reports.outbox import Drawn, Outbox
from foldline.reports.values import name

if TYPE_CHECKING:
    from foldline.client import Client

LARGE: Final = 8 << 20  # bytes; a larger file is sent from where it lies instead of waiting in memory
UNTITLED: Final = "untitled"


class Sending:
    """Reports of one task, through one outbox."""

    def __init__(self, client: "Client", identifier: str) -> None:
        self.client = client
        self.highest_iteration = 0
        """Of what was reported here, as the script counts, without single values."""
        self._id = identifier
        self._outbox = Outbox(client, identifier)
        self._destination: str | None = None
        self._history: int | None = None

    def _placed(self, title: Any, series: Any, iteration: Any) -> tuple[str, str, int]:
        """Under which names and iteration something is kept."""
        counted = int(iteration or 0)
        self.highest_iteration = max(self.highest_iteration, counted)
        named = name(title, UNTITLED)
        return named, name(series, named), counted + iterations.offset_of(self._id)

    def _report_bytes(
        self,
        title: str,
        series: str,
        iteration: int | None,
        kind: str,
        filename: str,
        content: bytes,
        *,
        keep: int | None = None,
        destination: str | None = None,
    ) -> None:
        fields = self._fields(title, series, iteration, kind, filename, keep)
        self._outbox.add_plot(Drawn(fields, content, destination))

    def _report_file(
        self, title: str, series: str, iteration: int | None, kind: str, path: Path, *, keep: int | None
    ) -> None:
        """The file as it is now, whatever becomes of it."""
        size = path.stat().st_size
        if size < LARGE or self._destination:
            self._report_bytes(
                title, series, iteration, kind, path.name, path.read_bytes(), keep=keep, destination=self._destination
            )
            return
        fields = self._fields(title, series, iteration, kind, path.name, keep)
        sha256, size = self.client.blobs.put_file(path)
        self._outbox.add_plot(Drawn({**fields, "sha256": sha256, "size": size}))

    def _report_url(
        self, title: str, series: str, iteration: int | None, kind: str, url: str, *, keep: int | None
    ) -> None:
        from foldline.stores import name_of

        self._outbox.add_plot(Drawn({**self._fields(title, series, iteration, kind, name_of(url), keep), "url": url}))

    def _fields(
        self, title: str, series: str, iteration: int | None, kind: str, filename: str, keep: int | None
    ) -> dict[str, Any]:
        named, of, place = self._placed(title, series, iteration)
        fields = {"title": named, "series": of, "iteration": place, "kind": kind, "filename": name(filename, kind)}
        return fields if keep is None else {**fields, "keep": keep}
