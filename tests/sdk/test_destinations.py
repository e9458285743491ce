"""`output_uri`: where the files of tasks go, and that they come back from there as they were."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foldline import OutputModel, StorageManager, Task, arguments, calling
from foldline.client import Client
from foldline.destinations import destination_of, folder_of
from foldline.errors import DefinitionError, FoldlineError, Refused
from tests.sdk.processes import run
from tests.support.buckets import Bucket, bucket_in_place_of_fsspec


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_in_place_of_fsspec(monkeypatch)


@pytest.fixture
def task(server: Client, request: pytest.FixtureRequest) -> Task:
    return Task.create(request.node.name.partition("[")[0], "train")


@pytest.fixture
def shared_disk(tmp_path: Path) -> Path:
    return tmp_path / "shared disk"


@pytest.fixture
def given_to_agent(task: Task, server: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """`task`, as if this process had been started for its first attempt."""
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    yield task
    arguments.unwatch()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Which place is meant


@pytest.mark.parametrize("said", [None, True, False, "", "foldline://blobs"])
def test_the_server_is_meant_by(said: object):
    assert destination_of(said) == ""  # pyright: ignore[reportArgumentType]


def test_a_relative_folder_is_the_one_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert destination_of("out") == str(tmp_path / "out")
    assert destination_of(Path("out")) == str(tmp_path / "out")
    assert destination_of("file:///out") == "file:///out"


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:secret@bucket/out",
        "https://ana:secret@files.example/out",
        "https://bucket.example/out?X-Amz-Signature=secret",
        "azure://account/out?sv=2024&sig=secret",
    ],
)
def test_no_secret_gets_on_record(task: Task, address: str, bucket: Bucket):
    with pytest.raises(DefinitionError, match="keep those in the environment") as refused:
        task.output_uri = address
    assert "secret@" not in str(refused.value)
    for say in (
        lambda: OutputModel(task).update_weights(register_uri=address),
        lambda: OutputModel(task).set_upload_destination(address),
    ):
        with pytest.raises(DefinitionError, match="keep those in the environment"):
            say()
    assert task.output_uri == ""


def test_names_cannot_lead_out_of_the_folder_or_mean_something_in_an_address():
    record = {"id": "7" * 32, "name": "a/b?c#%d", "project": "../x/ünï", "output_destination": "s3://b/"}
    assert folder_of(record) == f"s3://b/_/x/ünï/a_b_c__d.{'7' * 32}"


# Artifacts


def test_artifacts_go_to_a_folder_of_a_disk_and_come_back_from_there(task: Task, shared_disk: Path):
    task.output_uri = str(shared_disk)
    said = {"only here": task.id}
    task.upload_artifact("my data", said)
    artifact = task.artifacts["my data"]
    path = Path(str(artifact.get_local_copy(raise_on_error=True)))
    data = path.read_bytes()
    assert artifact.url == path.as_uri()
    assert path.is_relative_to(shared_disk / task.project / f"train.{task.id}" / "artifacts" / "my data")
    assert (artifact.hash, artifact.size, artifact.get()) == (sha256(data), len(data), said)
    assert not task._client.blobs.exists(artifact.hash)


def test_artifacts_go_to_a_bucket_and_come_back_from_there(task: Task, bucket: Bucket):
    task.output_uri = "s3://bucket/out"
    task.upload_artifact("data", [1, 2, 3])
    artifact = task.artifacts["data"]
    data = bucket.files[artifact.url.removeprefix("s3://")]
    assert (artifact.hash, artifact.size, artifact.get()) == (sha256(data), len(data), [1, 2, 3])
    assert artifact.url.endswith(f"/artifacts/data/sha256-{artifact.hash}/data.json")


def test_a_folder_is_unpacked_in_the_cache_and_not_where_it_lies(task: Task, shared_disk: Path, tmp_path: Path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x.txt").write_text("x")
    task.output_uri = shared_disk.as_uri()
    task.upload_artifact("made", tmp_path / "made")
    copy = task.artifacts["made"].get_local_copy(raise_on_error=True)
    assert Path(str(copy), "x.txt").read_text() == "x"
    assert [path.suffix for path in shared_disk.rglob("*") if path.is_file()] == [".zip"]


def test_what_was_stored_before_under_a_name_stays_for_who_knows_its_address(task: Task, shared_disk: Path):
    task.output_uri = str(shared_disk)
    task.upload_artifact("data", "the first")
    first = task.artifacts["data"]
    task.upload_artifact("data", "the second")
    assert (first.get(), task.artifacts["data"].get()) == ("the first", "the second")


def test_what_has_been_changed_where_it_lies_is_not_taken_for_what_was_stored(task: Task, bucket: Bucket):
    task.output_uri = "s3://bucket/out"
    task.upload_artifact("data", {"a": 1})
    artifact = task.artifacts["data"]
    bucket.files[artifact.url.removeprefix("s3://")] = b'{"a": 2}'
    for read in (artifact.get, lambda: StorageManager.get_local_copy(artifact.url)):
        with pytest.raises(FoldlineError, match="is not what was stored there"):
            read()
    assert artifact.get_local_copy() is None


def test_what_has_been_changed_on_a_disk_is_not_taken_for_what_was_stored(task: Task, shared_disk: Path):
    task.output_uri = str(shared_disk)
    task.upload_artifact("data", {"a": 1})
    artifact = task.artifacts["data"]
    assert artifact.get() == {"a": 1}
    [path] = [path for path in shared_disk.rglob("*") if path.is_file()]
    path.write_text('{"a": 22}')
    for read in (artifact.get, lambda: StorageManager.get_local_copy(artifact.url)):
        with pytest.raises(FoldlineError, match="is not what was stored there"):
            read()


def test_what_a_function_step_returns_goes_where_its_task_says(task: Task, shared_disk: Path, server: Client):
    task._edit(script={"entry_point": "x.py", "function": "f", "returns": ["n", "rows"]})
    task.output_uri = str(shared_disk)
    calling.store((3, [1, 2]), server.tasks.get(task.id), server)
    assert task.artifacts["rows"].url.startswith(shared_disk.as_uri())
    assert task.artifacts["rows"].get() == [1, 2]


def test_without_fsspec_a_bucket_is_refused_when_the_task_begins(server: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(FoldlineError, match=r"s3://b needs fsspec: pip install 'foldline\[storage\]'"):
        Task.init("buckets", "train", output_uri="s3://b")
    assert Task.current_task() is None


# What the script says when an agent runs it


def test_a_scripts_own_word_counts_where_the_task_says_nothing(given_to_agent: Task, shared_disk: Path):
    task = Task.init(given_to_agent.project, "train", output_uri=str(shared_disk))
    assert task.output_uri == str(shared_disk)


def test_the_servers_word_wins_over_the_scripts(given_to_agent: Task, shared_disk: Path, tmp_path: Path):
    given_to_agent.output_uri = str(tmp_path / "asked")
    task = Task.init(given_to_agent.project, "train", output_uri=str(shared_disk))
    assert task.output_uri == str(tmp_path / "asked")


# Models


def test_two_models_of_one_file_name_do_not_overwrite_each_other(task: Task, bucket: Bucket, tmp_path: Path):
    task.output_uri = "s3://bucket/out"
    made = []
    for weights in (b"one", b"two"):
        (tmp_path / "model.pt").write_bytes(weights)
        model = OutputModel(task, name=weights.decode())
        model.update_weights(str(tmp_path / "model.pt"))
        made.append(model)
    assert [Path(str(model.get_weights(raise_on_error=True))).read_bytes() for model in made] == [b"one", b"two"]
    bucket.files[made[0].url.removeprefix("s3://")] = b"three"
    with pytest.raises(FoldlineError, match="is not what was stored there"):
        made[0].get_weights(raise_on_error=True, force_download=True)


# Artifacts that are removed


def test_artifacts_are_removed_and_their_bytes_stay(task: Task, shared_disk: Path):
    task.output_uri = str(shared_disk)
    for name in ("a", "b", "c"):
        task.upload_artifact(name, {"of": name})
    kept = task.artifacts["a"]
    assert task.delete_artifacts(["a", "c"]) is True
    assert list(task.artifacts) == ["b"]
    assert kept.get() == {"of": "a"}
    assert task.delete_artifacts([]) is True


def test_artifacts_that_are_not_there_are_an_error_unless_told_otherwise(task: Task, caplog: pytest.LogCaptureFixture):
    task.upload_artifact("a", 1)
    with pytest.raises(Refused, match="it has none of that name"):
        task.delete_artifacts(["a", "z"])
    assert task.delete_artifacts(["z"], raise_on_errors=False, silent_on_errors=True) is False
    assert caplog.text == ""
    assert task.delete_artifacts(["z"], raise_on_errors=False) is False
    assert "it has none of that name" in caplog.text
    assert list(task.artifacts) == ["a"]


# Pipelines

PIPELINE = """
from foldline import PipelineController, StorageManager


