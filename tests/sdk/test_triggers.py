"""TriggerScheduler against the real server, with a clock that is set by hand."""

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from foldline import OutputModel, PipelineController, Task
from foldline.automation import TriggerScheduler, trigger_feed
from foldline.automation.scheduler_launching import Launcher
from foldline.automation.scheduler_state import Memory
from foldline.client import Client
from foldline.errors import ConnectionFailed, FoldlineError
from foldline.logger import flush_all
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import run as run_script
from tests.sdk.scheduling import HandClock, Left, being, clones, leave_out_tables, run
from tests.support.house import ROOT

_leave_out_tables = pytest.fixture(autouse=True)(leave_out_tables)


@pytest.fixture
def tables() -> None:
    """This test wants them."""


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def retrain(server: Client, project: str) -> Task:
    """What is launched."""
    return Task.create(project_name=project, task_name="retrain")


@pytest.fixture
def scheduler(server: Client, project: str) -> Iterator[TriggerScheduler]:
    task = Task.create(project_name=f"{project}/service", task_name="triggers", task_type="service")
    with being(server, task.id):
        yield started()


def started(clock: HandClock | None = None) -> TriggerScheduler:
    scheduler = TriggerScheduler(pooling_frequency_minutes=1)
    scheduler.clock = clock or HandClock()
    return scheduler


def look(scheduler: TriggerScheduler) -> None:
    """Let it look twice."""
    assert isinstance(scheduler.clock, HandClock)
    run(scheduler, scheduler.clock, minutes=1)


def launched(server: Client, project: str) -> list[Task]:
    return clones(server, project, "retrain")


def test_a_dataset_launches_a_task(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str, tables: None
):
    def made(name: str) -> Task:
        task = Task.create(project_name=project, task_name=name, task_type="data_processing")
        task.set_system_tags(["dataset"])
        return task

    before = made("old")
    before.mark_completed(force=True)
    scheduler.add_dataset_trigger(
        retrain, "default", trigger_project=project, name="new data", task_parameters={"Args/dataset": "${dataset.id}"}
    )
    look(scheduler)
    new = made("new")
    look(scheduler)
    assert launched(server, project) == []
    new.mark_completed(force=True)
    look(scheduler)
    new.publish()
    look(scheduler)
    (task,) = launched(server, project)
    assert (task.get_parameter("Args/dataset"), task.get_tags(), task.status) == (new.id, ["new data"], "queued")
    assert task.data["origin"] == scheduler._task.id  # pyright: ignore[reportPrivateUsage]
    flush_all()
    shown = {str(one["title"]) for one in server.plots.list(str(task.data["origin"]))}
    assert shown == {"Triggers Executed", "Dataset Triggers"}


def test_a_model_calls_a_function(scheduler: TriggerScheduler, server: Client, project: str):
    calls: list[str] = []
    over = threading.Event()

    def tell(model_id: str) -> None:
        calls.append(model_id)
        over.set()

    scheduler.add_model_trigger(
        schedule_function=tell, name="tell", trigger_project=project, trigger_on_publish=True, single_instance=True
    )
    look(scheduler)
    maker = Task.create(project_name=project, task_name="maker")
    first, second = OutputModel(task=maker, name="first"), OutputModel(task=maker, name="second")
    first.update_weights(register_uri="https://example.org/first.pt")
    second.update_weights(register_uri="https://example.org/second.pt")
    look(scheduler)
    assert calls == []
    first.publish()
    look(scheduler)
    assert over.wait(20)
    over.clear()
    maker.mark_completed(force=True)
    maker.publish()  # and its models with it
    look(scheduler)
    assert over.wait(20)
    assert calls == [first.id, second.id]


def test_a_task_that_fails_launches_another_and_that_one_none(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str
):
    scheduler.add_task_trigger(
        retrain,
        "default",
        trigger_project=project,
        trigger_on_status=["failed"],
        add_tag="rescue",
        task_overrides={"comment": "after ${task.name}"},
    )
    look(scheduler)
    broken = Task.create(project_name=project, task_name="broken")
    broken.mark_failed(force=True)
    broken.reset()
    look(scheduler)
    (task,) = launched(server, project)
    assert (task.get_tags(), task.comment) == (["rescue"], "after broken")
    task.mark_failed(force=True)
    broken.mark_failed(force=True)
    look(scheduler)
    assert len(launched(server, project)) == 1


