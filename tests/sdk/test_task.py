"""Task's methods against the real server."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foldline import Task, arguments
from foldline.client import Client
from foldline.config import running_remotely
from foldline.errors import DefinitionError, NotFound, NotSupported, Refused
from foldline.logger import Logger
from foldline.outcome import TaskFailed


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def task(server: Client, project: str) -> Task:
    return Task.create(project_name=project, task_name="train", task_type=Task.TaskTypes.testing)


@pytest.fixture
def run_by_agent(task: Task, server: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """`task`, as if this process had been started for its first attempt."""
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    yield task
    arguments.unwatch()


def values(task: Task, section: str) -> dict[str, Any]:
    return task.get_parameters_as_dict().get(section, {})


# Creating and finding


def test_a_created_task_waits_as_a_draft(task: Task, project: str):
    assert (task.name, task.get_project_name(), task.task_type) == ("train", project, "testing")
    assert task.get_status() == "created"
    assert task == Task.get_task(task_id=task.id)
    assert len({task, Task.get_task(task.id)}) == 1


def test_a_script_is_created_with_its_sources(server: Client, project: str, tmp_path: Path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "plain.py").write_text("print(1)")
    made = Task.create(
        project_name=project,
        script=str(tmp_path / "jobs" / "plain.py"),
        packages=["numpy>=2", "scipy"],
        docker="python:3.13",
        argparse_args=[("lr", 0.1)],
    )
    script = made.data["script"]
    assert made.name == "plain"
    assert (script["entry_point"], script["arguments"]) == ("plain.py", ["--lr", "0.1"])
    assert script["requirements"] == {"pip": "numpy>=2\nscipy"}
    assert made.data["container"]["image"] == "python:3.13"
    assert made.get_parameters() == {"Args/lr": 0.1}
    assert server.blobs.exists(script["source"])


def test_a_script_that_calls_init_gets_its_arguments_from_the_server(server: Client, project: str, tmp_path: Path):
    (tmp_path / "train.py").write_text("from foldline import Task\nTask.init('p', 't')\n")
    made = Task.create(project, script=str(tmp_path / "train.py"), argparse_args=[("lr", 0.1)])
    assert made.data["script"]["arguments"] == []
    assert made.get_parameter("Args/lr") == 0.1


def test_what_it_cannot_run_is_not_created(server: Client, tmp_path: Path):
    with pytest.raises(DefinitionError, match=r"nothing of .* is named to run"):
        Task.create("p", "t", repo="https://example.org/r.git")
    with pytest.raises(DefinitionError, match="give repo as well"):
        Task.create("p", "t", branch="main", script=str(tmp_path / "absent.py"))
    with pytest.raises(DefinitionError, match=r"no module jobs\.train"):
        Task.create("p", "t", module="jobs.train", working_directory=str(tmp_path))
    with pytest.raises(DefinitionError, match="no script"):
        Task.create("p", "t", script=str(tmp_path / "absent.py"))
    with pytest.raises(ValueError, match="'cooking' is no type of task: choose from training"):
        Task.create("p", "t", task_type="cooking")


def test_a_clone_is_a_draft_with_its_own_parameters(task: Task, project: str):
    task.set_parameter("General/lr", 0.1)
    clone = Task.clone(task, name="again", comment="why")
    clone.set_parameter("General/lr", 0.2)
    assert (clone.name, clone.comment, clone.project) == ("again", "why", project)
    assert task.get_parameter("lr") == 0.1
    assert clone.data["cloned_from"] == task.id


def test_tasks_are_found_by_project_name_tags_and_filter(server: Client, project: str):
    first = Task.create(project, "stage data")
    second = Task.create(project, "stage data")
    train = Task.create(project, "train lr=0.1", task_type="testing")
    first.set_tags(["old"])
    train.add_tags(["best", "old"])
    assert Task.get_task(project_name=project, task_name="stage data") == second
    assert Task.get_task(project_name=project, task_name="stage") is None
    assert Task.query_tasks(project, r"^train lr=\d") == [train.id]
    assert set(Task.query_tasks(project, tags=["old"])) == {first.id, train.id}
    assert Task.query_tasks(project, tags=["old", "-best"]) == [first.id]
    assert Task.get_tasks(project_name=project, task_filter={"type": ["testing"]}) == [train]
    assert Task.get_tasks(task_ids=[first.id]) == [first]
    fields = Task.query_tasks(project, "train", additional_return_fields=["name", "script.working_dir"])
    assert fields == [{"id": train.id, "name": "train lr=0.1", "script.working_dir": "."}]
    with pytest.raises(NotSupported, match="colour"):
        Task.query_tasks(project, task_filter={"colour": "x"})
    with pytest.raises(NotFound):
        Task.get_task("0" * 32)


# Parameters


def test_parameters_keep_their_types(task: Task):
    given = {"General/lr": 0.1, "General/layers": [1, 2], "Args/name": "ü", "Args/none": None, "General/t": (1, 2)}
    task.set_parameters(given)
    assert task.get_parameters() == given
    assert type(task.get_parameter("General/t")) is tuple
    task.update_parameters({"General/lr": 1}, **{"Args/flag": True})
    assert task.get_parameters() == {**given, "General/lr": 1, "Args/flag": True}
    task.set_parameters(task.get_parameters())
    assert task.get_parameter("General/t") == (1, 2)
    task.set_parameters({"General/only": 1})
    assert task.get_parameters() == {"General/only": 1}


def test_a_parameter_is_read_set_described_and_deleted(task: Task):
    task.set_parameter("lr", 0.1, description="learning rate", value_type=float)
    found = task.data["hyperparameters"]["General"]["lr"]
    assert (found["description"], found["type"]) == ("learning rate", "float")
    for change in (lambda: task.set_parameter("lr", 0.2), lambda: task.set_parameters({"General/lr": 0.3})):
        change()
        assert task.data["hyperparameters"]["General"]["lr"]["description"] == "learning rate"
    assert task.get_parameter("General/absent", default=3) == 3
    assert task.delete_parameter("General/lr") is True
    assert task.delete_parameter("General/lr") is False
    assert task.get_parameters() == {}


def test_parameters_as_dicts(task: Task):
    task.set_parameters_as_dict({"General": {"model": {"layers": 2}, "lr": 0.1}})
    assert task.get_parameters() == {"General/model/layers": 2, "General/lr": 0.1}
    assert task.get_parameters_as_dict() == {"General": {"model": {"layers": 2}, "lr": 0.1}}


def test_user_properties(task: Task):
    task.set_user_properties(
        {"backbone": {"value": "great", "description": "d"}}, [{"name": "owner", "value": "ana"}, ("n", 1)], size=3
    )
    assert task.get_user_properties(value_only=True) == {"backbone": "great", "owner": "ana", "n": 1, "size": 3}
    assert task.get_user_properties()["backbone"]["description"] == "d"


def test_configuration_objects(task: Task):
    task.set_configuration_object("model", config_dict={"layers": 2})
    task.set_configuration_object("notes", config_text="plain")
    assert task.get_configuration_object_as_dict("model") == {"layers": 2}
    assert task.get_configuration_objects()["notes"] == "plain"
    assert task.get_configuration_object("absent") is None
    with pytest.raises(DefinitionError, match="'notes' is not JSON"):
        task.get_configuration_object_as_dict("notes")


# Connecting


def test_connect_shows_what_the_code_has(task: Task):
    params = {"lr": 0.1, "model": {"layers": [1, 2], "act": None}, 3: "a number as key"}
    assert task.connect(params) == params
    assert task.get_parameters() == {
        "General/lr": 0.1,
        "General/model/layers": [1, 2],
        "General/model/act": None,
        "General/3": "a number as key",
    }
    assert params == {"lr": 0.1, "model": {"layers": [1, 2], "act": None}, 3: "a number as key"}


def test_under_an_agent_the_servers_values_win_with_the_codes_types(run_by_agent: Task):
    run_by_agent.set_parameters(
        {
            "General/lr": 1,
            "General/epochs": "7",
            "General/flag": "False",
            "General/model/layers": [3],
            "General/size": [28, 28],
            "General/added": "new",
            "General/path": "/data",
        }
    )
    path = Path("/data")
    params = {
        "lr": 0.1,
        "epochs": 3,
        "flag": True,
        "model": {"layers": [1]},
        "size": (1, 1),
        "path": path,
        "kept": "mine",
    }
    run_by_agent.connect(params)
    assert params == {
        "lr": 1.0,
        "epochs": 7,
        "flag": False,
        "model": {"layers": [3]},
        "size": (28, 28),
        "added": "new",
        "path": path,
        "kept": "mine",
    }
    assert type(params["lr"]) is float
    assert run_by_agent.get_parameter("General/kept") == "mine"


def test_the_code_can_insist(run_by_agent: Task):
    run_by_agent.set_parameter("General/lr", 0.5)
    assert run_by_agent.connect({"lr": 0.1}, ignore_remote_overrides=True) == {"lr": 0.1}
    assert run_by_agent.get_parameter("General/lr") == 0.1


def test_objects_are_connected_by_their_attributes(run_by_agent: Task):
    class Options:
        lr = 0.1
        layers = 2
        _private = 1

        def method(self) -> None:
            """No parameter."""

    run_by_agent.set_parameters({"model/lr": 0.5, "model/unknown": 1})
    options = run_by_agent.connect(Options(), name="model")
    assert (options.lr, options.layers) == (0.5, 2)
    assert not hasattr(options, "unknown")
    assert values(run_by_agent, "model") == {"lr": 0.5, "layers": 2, "unknown": 1}
    space = run_by_agent.connect(SimpleNamespace(lr=0.1), name="model")
    assert space.lr == 0.5


def test_what_cannot_be_connected_is_said(task: Task):
    with pytest.raises(TypeError, match="a dict, parsed arguments or an object"):
        task.connect([1, 2])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("data", type=Path)
    made.add_argument("--epochs", type=int, default=3, help="how often")
    made.add_argument("--fast", action="store_true")
    made.add_argument("--sizes", type=int, nargs="+", default=[1])
    made.add_argument("--must", required=True)
    return made


def test_the_command_line_is_connected_by_itself(run_by_agent: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "data.csv", "--must", "x", "--epochs", "5"])
    assert Task.init(project_name="p", task_name="t") == run_by_agent
    parsed = parser().parse_args()
    assert (parsed.data, parsed.epochs, parsed.fast) == (Path("data.csv"), 5, False)
    assert values(run_by_agent, "Args") == {
        "data": "data.csv",
        "epochs": 5,
        "fast": False,
        "sizes": [1],
        "must": "x",
    }
    assert run_by_agent.data["hyperparameters"]["Args"]["epochs"]["description"] == "how often"


def test_the_servers_arguments_win_and_satisfy_what_is_required(run_by_agent: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    run_by_agent.update_parameters(
        {"Args/data": "/elsewhere", "Args/epochs": "9", "Args/fast": True, "Args/sizes": [2, 3], "Args/must": "y"}
    )
    Task.init()
    made = parser()
    parsed = made.parse_args()
    assert vars(parsed) == {"data": Path("/elsewhere"), "epochs": 9, "fast": True, "sizes": [2, 3], "must": "y"}
    with pytest.raises(SystemExit):
        made.parse_args(["--fast"])


def test_arguments_can_be_left_alone(run_by_agent: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "d", "--must", "x"])
    Task.init(auto_connect_arg_parser=False)
    parser().parse_args()
    assert values(run_by_agent, "Args") == {}


def test_configuration_is_connected(run_by_agent: Task, tmp_path: Path):
    (tmp_path / "c.yaml").write_text("a: 1\n")
    assert run_by_agent.connect_configuration({"a": 1}, name="d") == {"a": 1}
    assert run_by_agent.connect_configuration(str(tmp_path / "c.yaml"), name="f") == str(tmp_path / "c.yaml")
    run_by_agent.set_configuration_object("d", config_dict={"a": 2, "b": 3})
    run_by_agent.set_configuration_object("f", config_text="a: 2\n")
    mine = {"a": 1, "c": 1}
    assert run_by_agent.connect_configuration(mine, name="d") == mine
    assert mine == {"a": 2, "b": 3}
    copy = run_by_agent.connect_configuration(tmp_path / "c.yaml", name="f")
    assert isinstance(copy, Path)
    assert copy.read_text() == "a: 2\n"
    assert (tmp_path / "c.yaml").read_text() == "a: 1\n"


# Metrics


def test_scalars_are_read_back(task: Task):
    log = task.get_logger()
    for step in range(5):
        log.report_scalar("loss", "train", 1 / (step + 1), step)
    log.report_scalar("loss", "test", float("nan"), 1)
    log.report_single_value("accuracy", 0.9)
    assert log.flush() is True
    last = task.get_last_scalar_metrics()
    assert {key: last["loss"]["train"][key] for key in ("last", "min", "max")} == {"last": 0.2, "min": 0.2, "max": 1}
    assert "test" not in last["loss"]
    curve = task.get_reported_scalars()["loss"]["train"]
    assert (curve["name"], curve["x"], curve["y"][0]) == ("train", [0, 1, 2, 3, 4], 1)
    assert task.get_reported_scalars(max_samples=3)["loss"]["train"]["x"] == [0, 2, 4]
    assert task.get_reported_single_value("accuracy") == 0.9
    assert task.get_last_iteration() == 4


def test_the_current_logger_is_that_of_the_current_task(run_by_agent: Task, capsys: pytest.CaptureFixture[str]):
    current = Logger.current_logger()
    assert current is run_by_agent.get_logger()
    assert current is not None
    current.report_text("on the console")
    assert capsys.readouterr().out == "on the console\n"


def test_outside_a_task_there_is_no_logger(server: Client):
    assert Task.current_task() is None
    assert Logger.current_logger() is None


# Status


def test_the_way_of_a_task(task: Task, server: Client):
    server.tasks.start(task.id, session="5e" * 16, host="here")
    assert task.status == "in_progress"
    task.mark_failed(status_reason="out of memory", status_message="at step 3")
    assert (task.get_status(), task.get_status_message()) == ("failed", "out of memory: at step 3")
    with pytest.raises(TaskFailed, match="is failed: out of memory"):
        task.wait_for_status()
    task.wait_for_status(status=["failed"], raise_on_status=None)
    task.reset()
    assert task.get_status() == "created"
    server.tasks.start(task.id, session="5f" * 16, host="here")
    task.mark_stop_request(status_message="enough")
    assert task.data["stop_requested"] is True
    task.mark_completed()
    task.wait_for_status()
    task.publish()
    task.wait_for_status()
    with pytest.raises(Refused):
        task.reset()


def test_enqueue_and_dequeue(task: Task, server: Client):
    Task.enqueue(task, queue_name="default")
    assert task.data["status"] == "queued"
    assert Task.get_num_enqueued_tasks("default") >= 1
    Task.dequeue(task)
    assert task.get_status() == "created"
    server.tasks.start(task.id, session="5e" * 16, host="here")
    with pytest.raises(Refused):
        Task.enqueue(task, "default", force=True)
    task.mark_completed()
    with pytest.raises(Refused):
        Task.enqueue(task, "default")
    Task.enqueue(task, "default", force=True)
    assert task.get_status() == "queued"
    Task.dequeue(task)
    with pytest.raises(ValueError, match="queue_name"):
        Task.enqueue(task)


def test_what_is_said_about_a_task(task: Task, caplog: pytest.LogCaptureFixture):
    task.set_name("other")
    task.set_comment("c")
    task.set_tags(["a", "a", "b"])
    task.add_tags("c")
    task.remove_tags(["a"])
    task.set_progress(40)
    task.set_packages(["numpy"])
    task.set_base_docker(docker_image="python:3.13", docker_arguments=["--gpus", "all"])
    task.move_to_project(new_project_name="elsewhere")
    assert (task.name, task.comment, task.get_tags(), task.project) == ("other", "c", ["b", "c"], "elsewhere")
    assert task.get_progress() == 40
    exported = task.export_task()
    assert exported["script"]["requirements"] == {"pip": "numpy"}
    assert exported["container"] == {"image": "python:3.13", "arguments": "--gpus all", "setup_script": ""}
    task.set_progress(101)
    assert task.get_progress() == 40
    assert "a whole number from 0 to 100, not 101" in caplog.text


def test_an_attempt_that_another_has_replaced_puts_out_nothing_more(run_by_agent: Task, server: Client):
    run_by_agent.upload_artifact("before", 1)
    server.tasks.stop(run_by_agent.id, now=True)
    server.tasks.start(run_by_agent.id, session="5f" * 16, host="elsewhere")
    with pytest.raises(Refused, match=r"Attempt 1 .* is over"):
        run_by_agent.upload_artifact("after", 1)
    with pytest.raises(Refused, match=r"Attempt 1 .* is over"):
        run_by_agent.set_parameter("General/lr", 1)
    assert list(run_by_agent.artifacts) == ["before"]
    run_by_agent.add_tags("looked at")


def test_only_this_processs_task_can_leave_it(task: Task, run_by_agent: Task):
    assert Task.running_locally() is False
    assert running_remotely() is True
    assert run_by_agent.is_main_task()
    assert run_by_agent.execute_remotely("default") is None
    other = Task.create("p", "other")
    assert not other.is_main_task()
