"""Tasks by project, name, tags and filter, as Task.get_task, get_tasks and query_tasks find them.

What the server can choose by, it is asked for; the rest is chosen here. A filter that asks about more than a task's
row says reads each task that is left.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from foldline import tagging
from foldline.client import Client
from foldline.details import TRASH
from foldline.errors import NotSupported
from foldline.listing import Json
from foldline.records import field, inside

TIMES: Final = ("created", "started", "completed", "last_update", "status_changed", "last_change")
# Of no consequence here: nothing is hidden, and every field can be had.
IGNORED: Final = ("search_hidden", "_allow_extra_fields_", "only_fields", "scroll_id", "size", "exclude_fields")
FILTERS: Final = (
    "id", "name", "project", "status", "type", "parent", "tags", "system_tags", "search_text", "_all_", "_any_",
    "order_by", "page", "page_size", *TIMES,
)  # fmt: skip
COMPARISONS: Final[tuple[tuple[str, Callable[[Any, Any], bool]], ...]] = (
    (">=", operator.ge), ("<=", operator.le), (">", operator.gt), ("<", operator.lt), ("", operator.eq),
)  # fmt: skip

# The end of the name of a project that ClearML hides: what it has in there lies in the project around it.
HIDDEN: Final = re.compile(r"/\.(pipelines|datasets)(/.*)?$")

Test = Callable[["Candidate"], bool]


class Candidate:
    """A row of the list, and the whole record once something is asked that the row does not say."""

    def __init__(self, client: Client, row: Json) -> None:
        self.row = row
        self._client = client
        self._record: Json | None = None

    @property
    def record(self) -> Json:
        if self._record is None:
            self._record = self._client.tasks.get(str(self.row["id"]))
        return self._record

    def value(self, name: str) -> Any:
        """What stands under a dotted name, as ClearML or Foldline calls it; None when there is nothing."""
        head = name.split(".")[0]
        try:
            field(self.row, head)
        except KeyError:
            return inside(self.record, name)
        return inside(self.row, name)


def candidates(
    client: Client,
    project: str | Sequence[str] | None,
    name: str | None,
    tags: Sequence[str] | None,
    task_filter: Mapping[str, Any] | None,
    *,
    exact_name: str | None = None,
) -> Iterator[Candidate]:
    """The tasks, newest first or as `order_by` says. `name` is a regular expression. Raises NotSupported."""
    asked = dict(task_filter or {})
    _check(asked)
    wanted = [*_listed(tags), *_listed(asked.pop("tags", None))]
    tests = [test for test in (_tagged(wanted), *_tests(asked, name or asked.get("name"))) if test is not None]
    projects = [HIDDEN.sub("", str(one)) for one in _listed(project or asked.get("project"))]
    found = (
        candidate
        for one in projects or (None,)
        for row in client.tasks.list(
            project=one,
            name=exact_name,
            status=[_word(status) for status in _listed(asked.get("status"))] or None,
            type=[_word(kind) for kind in _listed(asked.get("type"))] or None,
            parent=asked.get("parent"),
            tag=tagging.one_of(wanted) or None,
        )
        if not str(row["project"]).startswith(f"{TRASH}/")
        for candidate in (Candidate(client, row),)
        if all(test(candidate) for test in tests)
    )
    return _paged(_ordered(found, _listed(asked.get("order_by"))), asked)


def newest(found: Iterable[Candidate]) -> Candidate | None:
    """The last to have changed, one that is not archived before those that are; None of none."""
    ordered = sorted(found, key=lambda one: one.value("last_update"), reverse=True)
    if len(ordered) < 2:
        return ordered[0] if ordered else None
    return next((one for one in ordered if "archived" not in one.record["system_tags"]), ordered[0])


def _check(asked: Mapping[str, Any]) -> None:
    unknown = [name for name in asked if name not in FILTERS and name not in IGNORED]
    if unknown:
        raise NotSupported(f"task_filter knows {', '.join(FILTERS)}, not {', '.join(unknown)}")


def _tests(asked: Mapping[str, Any], name: str | None) -> Iterator[Test]:
    if name:
        called = re.compile(name).search
        yield lambda one: bool(called(str(one.row["name"])))
    if ids := _listed(asked.get("id")):
        yield lambda one: one.row["id"] in ids
    for at in TIMES:
        for condition in _listed(asked.get(at)):
            yield _timed(at, str(condition))
    if system_tags := _listed(asked.get("system_tags")):
        passes = tagging.test(system_tags)
        yield lambda one: passes(one.record["system_tags"])
    if text := asked.get("search_text"):
        said = re.compile(str(text), re.IGNORECASE).search
        yield lambda one: any(said(str(one.value(part) or "")) for part in ("name", "id", "comment"))
    for key, enough in (("_all_", all), ("_any_", any)):
        if key in asked:
            yield _matching(asked[key], enough)


def _tagged(tags: Sequence[str]) -> Test | None:
    if not tags:
        return None
    passes = tagging.test(tags)
    return lambda one: passes(one.row["tags"])


def _matching(asked: Any, enough: Callable[[Iterable[bool]], bool]) -> Test:
    """{"fields": [...], "pattern": "..."}: a regular expression that all, or any, of the fields match."""
    matches = re.compile(str(asked["pattern"]), re.IGNORECASE).search
    names = _listed(asked["fields"])
    return lambda one: enough(bool(matches(_text(one.value(name)))) for name in names)


def _timed(name: str, condition: str) -> Test:
    sign, compare = next((sign, compare) for sign, compare in COMPARISONS if condition.startswith(sign))
    asked = datetime.fromisoformat(condition.removeprefix(sign).strip())
    bound = asked if asked.tzinfo else asked.replace(tzinfo=UTC)

    def test(one: Candidate) -> bool:
        at = one.value(name)
        return at is not None and compare(at, bound)

    return test


def _ordered(found: Iterator[Candidate], names: Sequence[str]) -> Iterator[Candidate]:
    if not names or list(names) == ["-created"]:
        return found
    ordered = list(found)
    for name in reversed(names):
        backwards, path = name.startswith("-"), name.removeprefix("-")
        # What is not set stands at the end, whichever way the rest goes.
        there = [one for one in ordered if one.value(path) is not None]
        there.sort(key=lambda one: _comparable(one.value(path)), reverse=backwards)
        ordered = [*there, *(one for one in ordered if one.value(path) is None)]
    return iter(ordered)


def _paged(found: Iterator[Candidate], asked: Mapping[str, Any]) -> Iterator[Candidate]:
    if "page_size" not in asked and "page" not in asked:
        return found
    size = int(asked.get("page_size") or 500)
    start = int(asked.get("page") or 0) * size
    return (one for number, one in enumerate(found) if start <= number < start + size)


def _comparable(value: Any) -> tuple[str, Any]:
    return (type(value).__name__, value) if isinstance(value, int | float | str | datetime) else ("", _text(value))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
