"""Scripts as they are written for ClearML, only their import changed: a server, an agent, and each script a process."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline import Task
from foldline.client import Client
from tests.sdk.processes import environment, python, run
from tests.support.waiting import wait_until

SCRIPTS = Path(__file__).parent / "scripts"
PROJECT = "corpus"


@pytest.fixture(scope="module")
def agent(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One that takes from the queue corpus, three at a time."""
    home = tmp_path_factory.mktemp("agent")
    with Client(server_url) as client:
        client.queues.create(PROJECT)
    command = [sys.executable, "-m", "foldline", "agent", "start", "--queue", PROJECT, "--slots", "3"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment(FOLDLINE_URL=server_url, FOLDLINE_HOME=str(home)),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield
    process.terminate()
    process.wait(20)


@pytest.fixture
def folder(tmp_path: Path, server: Client, agent: None) -> Path:
    """A project of the scripts, outside any work tree."""
    target = tmp_path / "project"
    shutil.copytree(SCRIPTS, target)
    return target


def task_of(name: str) -> Task:
    task = Task.get_task(project_name=PROJECT, task_name=name)
    assert task is not None
    return task


def ended(task: Task) -> Task:
    """`task`, once it has completed."""
    wait_until(lambda: task.get_status() in ("completed", "failed", "stopped"), f"task {task.name} to end", 60)
    log, _ = task._client.tasks.logs(task.id)
    assert task.get_status() == "completed", (task.get_status_message(), log.decode())
    return task


def test_a_template_and_a_random_search_over_it(folder: Path):
    python("toy_base_task.py", cwd=folder)
    base = task_of("toy base task")
    assert base.get_parameters() == {
        "General/batch_size": 64,
        "General/lr": 0.1,
        "General/layers": [8, 4],
        "General/augment/flip": True,
        "General/augment/crop": None,
        "General/steps": 5,
        "options/workers": 2,
        "options/optimizer/kind": "sgd",
        "options/optimizer/momentum": 0.9,
    }
    assert base.get_configuration_object_as_dict("model") == {"type": "mlp", "activation": "relu"}
    assert base.get_labels_enumeration() == {"background": 0, "cat": 1}
    assert (base.get_status(), base.task_type, base.get_last_iteration()) == ("completed", "training", 4)

    python("manual_random_param_search.py", cwd=folder)
    search = task_of("random search")
    children = Task.get_tasks(project_name=PROJECT, task_filter={"parent": search.id, "order_by": ["name"]})
    assert [child.name for child in children] == ["search 0", "search 1", "search 2"]
    assert [child.get_parameter("options/workers") for child in children] == [1, 2, 3]
    for child in children:
        assert child.get_user_properties(value_only=True)["seen_lr"] == child.get_parameter("General/lr")
        assert (child.comment, child.get_last_iteration()) == ("by hand", 2)
    assert search.get_parameter("General/base_experiment_id") == base.id
    [best] = Task.get_tasks(project_name=PROJECT, tags=["__$all", "search", "best"])
    assert search.get_user_properties()["best"]["value"] == best.id
    assert search.task_type == "optimizer"


def test_three_templates_chained_by_a_script(folder: Path):
    for name in ("step1_dataset_artifact.py", "step2_data_processing.py", "step3_train_model.py"):
        python(name, cwd=folder)
    templates = Task.get_tasks(project_name=PROJECT, task_name=r"^step \d")
    assert {template.get_status() for template in templates} == {"created"}
    python("programmatic_orchestration.py", cwd=folder)
    controller = task_of("orchestration")
    children = Task.get_tasks(task_filter={"parent": controller.id, "order_by": ["created"]})
    assert [child.name for child in children] == [
        "Clone of step 1 dataset artifact",
        "Clone of step 2 process dataset",
        "Clone of step 3 train model",
    ]
    data, parts, trained = children
    assert data.artifacts["dataset"].metadata == {"rows": 30}
    assert parts.get_parameters() == {
        "General/dataset_task_id": data.id,
        "General/dataset_url": "",
        "General/random_state": 42,
        "General/test_size": 0.5,
    }
    assert (parts.get_progress(), parts.task_type, parts.get_tags()) == (100, "data_processing", ["template"])
    assert len(parts.artifacts["X_test"].get()) == 15
    assert trained.artifacts["model"].get()["mean"] > 4
    assert controller.get_reported_single_value("error") is not None
    assert {child.data["origin"] for child in children} == {controller.id}


def test_a_script_that_goes_on_elsewhere_and_a_clone_with_other_arguments(folder: Path):
    python("execute_remotely_mid.py", "--epochs", "3", cwd=folder)
    task = ended(task_of("execute remotely"))
    expected = {"epochs": 3, "lr": 0.1, "fast": False, "sizes": [1, 2]}
    assert task.get_parameters_as_dict()["Args"] == expected
    assert task.artifacts["seen"].get() == expected
    assert task.artifacts["prepared"].get() == {"rows": 3}
    assert (task.comment, task.get_last_iteration(), task.get_executed_queue()) == ("prepared here", 2, PROJECT)
    clone = Task.clone(task, name="execute remotely again")
    clone.set_parameters({"Args/lr": "0.5", "Args/fast": "True", "Args/sizes": [7], "Args/epochs": 1})
    Task.enqueue(clone, queue_name=PROJECT)
    assert ended(clone).artifacts["seen"].get() == {"epochs": 1, "lr": 0.5, "fast": True, "sizes": [7]}


def test_artifacts_of_every_kind(folder: Path):
    python("artifacts.py", cwd=folder)
    found = task_of("artifacts").artifacts
    assert not (folder / "out" / "d.log").exists()
    assert found["local file"].get().read_text() == "d.log"
    copy = Path(found["local folder"].get_local_copy() or "")
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*.txt")) == ["a.txt", "b.txt", "deep/c.txt"]
    copy = Path(found["wildcard"].get_local_copy() or "")
    assert sorted(path.name for path in copy.iterdir()) == ["a.txt", "b.txt"]
    assert (found["array"].preview, found["array"].metadata) == ("an identity", {"shape": "3x3"})
    assert found["compressed"].get().tolist() == found["array"].get().tolist()
    assert (found["numbers"].get(), found["text"].get()) == ({"a": [1.5, None], "b": 1}, "just words")
    assert found["seen"].metadata == {"kind": "table"}


def test_functions_of_a_script_as_tasks(folder: Path):
    python("function_task.py", cwd=folder)
    parent = task_of("function tasks")
    learned = {}
    for name in ("learn first", "learn second"):
        task = ended(task_of(name))
        assert (task.parent, "func" in task.get_system_tags()) == (parent.id, True)
        learned[name] = task.get_reported_single_value("learned")
    assert learned == {"learn first": 5.0, "learn second": 0.25}


def test_a_build_finds_tags_and_reads(folder: Path, server: Client):
    old = Task.create(PROJECT, "ci old", task_type="training")
    old.set_tags(["main", "kept"])
    for number, commit in enumerate(("aaa111", "bbb222")):
        task = Task.create(PROJECT, f"ci {commit}", argparse_args=[("lr", number)])
        task.set_script(repository="https://example.org/r.git", branch="main", commit=commit)
        task.mark_started()
        task.get_logger().report_single_value("mAP", 0.5 + number)
        task.flush()
        task.mark_completed()
    done = python("ci_query.py", "bbb222", cwd=folder)
    assert done.startswith("ci bbb222 1.5 completed bbb222 {")
    assert "'hyperparams.Args.lr.value': 1" in done
    assert old.get_tags() == ["kept"]
    none = run("ci_query.py", "ccc333", cwd=folder)
    assert (none.returncode, none.stderr.strip()) == (1, "no task of this commit has completed")


def test_a_training_that_is_continued(folder: Path):
    assert python("continued.py", cwd=folder) == "from 0\n"
    assert python("continued.py", cwd=folder) == "from 3\n"
    [task] = Task.get_tasks(project_name=PROJECT, task_name="^continued$")
    assert (task.artifacts["count"].get(), task.data["attempt"]) == (6, 2)
    assert task.get_reported_scalars()["loss"]["train"]["x"] == [0, 1, 2, 3, 4, 5]
