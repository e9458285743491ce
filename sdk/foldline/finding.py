"""Tasks by project, name, tags and filter, as Task.get_task, get_tasks and query_tasks find them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from foldline.client import Client
from foldline.errors import NotSupported
from foldline.listing import Json

FILTERS: Final = ("status", "type", "parent", "order_by")


def rows(
    client: Client,
    project: str | None,
    tags: Sequence[str] | None,
    task_filter: Mapping[str, Any] | None,
    name: str | None = None,
) -> Iterator[Json]:
    """Rows of tasks, newest first. Of several tags one is enough; "-tag" excludes."""
    asked = _checked(dict(task_filter or {}))
    wanted, unwanted = _tags(tags)
    found = client.tasks.list(
        project=project,
        name=name,
        status=asked.get("status"),
        type=asked.get("type"),
        parent=asked.get("parent"),
        tag=wanted or None,
    )
    return (row for row in found if unwanted.isdisjoint(row["tags"]))


def named(found: Iterator[Json], pattern: str | None) -> Iterator[Json]:
    """Those whose name the regular expression finds."""
    if pattern is None:
        return found
    search = re.compile(pattern).search
    return (row for row in found if search(row["name"]))


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in asked if name not in FILTERS]
    if unknown:
        raise NotSupported(f"task_filter knows {', '.join(FILTERS)}, not {', '.join(unknown)}")
    order = asked.pop("order_by", None)
    if order is not None and list(order) not in (["-last_update"], ["-created"]):
        raise NotSupported(f"tasks come newest first; order_by={order!r} is not supported")
    return asked


def _tags(tags: Sequence[str] | None) -> tuple[list[str], set[str]]:
    given = [tags] if isinstance(tags, str) else list(tags or ())
    if operators := [tag for tag in given if tag.startswith("__$")]:
        raise NotSupported(f"tags are names, or -names to exclude; {operators[0]!r} is not supported")
    wanted = [tag for tag in given if not tag.startswith("-")]
    return wanted, {tag[1:] for tag in given if tag.startswith("-")}
