"""TaskScheduler against the real server, with a clock that is set by hand."""

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from foldline import PipelineController, Task, process
from foldline.automation import TaskScheduler
from foldline.automation.scheduler_launching import Launcher
from foldline.automation.scheduler_state import Memory, Replaced
from foldline.client import Client
from foldline.errors import ConnectionFailed, FoldlineError, NotFound, NotSupported
from foldline.logger import flush_all
from tests.sdk.processes import run as run_script
from tests.sdk.scheduling import NOON, HandClock, Left, being, clones, leave_out_tables, run
from tests.support.house import ROOT

_leave_out_tables = pytest.fixture(autouse=True)(leave_out_tables)


@pytest.fixture
def tables() -> None:
    """This test wants them."""


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def train(server: Client, project: str) -> Task:
    task = Task.create(project_name=project, task_name="train")
    task.set_parameters({"General/lr": 0.1, "General/epochs": 3})
    return task


@pytest.fixture
def scheduler(server: Client, project: str) -> Iterator[TaskScheduler]:
    """A scheduler that this process runs as task "schedule" of the project."""
    task = Task.create(project_name=project, task_name="schedule", task_type="service")
    with being(server, task.id):
        yield started()


def started(clock: HandClock | None = None) -> TaskScheduler:
    scheduler = TaskScheduler()
    scheduler.clock = clock or HandClock()
    return scheduler


def hand(scheduler: TaskScheduler) -> HandClock:
    assert isinstance(scheduler.clock, HandClock)
    return scheduler.clock


def again(scheduler: TaskScheduler, clock: HandClock, *jobs: dict[str, Any]) -> TaskScheduler:
    """The process that follows it on the same task, by the same script."""
    follower = started(clock)
    follower.clock = HandClock(hand(scheduler).at)
    for job in jobs:
        follower.add_task(**job)
    follower.clock = clock
    return follower


def state_of(scheduler: TaskScheduler) -> dict[str, Any]:
    text = Task.get_task(scheduler._task.id).get_configuration_object("state")  # pyright: ignore
    return json.loads(text or "{}")


def test_a_clone_is_launched_at_its_time(scheduler: TaskScheduler, train: Task, server: Client, project: str):
    scheduler.add_task(
        train,
        queue="default",
        name="hourly",
        target_project=f"{project}/runs",
        hour=1,
        task_parameters={"General/lr": 0.5},
        task_overrides={"script.branch": "main", "script.version_num": None, "container.image": "python:3.12"},
    )
    run(scheduler, hand(scheduler), minutes=59)
    assert clones(server, f"{project}/runs") == []
    run(scheduler, hand(scheduler), minutes=2)
    (launched,) = clones(server, f"{project}/runs")
    assert launched.get_parameters() == {"General/lr": 0.5, "General/epochs": 3}
    assert (launched.status, launched.data["queue"]) == ("queued", "default")
    assert launched.data["origin"] == scheduler._task.id  # pyright: ignore[reportPrivateUsage]
    assert (launched.data["script"]["branch"], launched.data["container"]["image"]) == ("main", "python:3.12")
    (job,) = scheduler.get_scheduled_tasks()
    assert (job.get_last_executed_task_id(), job.next_run()) == (launched.id, NOON + timedelta(hours=2))
    assert train.get_status() == "created"


def test_a_pipeline_is_launched_with_its_parameters(scheduler: TaskScheduler, server: Client, project: str):
    pipe = PipelineController(name="nightly", project=project)
    pipe.add_parameter("x", 1)
    pipe.add_approval_step(name="look", message="good?")
    assert pipe.create_draft()
    draft = pipe.task
    scheduler.add_task(str(draft.id), queue="services", minute=5, task_parameters={"Args/x": 7})
    run(scheduler, hand(scheduler), minutes=5)
    (launched,) = (one for one in server.runs.list(project=project, kind="pipeline") if one["id"] != draft.id)
    assert (launched["status"], launched["parameters"]) == ("running", {"x": 7})
    assert launched["name"] == "nightly #2"
    with pytest.raises(NotSupported, match="leave reuse_task out"):
        scheduler.add_task(str(draft.id), queue="services", minute=5, reuse_task=True)
    with pytest.raises(NotSupported, match="leave task_overrides out"):
        scheduler.add_task(str(draft.id), queue="services", minute=5, task_overrides={"script.branch": "main"})