def test_a_metric_that_passes_its_threshold_while_the_task_runs(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str
):
    scheduler.add_task_trigger(
        retrain,
        "default",
        trigger_project=project,
        trigger_on_metric="test",
        trigger_on_variant="accuracy",
        trigger_on_threshold=0.9,
        trigger_on_sign="max",
    )
    look(scheduler)
    running = Task.create(project_name=project, task_name="train")
    server.tasks.start(running.id, session="5e" * 16, host="here", lease=600)
    for value, count in ((0.5, 0), (0.95, 1), (0.99, 1)):
        server.tasks.add_scalars(
            running.id, [{"title": "test", "series": "accuracy", "iteration": int(value * 100), "value": value}]
        )
        look(scheduler)
        assert len(launched(server, project)) == count
    server.tasks.stop(running.id, now=True)


def test_a_run_triggers_like_the_task_that_it_is(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str
):
    scheduler.add_task_trigger(
        retrain, "default", trigger_name="^nightly", trigger_project=project, trigger_on_status=["stopped"]
    )
    look(scheduler)
    pipe = PipelineController(name="nightly", project=project)
    pipe.add_approval_step(name="look", message="good?")
    assert pipe.create_draft()
    run_id = str(pipe.task.id)
    server.runs.start(run_id)
    look(scheduler)
    assert launched(server, project) == []
    server.runs.stop(run_id)
    look(scheduler)
    assert len(launched(server, project)) == 1


def test_what_happens_while_nobody_runs_is_not_missed(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str
):
    trigger: dict[str, Any] = {
        "schedule_task_id": retrain,
        "schedule_queue": "default",
        "trigger_project": project,
        "trigger_on_status": ["failed"],
    }
    scheduler.add_task_trigger(**trigger)
    look(scheduler)
    broken = [Task.create(project_name=project, task_name="broken") for _ in range(2)]
    broken[0].mark_failed(force=True)
    look(scheduler)
    broken[1].mark_failed(force=True)
    broken[0].set_comment("looked at")  # a change of what has fired already
    follower = started(HandClock())
    follower.add_task_trigger(**trigger)
    look(follower)
    assert len(launched(server, project)) == 2


@pytest.mark.parametrize("made", [False, True], ids=["before the launch", "after the launch"])
def test_a_process_that_dies_over_a_launch_leaves_one(
    scheduler: TriggerScheduler,
    retrain: Task,
    server: Client,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
):
    scheduler.add_task_trigger(retrain, "default", trigger_project=project, trigger_on_status=["failed"])
    look(scheduler)
    launch = Launcher.launch

    def dies(self: Launcher, what: Any) -> None:
        if made:
            launch(self, what)
        raise Left

    Task.create(project_name=project, task_name="broken").mark_failed(force=True)
    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "launch", dies)
        look(scheduler)
    follower = started(HandClock())
    follower.add_task_trigger(retrain, "default", trigger_project=project, trigger_on_status=["failed"])
    look(follower)
    assert len(launched(server, project)) == 1


