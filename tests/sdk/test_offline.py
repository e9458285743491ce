"""Offline mode: a session without a server, and what a server makes of it later."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from foldline import InputModel, Logger, OutputModel, PipelineController, Task, client, process
from foldline.client import Client
from foldline.errors import FoldlineError, NotSupported, Refused
from foldline.sessions import sessions
from tests.sdk.processes import run

SCRIPT = """
import argparse

from foldline import Logger, OutputModel, Task

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=3)
task = Task.init(project_name="PROJECT", task_name="train", tags=["far away"])
arguments = parser.parse_args()
settings = task.connect({"rate": 0.1, "layers": {"first": 7}})
settings["rate"] = 0.2
task.connect_configuration({"words": ["a", "b"]}, name="vocabulary")
for iteration in range(3):
    task.get_logger().report_scalar("loss", "train", 1.0 / (iteration + 1), iteration)
Logger.current_logger().report_single_value("accuracy", 0.9)
Logger.current_logger().report_table("rows", "all", iteration=0, table_plot=[["a", "b"], ["1", "2"]])
task.upload_artifact("data", {"a": [1, 2]}, metadata={"rows": 2})
task.upload_artifact("extra", "too much")
task.delete_artifacts(["extra"])
with open("weights.pt", "wb") as file:
    file.write(b"weights")