def test_whoever_follows_neither_repeats_nor_forgets(
    scheduler: TaskScheduler, train: Task, server: Client, project: str
):
    job = {"schedule_task_id": train, "queue": "default", "minute": 10}
    scheduler.add_task(**job)
    clock = hand(scheduler)
    run(scheduler, clock, minutes=10)
    assert len(clones(server, project)) == 1
    follower = again(scheduler, clock, job)
    run(follower, clock, minutes=9)
    assert len(clones(server, project)) == 1
    clock.at += timedelta(hours=5)  # nobody runs
    last = again(scheduler, clock, job)
    run(last, clock, minutes=0)
    run(last, clock, seconds=30)
    assert len(clones(server, project)) == 2
    assert last.get_scheduled_tasks()[0].last_run == NOON + timedelta(hours=5, minutes=10)


@pytest.mark.parametrize("made", [False, True], ids=["before the launch", "after the launch"])
@pytest.mark.parametrize("reuse", [False, True], ids=["a clone", "the task itself"])
def test_a_process_that_dies_over_a_launch_leaves_one(
    scheduler: TaskScheduler,
    train: Task,
    server: Client,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
    reuse: bool,
):
    job = {"schedule_task_id": train, "queue": "default", "minute": 10, "reuse_task": reuse}
    scheduler.add_task(**job)
    clock, launch = hand(scheduler), Launcher.launch

    def dies(self: Launcher, what: Any) -> None:
        if made:
            launch(self, what)
        raise Left

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "launch", dies)
        run(scheduler, clock, minutes=10)
    assert len(state_of(scheduler)["launches"]) == 1
    if made and reuse:
        server.tasks.stop(train.id, "done meanwhile", now=True)
    follower = again(scheduler, clock, job)
    run(follower, clock, minutes=5)
    (launched,) = clones(server, project)
    assert state_of(follower)["launches"] == []
    assert follower.get_scheduled_tasks()[0].last_task == launched.id
    assert len(launched.data["attempts"]) == 0
    assert launched.get_status() == ("stopped" if made and reuse else "queued")


def test_a_process_that_dies_between_clone_and_queue_leaves_one(
    scheduler: TaskScheduler, train: Task, server: Client, project: str, monkeypatch: pytest.MonkeyPatch
):
    job = {"schedule_task_id": train, "queue": "default", "minute": 10}
    scheduler.add_task(**job)
    clock = hand(scheduler)

    def dies(*_: Any) -> None:
        raise Left

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "_prepare", dies)
        run(scheduler, clock, minutes=10)
    run(again(scheduler, clock, job), clock, minutes=5)
    assert len(clones(server, project)) == 1
    assert len(list(server.tasks.list(project=project, name="train"))) == 2
    assert len(list(server.tasks.list(project=project, name="Clone of train"))) == 0


def test_another_scheduler_of_the_same_name_launches_nothing_again(
    scheduler: TaskScheduler, train: Task, server: Client, project: str
):
    scheduler.add_task(train, queue="default", name="daily", day=1, hour=13)
    clock = hand(scheduler)
    run(scheduler, clock, hours=1)
    process.set_own_task(None)
    second = Task.create(project_name=project, task_name="schedule", task_type="service")
    with being(server, second.id):
        other = started(HandClock())
        other.add_task(train, queue="default", name="daily", day=1, hour=13)
        run(other, hand(other), hours=1, minutes=1)
    assert len(clones(server, project)) == 1


@pytest.mark.parametrize(("ended", "expected"), [("failed", 2), ("stopped", 1)])
def test_a_script_that_is_started_again_goes_on_for_one_that_failed(
    train: Task, server: Client, project: str, ended: str, expected: int
):
    """What was stopped on purpose begins afresh: its times are counted from then."""
    clock = HandClock()
    first = Task.create(project_name=project, task_name="schedule", task_type="service")
    with being(server, first.id):
        scheduler = started(clock)
        scheduler.add_task(train, queue="default", minute=10)
        run(scheduler, clock, minutes=10)
        server.tasks.stop(first.id, now=True) if ended == "stopped" else server.tasks.fail(first.id)
    clock.at += timedelta(minutes=15)
    second = Task.create(project_name=project, task_name="schedule", task_type="service")
    with being(server, second.id):
        follower = started(clock)
        follower.add_task(train, queue="default", minute=10)
        run(follower, clock, minutes=1)
    assert len(clones(server, project)) == expected


