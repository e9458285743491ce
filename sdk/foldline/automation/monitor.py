"""`Monitor`: a loop that is told of every task whose status has changed; inherit from it to say which, and what for."""

import contextlib
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from foldline import finding
from foldline.automation import trigger_feed
from foldline.client import Client, shared
from foldline.errors import NotFound
from foldline.listing import Json
from foldline.task import Task

# What changes a status, of a task or of a run that is read as one.
STATUS_EVENTS: Final = frozenset({
    "TaskCreated", "TaskEnqueued", "TaskDequeued", "TaskStarted", "TaskRequeued", "TaskStopped", "TaskFailed",
    "TaskCompleted", "TaskPublished", "TaskReset", "RunCreated", "RunStarted", "RunPaused", "RunResumed",
    "RunCompleted", "RunFailed", "RunStopped",
})  # fmt: skip
# Seconds between two signs of life.
ALIVE: Final = 15 * 60.0


class _Among:
    """In the place of a client, for a search among a few tasks and runs: their records as of now, and no list.

    A list follows the log at some distance, and has no runs.
    """

    def __init__(self, records: Sequence[Json]) -> None:
        self._records = {str(record["id"]): record for record in records}
        self.tasks = self

    def get(self, identifier: str) -> Json:
        return self._records[identifier]

    def list(self, *, tag: Sequence[str] | None = None, **asked: Any) -> Iterator[Json]:
        """Those that have the fields asked for, one of several where there are several, and one of the tags."""
        wanted = {name: [value] if isinstance(value, str) else value for name, value in asked.items() if value}
        for record in self._records.values():
            tagged = not tag or not set(tag).isdisjoint(record["tags"])
            if tagged and all(record[name] in values for name, values in wanted.items()):
                yield record


class Monitor:
    """Watches tasks. Overload `get_query_parameters` and `process_task`, then call `monitor`.

    A task is handed over by the look that follows a change of its status, if it is still one of those meant. What
    changed before the first look is left out.
    """

    def __init__(self) -> None:
        self._task_name_filter: str | None = None
        self._project_ids: list[str] = []
        self._project_names_re: list[str] = []
        self._cursor: str | None = None

    def set_projects(
        self,
        project_names: Sequence[str] | None = None,
        project_names_re: Sequence[str] | None = None,
        project_ids: Sequence[str] | None = None,
    ) -> None:
        """Watch these projects only: by name, by regular expression, by id (which is the name)."""
        self._project_ids = [*(project_ids or ())]
        self._project_names_re = [*(project_names_re or ()), *(f"^{re.escape(name)}$" for name in project_names or ())]

    def set_task_name_filter(self, task_name_filter: str | None = None) -> None:
        """Watch only tasks whose name this regular expression finds."""
        self._task_name_filter = task_name_filter or None

    def monitor(self, pool_period: float = 15.0) -> None:
        """Call `monitor_step` for ever, every `pool_period` seconds."""
        said = time.monotonic()
        while True:
            try:
                self.monitor_step()
            except Exception:
                print(f"The monitor goes on after an error:\n{traceback.format_exc()}")
            if time.monotonic() - said > ALIVE:
                print("The monitor is at work.")
                said = time.monotonic()
            time.sleep(pool_period)

    def monitor_step(self) -> None:
        """One look: `process_task` for each task that is meant and has changed since the last one.

        An error in one of them is printed, and keeps nothing from the others. To combine several monitors, call
        theirs in turn. What could not be asked is asked again by the next look.
        """
        client = shared()
        if self._cursor is None:
            self._cursor = trigger_feed.head(client)
            return
        try:
            changes = trigger_feed.since(client, self._cursor, STATUS_EVENTS)
            tasks = self._meant([name for name, statuses in changes.tasks.items() if statuses])
        except Exception as why:
            print(f"The monitor could not look for changes, and looks again: {why}")
            return
        self._cursor = changes.cursor
        for task in tasks:
            try:
                self.process_task(task)
            except Exception:
                print(f"process_task failed for task {task.id}:\n{traceback.format_exc()}")

    def get_query_parameters(self) -> dict[str, Any]:
        """Which tasks: a `task_filter` as of Task.get_tasks. Those that failed, unless it is overloaded."""
        return {"status": ["failed"], "order_by": ["-last_update"]}

    def process_task(self, task: Task) -> None:
        """What to do about a task; to be overloaded."""

    def _meant(self, identifiers: Sequence[str]) -> list[Task]:
        if not identifiers:
            return []
        projects = self._get_projects_ids()
        if projects is not None and not projects:
            return []
        records = list[Json]()
        for identifier in identifiers:
            with contextlib.suppress(NotFound):
                records.append(shared().tasks.get(identifier))
        among = cast(Client, _Among(records))
        asked = self.get_query_parameters()
        found = finding.candidates(among, projects, self._task_name_filter, None, asked)
        return [Task(str(one.row["id"]), record=one.record) for one in found]

    def _get_projects_ids(self) -> Sequence[str] | None:
        """Those that are watched; None for all."""
        if not self._project_ids and not self._project_names_re:
            return None
        # As ids are names, a project that is made later is watched too, once there is a task in it.
        named = [str(project.id) for name in self._project_names_re for project in Task.get_projects(name=name)]
        return list(dict.fromkeys([*self._project_ids, *named]))
