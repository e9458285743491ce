"""`TriggerScheduler`: tasks, pipelines and functions when a model, a dataset or a task comes to a state."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from foldline.automation import trigger_feed
from foldline.automation.scheduler_base import RETRY, BaseScheduler, identifier, inert
from foldline.automation.scheduler_jobs import BaseScheduleJob, ExecutedJob, distinct
from foldline.automation.scheduler_launching import Launch
from foldline.automation.scheduler_state import FIRED
from foldline.automation.trigger_conditions import BaseTrigger, Changed, DatasetTrigger, ModelTrigger, TaskTrigger
from foldline.automation.trigger_feed import Changes
from foldline.errors import FoldlineError, NotFound
from foldline.listing import Json
from foldline.task import Task

__all__ = ["BaseTrigger", "DatasetTrigger", "ExecutedJob", "ModelTrigger", "TaskTrigger", "TriggerScheduler"]

CLASSES: Final[Mapping[str, type[BaseTrigger]]] = {
    "datasets": DatasetTrigger,
    "models": ModelTrigger,
    "tasks": TaskTrigger,
}


class TriggerScheduler(BaseScheduler):
    """Launches a task, or calls a function, when something happens on the server.

    What happens from `start` or `start_remotely` on counts, also while no scheduler runs. An object fires a trigger
    at most once, and what a trigger has launched does not fire it.
    """

    def __init__(
        self,
        pooling_frequency_minutes: float = 3.0,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
    ) -> None:
        """`pooling_frequency_minutes`: how often it looks."""
        super().__init__(sync_frequency_minutes, force_create_task_name, force_create_task_project)
        self._pause = 60.0 * pooling_frequency_minutes
        self._triggers: dict[str, list[BaseTrigger]] = {section: [] for section in CLASSES}
        self._looked_at: datetime | None = None
        # Whether something was looked at since the state was saved: the cursor alone moves all the time.
        self._unsaved = False

    def add_model_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], Any] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_publish: bool | None = None,
        trigger_on_tags: Sequence[str] | None = None,
        trigger_on_archive: bool | None = None,
        trigger_required_tags: Sequence[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """Launch a clone of the task, or call the function with the model's id, when a model changes and is meant.

        `trigger_name` is a regular expression, all of the tags must be there. `${model.id}`, `${model.name}` and
        `${model.project}` in `task_parameters` and `task_overrides` stand for the model's. `add_tag` is a tag for
        what is launched, True the trigger's name. With `single_instance` the next model waits until the last task is
        done. Raises ValueError for what does not hold together, FoldlineError when the task or queue is not there.
        """
        self._add(
            "models",
            schedule_task_id,
            name,
            add_tag,
            base_function=schedule_function,
            queue=schedule_queue,
            project=trigger_project,
            match_name=trigger_name,
            on_publish=trigger_on_publish,
            tags=trigger_on_tags,
            on_archive=trigger_on_archive,
            required_tags=trigger_required_tags,
            target_project=target_project,
            single_instance=bool(single_instance),
            clone_task=not reuse_task,
            task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}),
        )

    def add_dataset_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], Any] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_publish: bool | None = None,
        trigger_on_tags: Sequence[str] | None = None,
        trigger_on_archive: bool | None = None,
        trigger_required_tags: Sequence[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """The same for datasets that are finalized, or with `trigger_on_publish` published: `${dataset.id}`."""
        self._add(
            "datasets",
            schedule_task_id,
            name,
            add_tag,
            base_function=schedule_function,
            queue=schedule_queue,
            project=trigger_project,
            match_name=trigger_name,
            on_publish=trigger_on_publish,
            tags=trigger_on_tags,
            on_archive=trigger_on_archive,
            required_tags=trigger_required_tags,
            target_project=target_project,
            single_instance=bool(single_instance),
            clone_task=not reuse_task,
            task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}),
        )

    def add_task_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], Any] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_tags: Sequence[str] | None = None,
        trigger_on_status: Sequence[str] | None = None,
        trigger_exclude_dev_tasks: bool | None = None,
        trigger_on_metric: str | None = None,
        trigger_on_variant: str | None = None,
        trigger_on_threshold: float | None = None,
        trigger_on_sign: str | None = None,
        trigger_required_tags: Sequence[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """The same for tasks and pipelines' runs: `${task.id}`.

        `trigger_on_status` is a list, and one that it had for a moment counts. A metric (its title) and variant (its
        series) pass the threshold when the lowest value is at most it, or with the sign "max" the highest at least
        it. `trigger_exclude_dev_tasks` leaves out what somebody's own process runs.
        """
        self._add(
            "tasks",
            schedule_task_id,
            name,
            add_tag,
            base_function=schedule_function,
            queue=schedule_queue,
            project=trigger_project,
            match_name=trigger_name,
            tags=trigger_on_tags,
            on_status=trigger_on_status,
            exclude_dev=trigger_exclude_dev_tasks,
            metrics=trigger_on_metric,
            variant=trigger_on_variant,
            threshold=trigger_on_threshold,
            value_sign=trigger_on_sign,
            required_tags=trigger_required_tags,
            target_project=target_project,
            single_instance=bool(single_instance),
            clone_task=not reuse_task,
            task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}),
        )

    def start(self) -> None:
        """Look for what has happened, for ever; a stop of its task or Ctrl-C ends it."""
        super().start()

    def get_triggers(self) -> list[BaseTrigger]:
        """Those of models, of datasets, of tasks."""
        return [*self._triggers["models"], *self._triggers["datasets"], *self._triggers["tasks"]]

    def _add(self, section: str, task: str | Task | None, name: str | None, add_tag: bool | str, **said: Any) -> None:
        if inert():
            return
        task_id = identifier(task)
        wanted = name or task_id
        tag = (add_tag if isinstance(add_tag, str) else wanted) if add_tag else None
        called = distinct(wanted, [one.name for one in self.get_triggers()]) if wanted else ""
        trigger = CLASSES[section](name=called, base_task_id=task_id, add_tag=tag or None, **said)
        trigger.verify()
        self._launcher.check(trigger)
        self._triggers[section].append(trigger)
        self._changed()

    def _jobs(self) -> Sequence[BaseTrigger]:
        return self.get_triggers()

    def _sections(self) -> Mapping[str, tuple[str, Sequence[BaseScheduleJob]]]:
        about = "triggers on {}, which may be edited while the scheduler runs"
        return {section: (about.format(section), triggers) for section, triggers in self._triggers.items()}

    def _read_section(self, section: str, text: str) -> None:
        before = {one.name: one for one in self._triggers[section]}
        others = {one.name for one in self.get_triggers()} - set(before)
        functions = {one.name: one.base_function for one in before.values() if one.base_function}
        triggers = [CLASSES[section].parsed(given, functions) for given in json.loads(text)]
        names = {one.name for one in triggers}
        if len(names) < len(triggers) or names & others:
            raise ValueError("two triggers have one name")
        for trigger in triggers:
            known = before.get(trigger.name)
            if known is None or known.to_dict() != trigger.to_dict():
                self._launcher.check(trigger)
            trigger.remember(known.remembered() if known else self._state.jobs.get(trigger.name, {}))
        self._triggers[section] = triggers

    def _started(self) -> None:
        self._state.cursor = self._state.cursor or trigger_feed.head(self._client)

    def _sync(self, now: datetime) -> None:
        before = self._synced_at
        super()._sync(now)
        if self._synced_at != before and self._unsaved:
            self._save()

    def _round(self, now: datetime) -> float:
        self._make_launches(now)
        passed = None if self._looked_at is None else (now - self._looked_at).total_seconds()
        if passed is None or passed >= self._pause:
            self._take(now)
            self._looked_at, passed = now, 0.0
        left = self._pause - passed
        return min(left, RETRY) if self._state.launches else left

    def _take(self, now: datetime) -> None:
        """Note down all that fires, in one write, with the place in the log; only then is it done."""
        changes, calls = self._changes(), list[tuple[BaseTrigger, str]]()
        noted, cursor = list(self._state.launches), self._state.cursor
        marks: dict[str, str] = {}
        for trigger, changed in self._firing(changes):
            marks[_mark(trigger.name, changed.id)] = now.isoformat()
            self._log(f"{trigger.name!r} is fired by {trigger.kind} {changed.record['name']!r} ({changed.id})")
            if trigger.base_function:
                calls.append((trigger, changed.id))
                continue
            parameters = trigger.filled(trigger.task_parameters, changed.record)
            overrides = trigger.filled(trigger.task_overrides, changed.record)
            launch = self._noted(trigger, changed.id, parameters, overrides)
            launch.tags = [trigger.add_tag] if trigger.add_tag else []
            self._state.launches.append(launch)
        self._state.cursor = changes.cursor
        self._unsaved = self._unsaved or bool(changes.tasks)
        if not marks:
            return
        try:
            self._save(marks)
        except FoldlineError:
            # Nothing was done yet: the next look finds it again.
            self._state.launches, self._state.cursor = noted, cursor
            self._memory.forget(marks)
            raise
        for trigger, fired_by in calls:
            self._call(trigger, (fired_by,), now)
        self._make_launches(now)
        self._report()

    def _changes(self) -> Changes:
        types = {event for trigger in self.get_triggers() for event in trigger.events}
        if not types:
            return Changes(cursor=self._state.cursor)
        return trigger_feed.since(self._client, self._state.cursor, types, without=self._task.id)

    def _firing(self, changes: Changes) -> list[tuple[BaseTrigger, Changed]]:
        """What fires now for the first time, in the order in which it changed."""
        found = list[tuple[BaseTrigger, Changed]]()
        models, tasks = self._triggers["models"], [*self._triggers["datasets"], *self._triggers["tasks"]]
        for changed in self._models(changes) if models else ():
            found += [(trigger, changed) for trigger in models if self._fires(trigger, changed)]
        for changed in self._tasks(changes, tasks) if tasks else ():
            found += [(trigger, changed) for trigger in tasks if self._fires(trigger, changed)]
        return found

    def _fires(self, trigger: BaseTrigger, changed: Changed) -> bool:
        if _mark(trigger.name, changed.id) in self._memory.fired:
            return False
        return trigger.matches(changed) and not self._has_launched(trigger, changed)

    def _has_launched(self, trigger: BaseTrigger, changed: Changed) -> bool:
        """Whether it is what the trigger launched, or a step of that: else it would go on launching for ever."""
        ids = {changed.id, changed.record.get("run_id")}
        marks = _mark(trigger.name, "")
        return any(made in ids for name, made in self._memory.fired.items() if name.startswith(marks))

    def _models(self, changes: Changes) -> list[Changed]:
        records: dict[str, Json] = {}
        if changes.models or changes.publishing:
            trigger_feed.catch_up(self._client, "models", changes.cursor)
        for model in changes.models:
            with contextlib.suppress(NotFound):  # forgotten since, with its task's reset
                records[model] = self._client.models.get(model)
        for task in changes.publishing:
            records |= {str(one["id"]): one for one in self._client.models.list(task=task)}
        return [Changed(record=record) for record in records.values()]

    def _tasks(self, changes: Changes, triggers: Sequence[BaseTrigger]) -> list[Changed]:
        """Those that any of the triggers may mean; with a metric to watch also all that run."""
        wanted = dict(changes.tasks)
        if any(isinstance(one, TaskTrigger) and one.metrics for one in triggers):
            running = (str(row["id"]) for row in self._client.tasks.list(status="in_progress"))
            wanted = {**{one: set[str]() for one in running if one != self._task.id}, **wanted}
        found = list[Changed]()
        for task, statuses in wanted.items():
            if any(one.may_match(statuses) for one in triggers):
                try:
                    record = self._client.tasks.get(task)
                except NotFound:
                    continue
                found.append(Changed(record=record, statuses=statuses, metrics=lambda of=task: self._last(of)))
        return found

    def _last(self, task: str) -> dict[str, Any]:
        return self._client.tasks.scalars(task)["last"]

    def _launched(
        self, launch: Launch, job: BaseScheduleJob | None, made: str, now: datetime
    ) -> Mapping[str, str] | None:
        super()._launched(launch, job, made, now)
        self._state.executed[-1].trigger = launch.tick
        return {_mark(launch.job, launch.tick): made}

    def _save(self, fired: Mapping[str, str] | None = None, specs: Mapping[str, Json] | None = None) -> None:
        super()._save(fired, specs)
        self._unsaved = False

    def _report(self) -> None:
        done = [(one.trigger, one.name, one.task_id or "function", one.started) for one in self._state.executed]
        self._table("Triggers Executed", ("trigger", "name", "task id", "started"), done[::-1])
        for section, triggers in self._triggers.items():
            if triggers:
                columns = [one.name for one in fields(CLASSES[section])]
                rows = [one.to_dict(full=True) for one in triggers]
                title = f"{section.rstrip('s').title()} Triggers"
                self._table(title, columns, [[row[column] for column in columns] for row in rows])


def _mark(trigger: str, identifier: str) -> str:
    """The property of the scheduler's task that says that the object has fired the trigger."""
    return f"{FIRED}{trigger}/{identifier}"