def test_the_schedule_is_edited_while_it_runs(scheduler: TaskScheduler, train: Task, server: Client, project: str):
    called: list[int] = []
    scheduler.add_task(train, queue="default", name="hourly", hour=1)
    scheduler.add_task(schedule_function=lambda: called.append(1), name="count", hour=2)
    clock = hand(scheduler)
    run(scheduler, clock, minutes=1)
    task = scheduler._task  # pyright: ignore[reportPrivateUsage]
    hourly, count = task.get_configuration_object_as_dict("schedule")
    added = {"name": "added", "base_task_id": train.id, "queue": "default", "minute": 40}
    edited = {**hourly, "hour": None, "minute": 30, "task_parameters": {"General/lr": 9}}
    task.set_configuration_object("schedule", config_dict=[edited, count, added])
    run(scheduler, clock, minutes=35)
    assert [one.get_parameter("General/lr") for one in clones(server, project)] == [9]
    run(scheduler, clock, minutes=21)
    assert [one.get_parameter("General/lr") for one in clones(server, project)] == [9, 0.1]
    assert [job.name for job in scheduler.get_scheduled_tasks()] == ["hourly", "count", "added"]
    task.set_configuration_object("schedule", config_dict=[])
    run(scheduler, clock, hours=5)
    assert (len(clones(server, project)), called) == (2, [])


def test_a_schedule_that_makes_no_sense_changes_nothing(
    scheduler: TaskScheduler, train: Task, server: Client, project: str, capsys: pytest.CaptureFixture[str]
):
    scheduler.add_task(train, queue="default", hour=1)
    clock = hand(scheduler)
    run(scheduler, clock, seconds=1)
    task = scheduler._task  # pyright: ignore[reportPrivateUsage]
    job = f'"name": "a", "base_task_id": "{train.id}"'
    for text, expected in (
        ("[{", "Expecting"),
        ("[3]", "is a list of objects"),
        (f'[{{{job}, "queue": "default", "hours": 1}}]', "has no field 'hours'"),
        (f'[{{{job}, "queue": "nowhere", "hour": 1}}]', "there is no queue 'nowhere'"),
        (f'[{{{job}, "queue": "default"}}]', "was not provided"),
        (f'[{{{job}, "queue": "default", "hour": 1}}, {{{job}, "queue": "default", "hour": 2}}]', "one name"),
        ('[{"name": "a", "base_function": "f", "hour": 1}]', "is to call a function"),
    ):
        task.set_configuration_object("schedule", config_text=text)
        clock.at += timedelta(minutes=15)
        run(scheduler, clock, seconds=0)
        said = capsys.readouterr().out
        assert "the configuration 'schedule' stays as it was" in said
        assert expected in said
    assert len(clones(server, project)) == 1


def test_what_is_to_be_done_and_what_was_done_is_shown(
    scheduler: TaskScheduler, train: Task, server: Client, tables: None
):
    scheduler.add_task(train, queue="default", name="hourly", hour=1)
    run(scheduler, hand(scheduler), hours=1)
    flush_all()
    shown = {one["title"]: one for one in server.plots.list(scheduler._task.id)}  # pyright: ignore
    assert set(shown) == {"Schedule Tasks", "Executed Tasks"}
    text = {title: server.blobs.read(one["sha256"]).decode() for title, one in shown.items()}
    assert "2026-11-23 14:00:00" in text["Schedule Tasks"]
    assert str(scheduler.get_scheduled_tasks()[0].last_task) in text["Executed Tasks"]