def test_what_could_not_be_noted_down_fires_at_the_next_look(
    scheduler: TriggerScheduler, server: Client, project: str, monkeypatch: pytest.MonkeyPatch
):
    calls: list[str] = []
    over = threading.Event()

    def tell(task_id: str) -> None:
        calls.append(task_id)
        over.set()

    scheduler.add_task_trigger(
        schedule_function=tell, name="tell", trigger_project=project, trigger_on_status=["failed"]
    )
    look(scheduler)
    broken = Task.create(project_name=project, task_name="broken")
    broken.mark_failed(force=True)

    def away(*_: Any) -> None:
        raise ConnectionFailed("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Memory, "write", away)
        look(scheduler)
    assert calls == []
    look(scheduler)
    assert over.wait(20)
    assert calls == [broken.id]


def test_a_list_is_waited_for_to_know_what_the_log_says(canned: Canned):
    canned.on("GET", "models", Answer(200, {"items": [], "next_cursor": None}))
    with Client(canned.url) as client:
        trigger_feed.catch_up(client, "models", "0-7")
    (asked,) = canned.to("GET", "models")
    assert asked.query == "limit=1&min_position=0-7"


def test_with_a_single_instance_the_next_waits_for_its_turn(
    scheduler: TriggerScheduler, retrain: Task, server: Client, project: str
):
    scheduler.add_task_trigger(
        retrain,
        "default",
        trigger_name="broken",
        trigger_project=project,
        single_instance=True,
        trigger_on_status=["failed"],
    )
    look(scheduler)
    for _ in range(2):
        Task.create(project_name=project, task_name="broken").mark_failed(force=True)
    look(scheduler)
    (first,) = launched(server, project)
    look(scheduler)
    assert len(launched(server, project)) == 1
    server.tasks.stop(first.id, now=True)
    look(scheduler)
    assert len(launched(server, project)) == 2


def test_triggers_are_edited_while_it_runs(scheduler: TriggerScheduler, retrain: Task, server: Client, project: str):
    scheduler.add_task_trigger(retrain, "default", name="watch", trigger_project="nowhere")
    scheduler.add_dataset_trigger(retrain, "default", name="data", trigger_project=project)
    look(scheduler)
    task = scheduler._task  # pyright: ignore[reportPrivateUsage]
    (watch,) = task.get_configuration_object_as_dict("tasks")
    edited = {**watch, "project": project, "on_status": ["failed"]}
    task.set_configuration_object("tasks", config_dict=[edited])
    task.set_configuration_object("datasets", config_text="no JSON")
    assert isinstance(scheduler.clock, HandClock)
    scheduler.clock.at += timedelta(minutes=15)
    look(scheduler)
    assert [(one.name, one.project) for one in scheduler.get_triggers()] == [("data", project), ("watch", project)]
    Task.create(project_name=project, task_name="broken").mark_failed(force=True)
    look(scheduler)
    assert len(launched(server, project)) == 1


def test_the_place_in_the_log_is_kept_when_nothing_fires(scheduler: TriggerScheduler, retrain: Task, project: str):
    scheduler.add_task_trigger(retrain, "default", trigger_project="nowhere")
    look(scheduler)
    task = scheduler._task  # pyright: ignore[reportPrivateUsage]
    before = json.loads(task.get_configuration_object("state") or "")["cursor"]
    Task.create(project_name=project, task_name="other")
    assert isinstance(scheduler.clock, HandClock)
    run(scheduler, scheduler.clock, minutes=31)
    assert json.loads(task.get_configuration_object("state") or "")["cursor"] != before


def test_what_cannot_be_launched_is_an_error_at_once(scheduler: TriggerScheduler, retrain: Task):
    with pytest.raises(FoldlineError, match="there is no queue 'gpu'"):
        scheduler.add_model_trigger(retrain, "gpu")
    with pytest.raises(ValueError, match="all three, or none"):
        scheduler.add_task_trigger(retrain, "default", trigger_on_metric="m")
    assert scheduler.get_triggers() == []


def test_a_script_leaves_its_triggers_to_an_agent(server: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """examples/schedule, up to the agent; that part is played here. What happens in between counts."""
    template = Task.create(project_name="custom", task_name="train tree")
    # Out of this repository, all of which would travel with it.
    shutil.copy(ROOT / "examples" / "schedule" / "on_new_data.py", tmp_path)
    done = run_script("on_new_data.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    task = Task.get_task(project_name="custom", task_name="on new data")
    assert task is not None
    assert (task.get_status(), task.data["queue"]) == ("queued", "services")
    data = Task.create(project_name="custom", task_name="flowers", task_type="data_processing")
    data.set_system_tags(["dataset"])
    data.mark_completed(force=True)
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "2")
    server.tasks.start(task.id, session="5e" * 16, host="here", lease=600)
    follower = started()
    follower.add_dataset_trigger(template, "default", name="new data", trigger_project="custom")
    look(follower)
    (launched,) = (one for one in clones(server, "custom", "train tree") if one.data["origin"] == task.id)
    assert (launched.get_parameter("General/dataset_id"), launched.get_tags()) == (data.id, ["new data"])
