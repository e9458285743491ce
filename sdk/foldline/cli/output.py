"""What commands print: a table for people, JSON, NDJSON or ids for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Json = Mapping[str, Any]
Format = Annotated[
    Literal["table", "json", "ndjson", "ids"],
    Parameter(name=["--output", "-o"], help="How to print: table, json, ndjson, or ids only."),
]
Column = tuple[str, Callable[[Json], Any]]

STYLES = {
    "completed": "green",
    "cached": "green",
    "published": "green",
    "running": "cyan",
    "in_progress": "cyan",
    "online": "green",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
    "skipped": "dim",
}


def show(items: Iterable[Json], columns: Sequence[Column], output: str, *, identity: str = "id") -> None:
    """Print `items` as they come where the format allows it."""
    match output:
        case "json":
            print(json.dumps(list(items), indent=2, ensure_ascii=False))
        case "ndjson":
            for item in items:
                print(json.dumps(item, ensure_ascii=False))
        case "ids":
            for item in items:
                print(item[identity])
        case _:
            _table([[text(cell(item)) for _, cell in columns] for item in items], [name for name, _ in columns])


def show_one(item: Json, fields: Sequence[Column], output: str, *, identity: str = "id") -> None:
    match output:
        case "json":
            print(json.dumps(item, indent=2, ensure_ascii=False))
        case "ndjson":
            print(json.dumps(item, ensure_ascii=False))
        case "ids":
            print(item[identity])
        case _:
            width = max(len(name) for name, _ in fields)
            for name, cell in fields:
                value = text(cell(item))
                if value:
                    print(f"{name:<{width}}  {value}")


def _table(rows: list[list[str]], headers: list[str]) -> None:
    """A rich table on a terminal; tab-separated lines, states as words, when piped."""
    if not sys.stdout.isatty():
        for row in [headers, *rows]:
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(f"[{STYLES[cell]}]{cell}[/]" if cell in STYLES else escape(cell) for cell in row))
    Console().print(table)


def text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def moment(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)


def took(start: str | None, end: str | None) -> str:
    """How long something took, or has been going on, for people."""
    began = moment(start)
    if began is None:
        return ""
    return duration(((moment(end) or datetime.now(UTC)) - began).total_seconds())


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def when(at: str | None) -> str:
    """A time in this machine's zone, to the second."""
    found = moment(at)
    return "" if found is None else found.astimezone().strftime("%Y-%m-%d %H:%M:%S")
