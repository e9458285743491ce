"""`TaskScheduler`: tasks, pipelines and functions by the clock."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from foldline.automation.scheduler_base import RETRY, BaseScheduler, identifier, inert
from foldline.automation.scheduler_jobs import BaseScheduleJob, ExecutedJob, ScheduleJob, distinct
from foldline.automation.scheduler_launching import Launch
from foldline.errors import FoldlineError
from foldline.task import Task

__all__ = ["BaseScheduleJob", "BaseScheduler", "ExecutedJob", "ScheduleJob", "TaskScheduler"]

SCHEDULE: Final = "schedule"
COLUMNS: Final = (
    "name", "base_task_id", "base_function", "next_run", "target_project", "queue", "minute", "hour", "day", "weekdays",
    "month", "year", "starting_time", "execution_limit_hours", "recurring", "single_instance", "task_parameters",
    "task_overrides", "clone_task", "error",
)  # fmt: skip


class TaskScheduler(BaseScheduler):
    """Launches tasks when their time has come. All times are UTC.

    A time that passed while no scheduler ran is made up for once, however often it would have come.
    """

    def __init__(
        self,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
    ) -> None:
        super().__init__(sync_frequency_minutes, force_create_task_name, force_create_task_project)
        self._schedule_jobs: list[ScheduleJob] = []
        self._announced: datetime | None = None

    def add_task(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_function: Callable[[], Any] | None = None,
        queue: str | None = None,
        name: str | None = None,
        target_project: str | None = None,
        minute: int | None = None,
        hour: int | None = None,
        day: int | None = None,
        weekdays: Sequence[str] | None = None,
        month: int | None = None,
        year: int | None = None,
        limit_execution_time: float | None = None,
        single_instance: bool = False,
        recurring: bool = True,
        execute_immediately: bool = False,
        reuse_task: bool = False,
        task_parameters: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
    ) -> bool:
        """Clone a task, or a pipeline's run, and put the clone into `queue` at its times; or call a function then.

        The longest of minute, hour, day, month and year says how far apart the times are, the shorter ones when
        exactly; `year` above 2000 is a date. `weekdays` with `day=0`: at that hour of those days; without a day: at
        intervals of hour and minute within them. `limit_execution_time` is in hours, from the task's start.
        `single_instance` leaves a time out while the last task is not done; `recurring=False` is for one time only,
        `execute_immediately` for now as well. `reuse_task` runs the task itself, again and again.

        Raises ValueError for what does not hold together, FoldlineError when the task or the queue is not there.
        """
        if inert():
            return True
        task_id = identifier(schedule_task_id)
        job = ScheduleJob(
            name=self._name(name or task_id),
            base_task_id=task_id,
            base_function=schedule_function,
            queue=queue,
            target_project=target_project,
            execution_limit_hours=limit_execution_time,
            recurring=bool(recurring),
            single_instance=bool(single_instance),
            execute_immediately=bool(execute_immediately),
            task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}),
            clone_task=not reuse_task,
            starting_time=self.clock.now(),
            minute=minute,
            hour=hour,
            day=day,
            weekdays=weekdays,
            month=month,
            year=year,
        )
        job.verify()
        self._launcher.check(job)
        if job.next_run() is None:
            self._log(f"Warning: the time of {job.name!r} has passed: it will never be launched")
        self._schedule_jobs = [*self._schedule_jobs, job]
        self._changed()
        return True

    def get_scheduled_tasks(self) -> list[ScheduleJob]:
        return self._schedule_jobs

    def remove_task(self, task_id: str | Task | Callable[[], Any]) -> bool:
        """Whether there was a job of that task, or of that function, to remove."""
        wanted = task_id if callable(task_id) else identifier(task_id)
        kept = [job for job in self._schedule_jobs if wanted not in (job.base_task_id, job.base_function)]
        removed = len(kept) < len(self._schedule_jobs)
        self._schedule_jobs = kept
        if removed:
            self._changed()
        return removed

    def start(self) -> None:
        """Launch what is due, for ever; a stop of its task or Ctrl-C ends it."""
        super().start()

    def start_remotely(self, queue: str = "services") -> None:
        """Leave it to an agent of `queue`: this process ends here, the agent's begins here."""
        super().start_remotely(queue=queue)

    def _name(self, wanted: str) -> str:
        return distinct(wanted, [job.name for job in self._schedule_jobs]) if wanted else ""

    def _jobs(self) -> Sequence[ScheduleJob]:
        return self._schedule_jobs

    def _sections(self) -> Mapping[str, tuple[str, Sequence[BaseScheduleJob]]]:
        return {SCHEDULE: ("scheduled tasks, which may be edited while the scheduler runs", self._schedule_jobs)}

    def _read_section(self, section: str, text: str) -> None:
        before = {job.name: job for job in self._schedule_jobs}
        functions = {job.name: job.base_function for job in before.values() if job.base_function}
        jobs = [ScheduleJob.parsed(given, functions) for given in json.loads(text)]
        if len({job.name for job in jobs}) < len(jobs):
            raise ValueError("two jobs have one name")
        for job in jobs:
            known = before.get(job.name)
            if known is None or known.to_dict() != job.to_dict():
                self._launcher.check(job)
            edited = job.starting_time
            job.remember(known.remembered() if known else self._state.jobs.get(job.name, {}))
            job.starting_time = edited or job.starting_time or self.clock.now()
        self._schedule_jobs = jobs

    def _round(self, now: datetime) -> float:
        self._make_launches(now)
        self._watch_limits(now)
        self._take(now)
        return self._seconds_to_next(now)

    def _take(self, now: datetime) -> None:
        """Note down all that is due, in one write; only then is it done."""
        before, noted = [(job, job.last_run) for job in self._schedule_jobs], list(self._state.launches)
        calls: list[ScheduleJob] = []
        taken = False
        for job in self._schedule_jobs:
            tick = job.due(now)
            if tick is None:
                continue
            busy = job.single_instance and self._is_busy(job)
            job.last_run, taken = tick, True
            if busy:
                self._log(f"Leaving out {job.name!r} of {tick.isoformat()}: what it launched before is not done")
            elif job.base_function:
                calls.append(job)
            else:
                self._state.launches.append(self._noted(job, tick.isoformat(), job.task_parameters, job.task_overrides))
        if not taken:
            return
        try:
            self._save()
        except FoldlineError:
            # Nothing was done yet: the next look finds it due again.
            self._state.launches = noted
            for job, last_run in before:
                job.last_run = last_run
            raise
        for job in calls:
            self._call(job, (), now)
        self._make_launches(now)
        self._report()

    def _launched(
        self, launch: Launch, job: BaseScheduleJob | None, made: str, now: datetime
    ) -> Mapping[str, str] | None:
        if isinstance(job, ScheduleJob) and job.execution_limit_hours:
            self._state.limits[made] = (now + timedelta(hours=job.execution_limit_hours), job.execution_limit_hours)
        return super()._launched(launch, job, made, now)

    def _watch_limits(self, now: datetime) -> None:
        over = [task for task, (at, _) in self._state.limits.items() if at <= now]
        for task in over:
            _, hours = self._state.limits.pop(task)
            again = self._launcher.limit(task, hours, now)
            if again is not None:
                self._state.limits[task] = (again, hours)
        if over:
            self._save()

    def _seconds_to_next(self, now: datetime) -> float:
        times = [at for at in (job.next_run() for job in self._schedule_jobs) if at is not None]
        if times and min(times) != self._announced:
            self._announced = min(times)
            self._log(f"The next launch is due at {self._announced.isoformat()}")
        times += [at for at, _ in self._state.limits.values()]
        left = min(((at - now).total_seconds() for at in times), default=self._sync_seconds)
        return min(left, self._sync_seconds, RETRY if self._state.launches else left)

    def _report(self) -> None:
        rows = [{**job.to_dict(full=True), "next_run": job.next_run()} for job in self._schedule_jobs]
        self._table("Schedule Tasks", COLUMNS, [[row.get(column) for column in COLUMNS] for row in rows])
        done = [(one.name, one.task_id or "function", one.started) for one in reversed(self._state.executed)]
        self._table("Executed Tasks", ("name", "task id", "started"), done)