model = OutputModel(task, name="net")
model.update_weights("weights.pt", iteration=2)
model.update_labels({"cat": 1})
print("printed far away, depth", arguments.depth)
ENDING
"""


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set and taken back, so that whatever a test leaves is taken back with it.
    monkeypatch.setenv(process.OFFLINE, "0")
    client._offline.cache_clear()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


def far_away(folder: Path, project: str, ending: str = "") -> Path:
    """The folder of the session of SCRIPT, run where there is no server."""
    (folder / "train.py").write_text(SCRIPT.replace("PROJECT", project).replace("ENDING", ending))
    run("train.py", cwd=folder, FOLDLINE_OFFLINE_MODE="1", FOLDLINE_URL="http://127.0.0.1:9")
    [found] = sessions().glob("offline-*.zip")
    return found.with_suffix("")


def test_a_session_comes_to_the_server_as_the_task_that_it_was(tmp_path: Path, project: str, server: Client):
    folder = far_away(tmp_path, project)
    identifier = Task.import_offline_session(f"{folder}.zip")
    task = Task.get_task(project_name=project, task_name="train")
    assert task is not None
    assert (task.id, task.get_status(), task.get_tags()) == (identifier, "completed", ["far away"])
    assert task.get_parameters() == {"Args/depth": 3, "General/rate": 0.2, "General/layers/first": 7}
    assert task.get_configuration_object_as_dict("vocabulary") == {"words": ["a", "b"]}
    assert task.get_reported_scalars()["loss"]["train"]["y"] == pytest.approx([1.0, 0.5, 1 / 3])
    assert task.get_reported_single_values() == {"accuracy": 0.9}
    assert [plot["metric"] for plot in task.get_reported_plots()] == ["rows"]
    assert list(task.artifacts) == ["data"]
    assert (task.artifacts["data"].get(), task.artifacts["data"].metadata) == ({"a": [1, 2]}, {"rows": 2})
    model = InputModel(name="net", project=project)
    assert (Path(str(model.get_weights())).read_bytes(), model.labels) == (b"weights", {"cat": 1})
    log, _ = server.tasks.logs(identifier)
    assert "printed far away, depth 3" in log.decode()
    assert server.blobs.exists(task.data.script.source)
    said = json.loads((folder / "task.json").read_text())
    assert task.data.runtime["offline_session"] == said["id"]
    assert task.data.runtime["offline_ended_at"] == said["ended_at"]


def test_how_a_session_failed_comes_with_it_and_the_folder_does_as_well_as_the_zip(
    tmp_path: Path, project: str, server: Client
):
    folder = far_away(tmp_path, project, "raise ValueError('no good')")
    task = server.tasks.get(Task.import_offline_session(str(folder)))
    assert (task["status"], task["reason"]) == ("failed", "ValueError: no good")


def test_a_session_that_was_cut_off_is_stopped_and_has_what_it_had(tmp_path: Path, project: str, server: Client):
    (tmp_path / "train.py").write_text(SCRIPT.replace("PROJECT", project).replace("ENDING", "import os; os._exit(9)"))
    run("train.py", cwd=tmp_path, FOLDLINE_OFFLINE_MODE="true")
    [folder] = [path for path in sessions().glob("offline-*") if path.is_dir()]
    task = server.tasks.get(Task.import_offline_session(str(folder)))
    assert (task["status"], task["reason"]) == ("stopped", "its offline session was cut off before its end")
    assert list(task["artifacts"]) == ["data"]


def test_a_session_goes_on_with_a_task_that_there_is(tmp_path: Path, project: str, server: Client):
    folder = far_away(tmp_path, project)
    first = Task.import_offline_session(f"{folder}.zip")
    assert Task.import_offline_session(f"{folder}.zip", previous_task_id=first, iteration_offset=10) == first
    task = server.tasks.get(first)
    assert (task["status"], task["attempt"], len(task["models"]["output"])) == ("completed", 2, 1)
    points = server.tasks.scalars(first, title="loss", series="train")["points"]
    assert [iteration for iteration, _ in points] == [0, 1, 2, 10, 11, 12]


def test_a_session_that_has_been_changed_is_refused(tmp_path: Path, project: str, server: Client):
    folder = far_away(tmp_path, project)
    for blob in (folder / "blobs").iterdir():
        blob.unlink()
        blob.write_bytes(b"changed")
    with pytest.raises(FoldlineError, match="has been changed: its hash is another"):
        Task.import_offline_session(str(folder))
    shutil.rmtree(folder / "blobs")
    with pytest.raises(FoldlineError, match="lacks the file blobs/"):
        Task.import_offline_session(str(folder))
    assert server.tasks.list(project=project).first() is None


def test_what_is_no_session_is_refused(tmp_path: Path, server: Client):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    for path in (tmp_path, tmp_path / "other.zip"):
        with pytest.raises(FoldlineError, match=r"has no task\.json"):
            Task.import_offline_session(str(path))
    with pytest.raises(FoldlineError, match=r"neither the folder nor the \.zip"):
        Task.import_offline_session(str(tmp_path / "gone"))


# In the process that is offline


def test_offline_mode_is_switched_on_before_the_task_and_off_after_it(project: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOLDLINE_URL", "http://127.0.0.1:9")
    Task.set_offline(True)
    assert Task.is_offline() is True
    task = Task.init(project, "train", auto_connect_streams=False)
    with pytest.raises(FoldlineError, match=r"call Task\.set_offline\(\) before Task\.init"):
        Task.set_offline(False)
    with pytest.raises(FoldlineError, match="offline mode is on"):
        Task.import_offline_session("x.zip")
    assert task.id.startswith("offline-")
    task.set_parameters({"General/a": 1, "General/b": 2})
    task.delete_parameter("General/a")
    task.upload_artifact("data", [1, 2])
    task.set_user_properties(note="hello")
    Logger.current_logger().report_scalar("loss", "train", 1.0, 0)  # pyright: ignore[reportOptionalMemberAccess]
    assert (task.get_parameters(), task.artifacts["data"].get()) == (
        {"General/b": 2, "properties/note": "hello"},
        [1, 2],
    )
    with pytest.raises(Refused, match="it has none of that name"):
        task.delete_artifacts(["gone"])
    task.close()
    Task.set_offline(False)
    assert Task.is_offline() is False
    folder = task.get_offline_mode_folder()
    assert folder is not None
    assert folder == sessions() / task.id
    assert folder.with_name(f"{task.id}.zip").is_file()
    assert json.loads((folder / "task.json").read_text())["status"] == "completed"


def test_what_asks_about_others_needs_a_server():
    Task.set_offline(True)
    pipeline = PipelineController("p", "offline")
    pipeline.add_step("a", base_task_id="7" * 32)
    pipeline.set_default_execution_queue("default")
    for ask in (lambda: Task.get_task(project_name="p", task_name="n"), pipeline.start):
        with pytest.raises(NotSupported, match="needs a server, and offline mode is on"):
            ask()


def test_a_model_is_changed_where_there_is_no_server(project: str, tmp_path: Path):
    Task.set_offline(True)
    task = Task.init(project, "train", auto_connect_streams=False)
    try:
        (tmp_path / "net.pt").write_bytes(b"one")
        model = OutputModel(task)
        model.update_weights(str(tmp_path / "net.pt"))
        model.publish()
        with pytest.raises(ValueError, match="is published and cannot be changed"):
            model.update_weights(str(tmp_path / "net.pt"))
        task.reload()
        [said] = task.data["models"]["output"]
        assert (said["id"], said["published"]) == (model.id, True)
    finally:
        task.close()


def test_what_failed_far_away_and_was_published_is_both_later(project: str, server: Client):
    Task.set_offline(True)
    task = Task.init(project, "train", auto_connect_streams=False)
    with pytest.raises(Refused, match="that is in progress"):
        task.publish(ignore_errors=False)
    task.mark_failed(status_reason="no good")
    ended = task.data.ended_at
    task.publish(ignore_errors=False)
    task.reload()
    assert (task.get_status(), task.data.ended_at) == ("published", ended)
    folder = task.get_offline_mode_folder()
    Task.set_offline(False)
    found = server.tasks.get(Task.import_offline_session(f"{folder}.zip"))
    assert (found["status"], found["reason"]) == ("published", "no good")
    assert found["attempts"][-1]["status"] == "failed"


def test_a_process_that_an_agent_started_has_a_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(process.OFFLINE, "1")
    assert Task.is_offline() is True
    monkeypatch.setenv("FOLDLINE_TASK_ID", "7" * 32)
    assert Task.is_offline() is False
    Task.set_offline(True)
    assert Task.is_offline() is False


@pytest.mark.parametrize(("said", "on"), [("1", True), ("true", True), ("0", False), ("False", False), ("", False)])
def test_the_environment_switches_it_on(monkeypatch: pytest.MonkeyPatch, said: str, on: bool):
    monkeypatch.setenv(process.OFFLINE, said)
    assert Task.is_offline() is on
