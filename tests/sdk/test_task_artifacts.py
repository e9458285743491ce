"""Artifacts of a task, put there and read back, against a real server."""

import json
import zipfile
from pathlib import Path

import numpy
import pytest

from foldline import StorageManager, Task
from foldline.client import Client
from foldline.errors import DefinitionError, FoldlineError


@pytest.fixture
def task(server: Client, request: pytest.FixtureRequest) -> Task:
    return Task.create(project_name=request.node.name, task_name="train", task_type=Task.TaskTypes.testing)


def test_artifacts_come_back_equal(task: Task, tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"\0" * 1000)
    given = {
        "json": {"b": [1, 2.5, None], "a": "ü"},
        "numpy": numpy.arange(6).reshape(2, 3),
        "pickle": {1: {2, 3}},
        "file": tmp_path / "model.bin",
        "empty": b"",
        "größe/../x": 1,
    }
    for name, value in given.items():
        assert task.upload_artifact(name, value, metadata={"n": 1})
    found = task.artifacts
    assert set(found) == set(given)
    assert {name: found[name].get() for name in ("json", "pickle", "empty", "größe/../x")} == {
        name: given[name] for name in ("json", "pickle", "empty", "größe/../x")
    }
    assert (found["numpy"].get() == given["numpy"]).all()
    assert found["file"].get().read_bytes() == b"\0" * 1000
    one = found["json"]
    assert (one.type, one.mode, one.metadata) == ("dict", "output", {"n": 1})
    assert one.url == f"foldline://blobs/{one.hash}/json.json"
    assert one.size == len(Path(one.get_local_copy() or "").read_bytes())
    assert json.loads(one.preview) == given["json"]
    assert one.timestamp is not None
    assert Path(StorageManager.get_local_copy(one.url)).read_text() == Path(one.get_local_copy() or "").read_text()


def test_folders_come_back_as_folders(task: Task, tmp_path: Path):
    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "sub" / "a.txt").write_text("a")
    task.upload_artifact("folder", tmp_path / "f")
    found = task.artifacts["folder"]
    assert (Path(found.get_local_copy() or "") / "sub" / "a.txt").read_text() == "a"
    assert (found.get() / "sub" / "a.txt").read_text() == "a"
    assert zipfile.is_zipfile(found.get_local_copy(extract_archive=False) or "")


def test_pickles_can_be_blocked_and_serialization_chosen(task: Task):
    task.upload_artifact("p", {1: 2})
    task.upload_artifact("own", 7, serialization_function=lambda value: str(value).encode())
    task.upload_artifact("text", "no such file", extension_name=".txt")
    found = task.artifacts
    with pytest.raises(FoldlineError, match="pickle"):
        found["p"].get(block_unsafe_artifacts=True)
    assert found["own"].get(deserialization_function=lambda data: int(data)) == 7
    with pytest.raises(FoldlineError, match="deserialization_function"):
        found["own"].get()
    assert found["text"].get() == "no such file"
    with pytest.raises(DefinitionError, match="auto_pickle"):
        task.upload_artifact("q", {1: 2}, auto_pickle=False)
    assert set(task.artifacts) == {"p", "own", "text"}


def test_a_file_goes_after_its_upload_when_asked(task: Task, tmp_path: Path):
    (tmp_path / "big").write_text("x")
    task.upload_artifact("a", tmp_path / "big", delete_after_upload=True)
    assert not (tmp_path / "big").exists()
    assert task.artifacts["a"].get().read_text() == "x"


def test_a_local_copy_that_cannot_be_had(task: Task, server: Client, tmp_path: Path):
    server.tasks.add_artifact(task.id, {"name": "gone", "url": str(tmp_path / "gone.csv")})
    assert task.artifacts["gone"].get_local_copy() is None
    with pytest.raises(FoldlineError, match="no file"):
        task.artifacts["gone"].get_local_copy(raise_on_error=True)