def load():
    PipelineController.upload_artifact("note", {"from": "a step"})
    return [1, 2, 3]


def total(rows, address):
    with open(StorageManager.get_local_copy(address)) as file:
        return {"sum": sum(rows), "read": file.read()}


pipe = PipelineController(name="stored", project="PROJECT", output_uri="out")
pipe.add_function_step("load", load, function_return=["rows"])
arguments = {"rows": "${load.rows}", "address": "${load.artifacts.rows.url}"}
pipe.add_function_step("total", total, arguments, ["total"], output_uri=True)
pipe.set_default_execution_queue("default")
pipe.start_locally(run_pipeline_steps_locally=True)
"""


def test_the_files_of_a_pipeline_and_of_its_steps_go_where_it_says(
    tmp_path: Path, server: Client, request: pytest.FixtureRequest
):
    project = request.node.name
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("PROJECT", project))
    done = run("pipeline.py", cwd=tmp_path, FOLDLINE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = server.runs.list(project=project)
    task_ids = {step["name"]: step["task_id"] for step in server.runs.steps(found["id"])}
    rows = Task(task_ids["load"]).artifacts["rows"]
    total = Task(task_ids["total"]).artifacts["total"]
    note = Task(found["id"]).artifacts["note"]
    out = (tmp_path / "out").as_uri()
    assert [one.url.startswith(out) for one in (rows, total, note)] == [True, False, True]
    assert (rows.get(), note.get()) == ([1, 2, 3], {"from": "a step"})
    assert total.get()["sum"] == 6
    assert server.runs.verify(found["id"])["ok"] is True


DECORATED = """
from foldline import PipelineDecorator


@PipelineDecorator.pipeline(name="answered", project="PROJECT", output_uri="out", return_value="answer")
def main():
    return {"sum": 6}


PipelineDecorator.debug_pipeline()
print(main())
"""


def test_what_a_pipeline_function_returns_goes_where_its_pipeline_says(
    tmp_path: Path, server: Client, request: pytest.FixtureRequest
):
    project = request.node.name
    (tmp_path / "pipeline.py").write_text(DECORATED.replace("PROJECT", project))
    done = run("pipeline.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = server.runs.list(project=project)
    answer = Task(found["id"]).artifacts["answer"]
    assert answer.url.startswith((tmp_path / "out").as_uri())
    assert answer.get() == {"sum": 6}