def test_what_cannot_be_scheduled_is_an_error_at_once(scheduler: TaskScheduler, train: Task):
    with pytest.raises(FoldlineError, match=r"there is no queue 'gpu': `foldline queue create gpu` makes it"):
        scheduler.add_task(train, queue="gpu", minute=1)
    with pytest.raises(NotFound):
        scheduler.add_task("f" * 32, queue="default", minute=1)
    with pytest.raises(ValueError, match="'queue' must be provided"):
        scheduler.add_task(train, minute=1)
    with pytest.raises(ValueError, match="not both"):
        scheduler.add_task(train, print, queue="default", minute=1)
    with pytest.raises(ValueError, match="Either schedule function or task-id"):
        scheduler.add_task(queue="default", minute=1)
    with pytest.raises(ValueError, match="'name' must be supplied"):
        scheduler.add_task(schedule_function=print, minute=1)
    with pytest.raises(ValueError, match="was not provided"):
        scheduler.add_task(train, queue="default")
    with pytest.raises(ValueError, match="no field 'script_branch' to override"):
        scheduler.add_task(train, queue="default", minute=1, task_overrides={"script_branch": "main"})
    with pytest.raises(NotSupported, match="limit_execution_time is for tasks"):
        scheduler.add_task(schedule_function=print, name="f", minute=1, limit_execution_time=1)
    with pytest.raises(FoldlineError, match="there is no queue 'nowhere'"):
        scheduler.start_remotely(queue="nowhere")
    assert scheduler.get_scheduled_tasks() == []


def test_single_instance_leaves_out_what_would_overlap(
    scheduler: TaskScheduler, train: Task, server: Client, project: str
):
    scheduler.add_task(train, queue="default", minute=10, single_instance=True)
    clock = hand(scheduler)
    run(scheduler, clock, minutes=35)
    (launched,) = clones(server, project)
    server.tasks.stop(launched.id, now=True)
    run(scheduler, clock, minutes=5)
    assert len(clones(server, project)) == 2


def test_a_task_that_runs_too_long_is_stopped(scheduler: TaskScheduler, train: Task, server: Client, project: str):
    clock = hand(scheduler)
    clock.at = datetime.now(UTC)  # the server's clock says when a task was started
    scheduler.add_task(train, queue="default", minute=10, recurring=False, limit_execution_time=0.5)
    run(scheduler, clock, minutes=10)
    (launched,) = clones(server, project)
    run(scheduler, clock, minutes=45)
    assert launched.get_status() == "queued"
    server.tasks.start(launched.id, session="5e" * 16, host="here", lease=600)
    run(scheduler, clock, hours=1)
    launched.reload()
    assert launched.data["stop_requested"] is True
    server.tasks.stop(launched.id, now=True)
    assert state_of(scheduler)["limits"] == {}


def test_the_task_itself_runs_again_and_again(scheduler: TaskScheduler, train: Task, server: Client, project: str):
    scheduler.add_task(train, queue="default", minute=10, reuse_task=True, task_parameters={"General/lr": 7})
    clock = hand(scheduler)
    run(scheduler, clock, minutes=25)  # the second time finds it in its queue still
    train.reload()
    assert (train.get_status(), train.get_parameter("General/lr")) == ("queued", 7)
    server.tasks.stop(train.id, now=True)
    run(scheduler, clock, minutes=5)
    assert train.get_status() == "queued"
    assert clones(server, project) == [train]


def test_a_function_is_called_in_a_thread_and_may_fail(
    scheduler: TaskScheduler, server: Client, capsys: pytest.CaptureFixture[str]
):
    names: list[str] = []
    over = threading.Event()

    def note() -> None:
        names.append(threading.current_thread().name)
        if len(names) == 3:
            over.set()
        raise RuntimeError("no luck")

    scheduler.add_task(schedule_function=note, name="note", minute=1, execute_immediately=True)
    run(scheduler, hand(scheduler), minutes=2)
    assert over.wait(20)
    assert names == ["job note"] * 3
    for thread in scheduler._threads.values():  # pyright: ignore[reportPrivateUsage]
        thread.join(20)
    assert "the function of 'note' failed" in capsys.readouterr().out
    assert scheduler.remove_task(note) is True
    assert scheduler.remove_task(note) is False
    assert scheduler.get_scheduled_tasks() == []


def test_names_are_told_apart(scheduler: TaskScheduler, train: Task):
    for _ in range(2):
        scheduler.add_task(train, queue="default", minute=1)
    assert [job.name for job in scheduler.get_scheduled_tasks()] == [train.id, f"{train.id} 2"]
    assert scheduler.remove_task(train) is True


