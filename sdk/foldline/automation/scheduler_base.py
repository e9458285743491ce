"""What TaskScheduler and TriggerScheduler have in common: a service task that looks, remembers and launches."""

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from foldline import process
from foldline.automation.scheduler_jobs import BaseScheduleJob, ExecutedJob
from foldline.automation.scheduler_launching import Launch, Launcher, check_queue
from foldline.automation.scheduler_state import Memory, Replaced, State, described
from foldline.client import Client, shared
from foldline.definition import defining, end_definition
from foldline.errors import ConnectionFailed, FoldlineError, Unavailable
from foldline.listing import Json
from foldline.task import Task

# Seconds until what could not be done is tried again.
RETRY: Final = 15.0
# Seconds of one wait: the clock may be set, and a machine may sleep.
LONGEST_WAIT: Final = 60.0

log = logging.getLogger("foldline")


class Clock:
    """The time, and waiting for it."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class BaseScheduler:
    """Looks for what there is to do, notes it down on its task, and does it; again and again.

    The task holds what to do as configuration objects, which may be edited while it runs, and what was done as
    another, so that whichever process comes next neither does a thing twice nor leaves it out.
    """

    # Tests have a clock of their own.
    clock: Clock = Clock()

    def __init__(
        self,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
    ) -> None:
        """`sync_frequency_minutes`: how often what to do is read again from the task.

        This process's task is the scheduler, unless there is none or a name is given: then one is begun.
        """
        self._sync_seconds = 60.0 * sync_frequency_minutes
        current = None if force_create_task_name else Task.current_task()
        self._task: Task = current or Task.init(
            project_name=force_create_task_project or "DevOps",
            task_name=force_create_task_name or "Scheduler",
            task_type=Task.TaskTypes.service,
        )
        self._state = State()
        self._shown: dict[str, list[list[str]]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._begun = False
        self._synced_at: datetime | None = None

    def start(self) -> None:
        """Go on for ever in this process; a stop of its task or Ctrl-C ends it.

        Raises FoldlineError when a task or queue is not there, or when another process took the task over.
        """
        end_definition()
        self._begin()
        while True:
            self.clock.wait(self._look())

    def start_remotely(self, queue: str = "services") -> None:
        """Leave it to an agent of `queue`: this process ends here, the agent's begins here."""
        end_definition()
        if Task.running_locally():
            check_queue(self._client, queue)
            self._begin()
        self._task.execute_remotely(queue_name=queue, exit_process=True)
        self.start()

    @property
    def _client(self) -> Client:
        return shared()

    @property
    def _launcher(self) -> Launcher:
        return Launcher(self._client, f"{self._task.project}/{self._task.name}")

    # What a subclass says

    def _jobs(self) -> Sequence[BaseScheduleJob]:
        """All there are now."""
        raise NotImplementedError

    def _sections(self) -> Mapping[str, tuple[str, Sequence[BaseScheduleJob]]]:
        """By the name of a configuration object, a description of it and the jobs that it holds."""
        raise NotImplementedError

    def _read_section(self, section: str, text: str) -> None:
        """Take over an edited configuration object. Raises ValueError, and then nothing has changed."""
        raise NotImplementedError

    def _round(self, now: datetime) -> float:
        """Do what there is to do now; seconds until there may be more."""
        raise NotImplementedError

    def _report(self) -> None:
        """Show what there is to do, and what was done."""
        raise NotImplementedError

    # The loop

    def _begin(self) -> None:
        """Take up what the task remembers, once. What is edited on it counts for an agent, the script's own here."""
        if self._begun:
            return
        self._memory = Memory(self._client, self._task.id)
        self._state = self._memory.read()
        for job in self._jobs():
            job.remember(self._state.jobs.get(job.name, {}))
        read = process.given_by_agent() and self._read_specs()
        self._started()
        self._save(specs=None if read else self._specs())
        self._begun = True
        self._synced_at = self.clock.now()
        self._report()

    def _started(self) -> None:
        """The first state is complete but for what the subclass adds."""

    def _look(self) -> float:
        """One turn of the loop; seconds until the next. Raises Replaced, nothing else: the loop must live."""
        now = self.clock.now()
        try:
            self._sync(now)
            return min(max(0.0, self._round(now)), LONGEST_WAIT)
        except Replaced:
            raise
        except FoldlineError as why:
            self._log(f"Warning: {why}; trying again in {RETRY:g} s")
        except Exception:
            self._log(f"Warning: an error in the scheduler itself:\n{traceback.format_exc()}")
        return RETRY

    def _sync(self, now: datetime) -> None:
        if self._synced_at is not None and (now - self._synced_at).total_seconds() < self._sync_seconds:
            return
        self._synced_at = now
        self._read_specs()
        self._report()

    def _read_specs(self) -> bool:
        """Whether the task had any; one that cannot be understood changes nothing, and is named in the log."""
        specs = self._memory.specs(self._sections())
        for section, text in specs.items():
            try:
                self._read_section(section, text)
            except (ValueError, TypeError, FoldlineError) as why:
                if isinstance(why, ConnectionFailed | Unavailable):
                    raise
                self._log(f"Warning: the configuration {section!r} stays as it was: {why}")
        return bool(specs)

    def _specs(self) -> dict[str, Json]:
        """What to do, as configuration objects."""
        return {
            section: described(json.dumps([job.to_dict() for job in jobs], indent=2, ensure_ascii=False), about)
            for section, (about, jobs) in self._sections().items()
        }

    def _changed(self) -> None:
        """Once it runs, what the script adds or removes is written down like what was there when it began."""
        if self._begun:
            self._save(specs=self._specs())

    def _save(self, fired: Mapping[str, str] | None = None, specs: Mapping[str, Json] | None = None) -> None:
        self._state.jobs = {job.name: job.remembered() for job in self._jobs()}
        self._memory.write(self._state, fired, specs)

    # Launching

    def _make_launches(self, now: datetime) -> None:
        """Make what is noted down. What the server refuses is given up, named in the log and on the job."""
        jobs = {job.name: job for job in self._jobs()}
        for launch in list(self._state.launches):
            job = jobs.get(launch.job)
            if job is not None and job.single_instance and self._launcher.is_active(job.last_task):
                continue  # a later look finds it ended
            try:
                made, error = self._launcher.launch(launch), ""
            except (ConnectionFailed, Unavailable):
                raise
            except (FoldlineError, ValueError) as why:
                made, error = None, str(why)
                self._log(f"Warning: {launch.job!r} could not be launched for {launch.tick}: {why}")
            self._state.launches.remove(launch)
            if job is not None:
                job.error = error
            fired = self._launched(launch, job, made, now) if made is not None else None
            self._save(fired)

    def _launched(
        self, launch: Launch, job: BaseScheduleJob | None, made: str, now: datetime
    ) -> Mapping[str, str] | None:
        """A task was put into its queue; what else to remember of that."""
        self._log(f"Launched {launch.job!r} for {launch.tick}: task {made} in queue {launch.queue!r}")
        if job is not None:
            job.last_task = made
        self._state.note(ExecutedJob(name=launch.job, started=now, task_id=made))
        return None

    def _noted(
        self, job: BaseScheduleJob, tick: str, parameters: Mapping[str, Any], overrides: Mapping[str, Any]
    ) -> Launch:
        return Launch(
            job=job.name,
            tick=tick,
            base_task_id=job.base_task_id,
            queue=str(job.queue),
            project=job.target_project,
            clone=job.clone_task,
            parameters=dict(parameters),
            overrides=dict(overrides),
            origin=self._task.id,
        )

    def _call(self, job: BaseScheduleJob, arguments: Sequence[str], now: datetime) -> None:
        """Call the job's function in a thread of its own, with `single_instance` after the last one's end.

        It is called once, also when this process dies meanwhile.
        """
        function = job.base_function
        if function is None:
            return
        before = self._threads.get(job.name) if job.single_instance else None
        self._log(f"Calling the function of {job.name!r}{' with ' + ', '.join(arguments) if arguments else ''}")
        trigger = arguments[0] if arguments else None
        self._state.note(ExecutedJob(name=job.name, started=now, trigger=trigger))
        thread = threading.Thread(
            target=self._called, args=(job.name, function, arguments, before), name=f"job {job.name}"
        )
        self._threads[job.name] = thread
        thread.start()

    def _called(
        self, name: str, function: Callable[..., Any], arguments: Sequence[str], before: threading.Thread | None
    ) -> None:
        if before is not None:
            before.join()
        try:
            function(*arguments)
        except Exception:
            self._log(f"Warning: the function of {name!r} failed:\n{traceback.format_exc()}")

    def _is_busy(self, job: BaseScheduleJob) -> bool:
        """Whether what it launched last is still at work."""
        thread = self._threads.get(job.name)
        return (thread is not None and thread.is_alive()) or self._launcher.is_active(job.last_task)

    # Words

    def _log(self, message: str) -> None:
        self._task.get_logger().report_text(message)

    def _table(self, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Shown with the task, when it has changed. One that cannot be shown keeps nothing from being launched."""
        text = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if self._shown.get(title) == text:
            return
        self._shown[title] = text
        try:
            self._task.get_logger().report_table(title=title, series=" ", iteration=0, table_plot=[list(header), *text])
        except FoldlineError as why:
            log.debug("the table %s could not be shown: %s", title, why)


def identifier(given: "str | Task | None") -> str:
    """The id of a task that is given as one or by its id; "" for none."""
    return given.id if isinstance(given, Task) else str(given or "")


def inert() -> bool:
    """Whether this file is only being imported for its functions: then nothing is checked or begun."""
    return defining()
