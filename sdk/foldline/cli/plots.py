"""A task's plots on the command line: a list, or files."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from foldline.cli.output import Column, Json, when
from foldline.client import Client

PLOTS: list[Column] = [
    ("title", lambda plot: plot["title"]),
    ("series", lambda plot: plot["series"]),
    ("iteration", lambda plot: plot["iteration"]),
    ("kind", lambda plot: plot["kind"]),
    ("size", lambda plot: plot["size"]),
    ("reported", lambda plot: when(plot["reported_at"])),
    ("url", lambda plot: plot["url"]),
]


def save_plots(client: Client, plots: Iterable[Json], folder: Path) -> None:
    """One file for each plot whose bytes the server has; the address of each of the others is printed."""
    for plot in plots:
        if plot["sha256"] is None:
            print(f"{plot['title']}/{plot['series']}/{plot['iteration']} lies at {plot['url']}")
            continue
        target = folder / _part(plot["title"]) / _part(plot["series"]) / f"{plot['iteration']}{_ending(plot)}"
        print(client.blobs.get(plot["sha256"], target))


def _part(name: str) -> str:
    """`name` as one part of a path, whatever it holds."""
    kept = quote(name, safe=" ()[]{}+,;=@!'&")
    return kept.replace(".", "%2E") if kept.strip(".") == "" else kept


def _ending(plot: Json) -> str:
    return Path(plot["filename"]).suffix or ".bin"
