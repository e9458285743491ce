"""A task's status, recipe and copies, against the real server."""

import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from foldline import Task
from foldline.client import Client
from foldline.errors import DefinitionError, FoldlineError, NotSupported, Refused
from foldline.recipe import WithRecipe, asked_requirements


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def task(server: Client, project: str) -> Task:
    return Task.create(project_name=project, task_name="train")


# Status


@pytest.mark.parametrize("wanted", ["completed", "failed", "stopped"])
@pytest.mark.parametrize("present", ["created", "queued", "failed", "completed", "stopped"])
def test_force_spells_out_the_way_to_an_outcome(task: Task, server: Client, present: str, wanted: str):
    if present == "queued":
        Task.enqueue(task, "default")
    elif present != "created":
        getattr(task, f"mark_{present}")(force=True)
        assert task.get_status() == present
    getattr(task, f"mark_{wanted}")(force=True, status_message="by hand")
    assert task.get_status() == wanted
    if present != wanted:
        assert task.get_status_message() == "by hand"


def test_without_force_a_refusal_is_a_warning_or_an_error(task: Task, caplog: pytest.LogCaptureFixture):
    task.mark_completed()
    assert "Cannot complete task 'train'" in caplog.text
    with pytest.raises(Refused, match="Cannot complete task 'train'"):
        task.mark_completed(ignore_errors=False)
    with pytest.raises(Refused):
        task.mark_stopped()
    task.publish()
    assert task.get_status() == "created"


def test_published_is_for_good(task: Task):
    task.mark_completed(force=True)
    task.publish()
    with pytest.raises(Refused):
        task.mark_failed(ignore_errors=False, force=True)
    assert (task.status, task.status == Task.TaskStatusEnum.published) == ("published", True)


def test_completed_and_published_at_once(task: Task):
    task.publish_on_completion()
    task.mark_started()
    task.mark_completed()
    assert task.get_status() == "published"


def test_a_task_that_runs_or_waits_is_reset_by_force(task: Task):
    task.mark_started()
    with pytest.raises(Refused):
        task.reset()
    task.reset(force=True)
    Task.enqueue(task, "default")
    task.reset(force=True)
    assert (task.get_status(), [one["reason"] for one in task.data["attempts"]]) == ("created", ["reset"])


def test_attempts_of_several_tasks_in_one_process(server: Client, project: str):
    first, second = Task.create(project, "first"), Task.create(project, "second")
    first.mark_started()
    assert Task.current_task() == first
    second.mark_started()
    second.get_logger().report_single_value("x", 1)
    second.flush()
    second.close()
    assert (first.get_status(), second.get_status(), Task.current_task()) == ("in_progress", "completed", first)
    first.close()
    assert (first.get_status(), Task.current_task()) == ("completed", None)


def test_archived_tasks(task: Task):
    assert task.get_archived() is False
    task.set_system_tags(["x"])
    task.set_archived(True)
    task.set_archived(True)
    assert (task.get_archived(), task.get_system_tags()) == (True, ["x", "archived"])
    task.set_archived(False)
    assert task.get_system_tags() == ["x"]


def test_abort_callbacks_are_for_ones_own_task(task: Task):
    with pytest.raises(FoldlineError, match=r"call Task\.init first"):
        task.register_abort_callback(print)


# What it is called, and where it belongs


def test_where_it_can_be_seen_and_who_ran_it(task: Task, server: Client):
    assert task.get_output_log_web_page() == f"{server.url}/api/v1/tasks/{task.id}"
    assert task.last_worker is None
    task.mark_started()
    assert task.last_worker == task.data["attempts"][0]["host"] != ""
    task.close()


def test_properties_can_be_set(task: Task):
    task.name, task.comment, task.output_uri = "other", "c", "s3://bucket/out/"
    assert (task.name, task.comment, task.output_uri) == ("other", "c", "s3://bucket/out/")
    assert task.get_output_destination(extra_path="x") == "s3://bucket/out/x"
    task.storage_uri = True
    assert task.get_output_destination() is None
    task.set_project(project_name="elsewhere")
    assert task.get_project_name() == "elsewhere"


def test_the_record_reads_as_clearmls_does(task: Task):
    task.set_parameter("Args/lr", 0.1)
    data = task.data
    assert data.hyperparams["Args"]["lr"].value == 0.1
    assert (data.script.version_num, data.execution.queue, data.output.destination) == ("", None, "")
    assert data.created == data.last_update
    assert (data.started, data.status_message, data.to_dict()["status"]) == (None, "", "created")
    with pytest.raises(AttributeError, match="no 'colour' here"):
        _ = data.colour


# What it is run with


