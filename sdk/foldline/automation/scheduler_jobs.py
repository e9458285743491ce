"""What a scheduler is told to do: a task to launch or a function to call, and what became of it the last times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

from foldline.automation import scheduler_times
from foldline.automation.scheduler_times import Timing
from foldline.errors import NotSupported
from foldline.formats import plain

# Marks the fields that the scheduler remembers, rather than being told them.
STATE: Final[Mapping[str, bool]] = {"state": True}
TIMES: Final = ("starting_time", "last_run", "started", "finished")


@dataclass(kw_only=True)
class BaseScheduleJob:
    """What a schedule and a trigger have in common. `name` tells them apart, also after a restart."""

    name: str = ""
    base_task_id: str = ""
    base_function: Callable[..., Any] | None = None
    queue: str | None = None
    target_project: str | None = None
    single_instance: bool = False
    task_parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    task_overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    clone_task: bool = True
    # The task launched last, and why the last launch did not come about.
    last_task: str | None = field(default=None, metadata=STATE)
    error: str = field(default="", metadata=STATE)

    def verify(self) -> None:
        """Raises ValueError, saying what to give."""
        if self.base_function and self.base_task_id:
            raise ValueError("give a task to schedule or a function, not both")
        if not self.base_function and not self.base_task_id:
            raise ValueError("Either schedule function or task-id must be provided")
        if not self.name:
            raise ValueError("Entry 'name' must be supplied for function scheduling")
        if self.base_task_id and not self.queue:
            raise ValueError(f"Target 'queue' must be provided for the scheduled task of {self.name!r}")

    def to_dict(self, full: bool = False) -> dict[str, Any]:
        """As JSON, what it was told; with `full` also what is remembered. Of a function its name."""
        chosen = [one.name for one in fields(self) if full or not one.metadata.get("state")]
        return {name: _as_json(getattr(self, name)) for name in chosen}

    def remembered(self) -> dict[str, Any]:
        """What of it outlives the process, as JSON."""
        return {one.name: _as_json(getattr(self, one.name)) for one in fields(self) if one.metadata.get("state")}

    def remember(self, state: Mapping[str, Any]) -> None:
        known = {one.name for one in fields(self) if one.metadata.get("state")}
        for name, value in state.items():
            if name in known:
                setattr(self, name, moment(value) if name in TIMES else value)

    def get_last_executed_task_id(self) -> str | None:
        return self.last_task

    @classmethod
    def parsed(cls, given: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Self:
        """Of its JSON; `functions` are those there are, by the names of their jobs. Raises ValueError."""
        if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"what to do is a list of objects, not of {given!r}")
        known = {one.name for one in fields(cls) if not one.metadata.get("state")}
        name = str(given.get("name") or given.get("base_task_id") or "")
        if unknown := [one for one in given if one not in known]:
            raise ValueError(f"{name!r} has no field {unknown[0]!r}: choose from {', '.join(sorted(known))}")
        values: dict[str, Any] = {
            one: value for one, value in given.items() if value is not None and one != "base_function"
        }
        for one in TIMES:
            if one in values:
                values[one] = moment(values[one])
        if given.get("base_function"):
            if name not in functions:
                raise ValueError(f"{name!r} is to call a function, and the script gives none to a job of that name")
            values["base_function"] = functions[name]
        values["name"] = name
        job = cls(**values)
        job.verify()
        return job


@dataclass(kw_only=True)
class ScheduleJob(BaseScheduleJob):
    """A job that runs by the clock. Times are UTC."""

    execution_limit_hours: float | None = None
    recurring: bool = True
    execute_immediately: bool = False
    starting_time: datetime | None = None
    minute: int | None = None
    hour: int | None = None
    day: int | None = None
    weekdays: Sequence[str] | None = None
    month: int | None = None
    year: int | None = None
    # The time that the last run was meant for.
    last_run: datetime | None = field(default=None, metadata=STATE)

    def remembered(self) -> dict[str, Any]:
        """Also since when it is there: that is what its times are counted from."""
        return {**super().remembered(), "starting_time": _as_json(self.starting_time)}

    def remember(self, state: Mapping[str, Any]) -> None:
        super().remember(state)
        self.starting_time = moment(state.get("starting_time")) or self.starting_time

    @property
    def timing(self) -> Timing:
        days = [self.weekdays] if isinstance(self.weekdays, str) else self.weekdays or ()
        return Timing(
            minute=_whole(self.minute),
            hour=_whole(self.hour),
            day=_whole(self.day),
            weekdays=tuple(str(day).lower() for day in days),
            month=_whole(self.month),
            year=_whole(self.year),
        )

    def verify(self) -> None:
        super().verify()
        scheduler_times.verify(self.timing)
        if self.base_function and self.execution_limit_hours:
            raise NotSupported(
                f"{self.name!r}: a function's thread cannot be ended from outside, so limit_execution_time "
                "is for tasks: make the function a task, or leave it out"
            )
        if self.execution_limit_hours is not None and self.execution_limit_hours <= 0:
            raise ValueError("limit_execution_time is a number of hours above 0; leave it out for none")

    def next_run(self) -> datetime | None:
        """When it runs next, which may be past; None for never again."""
        return scheduler_times.next_run(
            self.timing,
            started=self.starting_time or datetime.now(UTC),
            last=self.last_run,
            recurring=self.recurring,
            immediately=self.execute_immediately,
        )

    def due(self, now: datetime) -> datetime | None:
        """The time for which it is to run now; None when it is not."""
        return scheduler_times.due(
            self.timing,
            started=self.starting_time or now,
            last=self.last_run,
            now=now,
            recurring=self.recurring,
            immediately=self.execute_immediately,
        )


@dataclass(kw_only=True)
class ExecutedJob:
    """A launch that came about: of a task, or of a function in a thread."""

    name: str = ""
    started: datetime | None = None
    task_id: str | None = None
    # What triggered it: an object's id.
    trigger: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {one.name: _as_json(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def parsed(cls, given: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {name: moment(value) if name in TIMES else value for name, value in given.items()}
        return cls(**values)


def distinct(name: str, taken: Sequence[str]) -> str:
    """`name`, or with a number behind it the first that is not taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name} {number}"
    return found


def moment(value: Any) -> datetime | None:
    """A time of JSON; without a zone it is UTC. Raises ValueError."""
    if value is None or isinstance(value, datetime):
        return value
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if callable(value):
        called = cast(Any, value)
        return f"{getattr(called, '__module__', '')}.{getattr(called, '__qualname__', repr(called))}".lstrip(".")
    return plain(value)


def _whole(value: Any) -> Any:
    """30 of 30.0: ClearML takes both."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