def test_what_the_server_refuses_is_told_and_the_next_time_comes(
    scheduler: TaskScheduler, train: Task, server: Client, project: str, capsys: pytest.CaptureFixture[str]
):
    scheduler.add_task(train, queue="default", minute=10, task_overrides={"script.nonsense": 1})
    clock = hand(scheduler)
    run(scheduler, clock, minutes=10)
    assert "could not be launched for 2026-11-23T12:10:00+00:00" in capsys.readouterr().out
    (job,) = scheduler.get_scheduled_tasks()
    assert "nonsense" in job.error
    task = scheduler._task  # pyright: ignore[reportPrivateUsage]
    (spec,) = task.get_configuration_object_as_dict("schedule")
    task.set_configuration_object("schedule", config_dict=[{**spec, "task_overrides": {}}])
    run(scheduler, clock, minutes=20)
    assert clones(server, project)
    assert scheduler.get_scheduled_tasks()[0].error == ""


def test_a_server_that_is_away_delays_a_launch(
    scheduler: TaskScheduler, train: Task, server: Client, project: str, monkeypatch: pytest.MonkeyPatch
):
    scheduler.add_task(train, queue="default", minute=10)
    clock, tries = hand(scheduler), list[int]()

    def away(*_: Any) -> None:
        tries.append(1)
        raise ConnectionFailed("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "launch", away)
        run(scheduler, clock, minutes=11)
    assert len(tries) > 2
    assert clones(server, project) == []
    run(scheduler, clock, seconds=15)
    assert len(clones(server, project)) == 1


def test_what_could_not_be_noted_down_is_not_done_yet(
    scheduler: TaskScheduler, train: Task, server: Client, project: str, monkeypatch: pytest.MonkeyPatch
):
    called = threading.Event()
    scheduler.add_task(train, queue="default", minute=10)
    scheduler.add_task(schedule_function=called.set, name="f", minute=10)
    clock = hand(scheduler)
    run(scheduler, clock, minutes=9)

    def away(*_: Any) -> None:
        raise ConnectionFailed("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Memory, "write", away)
        run(scheduler, clock, minutes=2)
    assert not called.is_set()
    assert clones(server, project) == []
    run(scheduler, clock, seconds=15)
    assert called.wait(20)
    assert len(clones(server, project)) == 1


def test_a_scheduler_whose_task_is_over_ends(scheduler: TaskScheduler, train: Task, server: Client, project: str):
    scheduler.add_task(train, queue="default", minute=10)
    clock = hand(scheduler)
    run(scheduler, clock, minutes=1)
    server.tasks.stop(scheduler._task.id, "by hand", now=True)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Replaced, match="this process is not the scheduler any more"):
        run(scheduler, clock, minutes=20)
    assert clones(server, project) == []


def test_a_script_leaves_its_scheduler_to_an_agent(server: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """examples/schedule, up to the agent; that part is played here."""
    train = Task.create(project_name="custom", task_name="train tree")
    # Out of this repository, all of which would travel with it.
    shutil.copy(ROOT / "examples" / "schedule" / "nightly.py", tmp_path)
    done = run_script("nightly.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    task = Task.get_task(project_name="custom", task_name="nightly")
    assert task is not None
    assert (task.get_status(), task.task_type, task.data["queue"]) == ("queued", "service", "services")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "2")
    server.tasks.start(task.id, session="5e" * 16, host="here", lease=600)
    # The agent's process runs the script again; what stands on the task counts.
    (nightly,) = task.get_configuration_object_as_dict("schedule")
    assert (nightly["name"], nightly["base_task_id"], nightly["hour"]) == ("every night", train.id, 3)
    task.set_configuration_object("schedule", config_dict=[{**nightly, "minute": 2, "hour": None, "day": None}])
    follower = started(HandClock(datetime.now(UTC)))
    assert follower._task == task  # pyright: ignore[reportPrivateUsage]
    follower.add_task(train, queue="default", name="every night", day=1, hour=3)
    run(follower, hand(follower), minutes=3)
    origins = [one.data["origin"] for one in clones(server, "custom", "train tree")]
    assert origins.count(task.id) == 1