def test_code_and_container(task: Task):
    task.set_script(repository="https://example.org/r.git", commit="abc", working_dir="jobs", entry_point="t.py")
    task.set_repo(branch="main")
    assert task.get_script() == {
        "working_dir": "jobs",
        "entry_point": "t.py",
        "branch": "main",
        "repository": "https://example.org/r.git",
    }
    assert task.get_base_docker() is None
    task.set_base_docker("python:3.13 --gpus all", docker_setup_bash_script=["a", "b"])
    assert task.get_base_docker() == "python:3.13 --gpus all"
    assert task.data.container.setup_shell_script == "a\nb"
    task.set_task_type(Task.TaskTypes.qc)
    assert task.task_type == "qc"


def test_packages(task: Task, tmp_path: Path):
    (tmp_path / "req.txt").write_text("numpy\nscipy>=1\n")
    task.set_packages(tmp_path / "req.txt")
    assert task.get_requirements()["pip"].split() == ["numpy", "scipy>=1"]
    task.set_packages("numpy==2.0")
    assert task.get_requirements() == {"pip": "numpy==2.0"}
    with pytest.raises(DefinitionError, match="no requirements file"):
        task.set_packages("absent.txt")


@pytest.fixture
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WithRecipe, "_required", {})
    monkeypatch.setattr(WithRecipe, "_left_out", set())
    monkeypatch.setattr(WithRecipe, "_frozen", False)


def test_requirements_asked_for_before_the_task(nothing_asked: None, tmp_path: Path):
    assert asked_requirements() == {}
    (tmp_path / "req.txt").write_text("# a comment\nscipy>=1  # why\nPillow\n")
    Task.force_requirements_env_freeze(requirements_file=tmp_path / "req.txt")
    Task.add_requirements("numpy", "2.1")
    Task.add_requirements("torch", ">=2")
    Task.add_requirements("tqdm")
    Task.ignore_requirements("pillow")
    Task.force_store_standalone_script()
    lines = asked_requirements()["pip"].splitlines()
    assert [line.partition(" ")[0] for line in lines if line[0] != "#"] == [
        "scipy>=1",
        "numpy==2.1",
        "torch>=2",
        "tqdm",
    ]


def test_the_packages_of_this_process(nothing_asked: None):
    Task.force_requirements_env_freeze()
    assert f"numpy=={numpy.__version__}" in asked_requirements()["pip"].splitlines()


def test_a_task_of_a_repository(server: Client, project: str):
    made = Task.create(
        project,
        repo="https://example.org/r.git",
        branch="main",
        commit="abc",
        script="jobs/train.py",
        working_directory="jobs",
        binary="python3.12",
        argparse_args=[("lr", 0.1)],
    )
    script = made.data.script
    assert (script.repository, script.branch, script.commit) == ("https://example.org/r.git", "main", "abc")
    assert (script.entry_point, script.working_dir, script.binary) == ("jobs/train.py", "jobs", "python3.12")
    assert (script.arguments, script.source) == (["--lr", "0.1"], None)
    copy = Task.create(base_task_id=made.id, task_name="copy", docker="python:3.13", argparse_args=[("lr", 0.2)])
    assert (copy.name, copy.get_base_docker(), copy.get_parameters()) == ("copy", "python:3.13", {"Args/lr": 0.2})
    assert copy.data.script.entry_point == "jobs/train.py"


def test_a_task_of_a_module(server: Client, project: str, tmp_path: Path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "train.py").write_text("print(1)")
    made = Task.create(project, module="shop.train", working_directory=str(tmp_path))
    assert made.data.script.entry_point == "-m shop.train"
    assert server.blobs.exists(made.data.script.source)


# Copies


def test_an_exported_task_comes_back(task: Task):
    task.set_parameters({"Args/lr": 0.1})
    task.set_configuration_object("net", config_dict={"a": 1})
    task.set_tags(["t"])
    task.set_script(repository="r", entry_point="t.py")
    exported = task.export_task()
    copy = Task.import_task(exported)
    assert copy is not None
    assert copy != task
    same = ("name", "project", "tags", "hyperparameters", "configuration", "script", "container", "type")
    assert {name: copy.data[name] for name in same} == {name: task.data[name] for name in same}
    copy.set_parameters({"Args/other": 1})
    assert Task.import_task(exported, target_task=copy.id) == copy
    assert Task.get_task(copy.id).get_parameters() == {"Args/lr": 0.1}  # pyright: ignore


