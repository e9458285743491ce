"""Which versions of a dataset there are: tasks of type data_processing with the system tag dataset."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any, Final

from foldline import tagging
from foldline.client import Client
from foldline.datasets.versions import highest, key_of
from foldline.details import DELETED, TRASH
from foldline.listing import Json

TYPE: Final = "data_processing"
TAG: Final = "dataset"
ARCHIVED: Final = "archived"
FINAL: Final = frozenset({"completed", "published"})

AT_ONCE: Final = 8  # tasks that are asked about at the same time


def versions(
    client: Client,
    project: str | None = None,
    name: str | None = None,
    tags: Sequence[str] | str | None = None,
    *,
    since: str = "",
) -> Iterator[Json]:
    """The tasks of all versions that there are, newest first. `tags` is a condition as in foldline.tagging.

    `since`: only those that were made at that time or later.
    """
    given = [tags] if isinstance(tags, str) else list(tags or ())
    passes = tagging.test(given)
    rows = client.tasks.list(project=project, name=name, type=TYPE, tag=tagging.one_of(given) or None)
    late = takewhile(lambda row: str(row["created_at"]) >= since, rows)
    return tasks(client, [str(row["id"]) for row in late if passes(row["tags"]) and not is_deleted(row)])


def tasks(client: Client, identifiers: Sequence[str]) -> Iterator[Json]:
    """Those that are datasets, in the same order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(client.tasks.get, identifiers))
    return (task for task in found if TAG in task["system_tags"])


def version_of(task: Json) -> str | None:
    said: Any = task["runtime"].get("version")
    return None if said is None else str(said)


def best(found: Iterable[Json]) -> Json | None:
    """That with the highest version; without any of numbers, the newest."""
    candidates = list(found)
    if not candidates:
        return None
    top = highest(version_of(task) for task in candidates)
    if top is None:
        return candidates[0]
    return next(task for task in candidates if key_of(version_of(task)) == key_of(top))


def is_final(task: Json) -> bool:
    return task["status"] in FINAL


def is_deleted(task: Json) -> bool:
    """Whether it was put out of sight, as Task.delete does it too."""
    return str(task["project"]).startswith(f"{TRASH}/")


def deleted(task: Json) -> Json:
    """The edit that puts it out of sight."""
    tags = dict.fromkeys([*task["system_tags"], ARCHIVED, DELETED])
    return {"system_tags": list(tags), "project": f"{TRASH}/{task['project']}"}