def test_an_update_in_clearmls_words(task: Task):
    task.set_parameters({"Args/lr": 0.1, "Args/n": 1})
    assert task.update_task(
        {
            "name": "new",
            "script": {"branch": "dev", "version_num": "abc"},
            "hyperparams": {"Args": {"lr": {"section": "Args", "name": "lr", "value": 0.5, "type": "float"}}},
            "container": {"image": "i", "setup_shell_script": "s"},
            "output": {"destination": "s3://b"},
        }
    )
    assert (task.name, task.data.script.branch, task.data.script.commit) == ("new", "dev", "abc")
    assert task.get_parameters() == {"Args/lr": 0.5, "Args/n": 1}
    assert (task.get_base_docker(), task.data.container.setup_script, task.output_uri) == ("i", "s", "s3://b")


def test_another_task_than_this_processs_is_only_enqueued(task: Task):
    with pytest.raises(FoldlineError, match="needs a queue_name"):
        task.execute_remotely()
    assert task.execute_remotely("default", clone=True, exit_process=False) is None
    assert task.get_status() == "created"
    [clone] = Task.get_tasks(project_name=task.project, task_name="^Clone of")
    assert clone.get_status() == "queued"
    Task.dequeue(clone)


# What it keeps


@pytest.mark.parametrize("extension", [pytest.param(".yaml", marks=pytest.mark.may_skip), ".json", ".pkl"])
def test_a_dict_in_the_format_asked_for(task: Task, extension: str):
    if extension == ".yaml":
        pytest.importorskip("yaml")
    task.upload_artifact("d", {"b": [1], "a": None}, extension_name=extension)
    found = task.artifacts["d"]
    assert found.url.endswith(extension)
    assert found.get() == {"b": [1], "a": None}


@pytest.mark.parametrize("extension", [".npz", ".csv", ".csv.gz", "npy"])
def test_an_array_in_the_format_asked_for(task: Task, extension: str):
    task.upload_artifact("a", numpy.eye(2), extension_name=extension)
    assert task.artifacts["a"].url.endswith(extension)
    assert task.artifacts["a"].get().tolist() == [[1, 0], [0, 1]]


def test_a_picture_is_a_picture(task: Task):
    task.upload_artifact("p", Image.new("RGB", (2, 3), "red"))
    found = task.artifacts["p"].get()
    assert (found.size, found.getpixel((0, 0)), task.artifacts["p"].url[-4:]) == ((2, 3), (255, 0, 0), ".png")


def test_a_format_that_does_not_fit_is_said(task: Task):
    with pytest.raises(DefinitionError, match=r"'\.parquet' is none of .*\.npz"):
        task.upload_artifact("d", 1, extension_name=".parquet")


def test_a_list_of_files_is_a_folder_and_other_lists_are_lists(task: Task, tmp_path: Path):
    for name in ("a/x.txt", "b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    task.upload_artifact("files", [tmp_path / "a", str(tmp_path / "b.txt")], delete_after_upload=True)
    copy = Path(task.artifacts["files"].get_local_copy() or "")
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*.txt")) == ["a/x.txt", "b.txt"]
    assert not (tmp_path / "b.txt").exists()
    for name, value in (("words", ["a", "no such file"]), ("pattern", "no*such"), ("empty", [])):
        task.upload_artifact(name, value)
        assert task.artifacts[name].get() == value


def test_registered_artifacts_follow_the_object(task: Task):
    rows = [1]
    task.register_artifact("rows", rows)
    assert task.get_registered_artifacts() == {"rows": rows}
    rows.append(2)
    task.flush()
    assert task.artifacts["rows"].get() == [1, 2]
    task.unregister_artifact("rows")
    rows.append(3)
    task.flush()
    assert task.artifacts["rows"].get() == [1, 2]


# What there is not


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda task: task.launch_multi_node(2), "clone the task once per node"),
        (lambda task: task.request_external_endpoint(80), "the machine's own address"),
    ],
)
def test_what_there_is_not_names_the_cure(task: Task, call: "object", cure: str):
    with pytest.raises(NotSupported, match=cure):
        call(task)  # pyright: ignore


def test_what_changes_nothing_is_let_pass(task: Task, caplog: pytest.LogCaptureFixture):
    Task.set_credentials(api_host="https://api.clear.ml", key="k", secret="s")
    assert "FOLDLINE_URL" in caplog.text
    Task.set_resource_monitor_iteration_timeout(1800)
    assert task.list_external_endpoints() == []


def test_seeds_are_set_only_when_asked(monkeypatch: pytest.MonkeyPatch, task: Task):
    monkeypatch.setattr(Task, "_random_seed", None)
    assert task.get_random_seed() is None
    Task.set_random_seed(True)
    assert task.get_random_seed() == 1337
    Task.set_random_seed(7)
    assert task.get_random_seed() == 7
    Task.set_random_seed(None)
    assert "torch" not in sys.modules
