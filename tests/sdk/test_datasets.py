"""Datasets: versions of a folder of files, against the real server."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from foldline import Dataset, Task
from foldline.client import Client
from foldline.datasets import packing
from foldline.errors import FoldlineError
from tests.sdk.made_datasets import FILES, finished, held, written
from tests.sdk.processes import python


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


# Making one


def test_what_was_uploaded_comes_back_in_another_process(dataset: Dataset, project: str, tmp_path: Path):
    code = (
        "import sys; from foldline import Dataset;"
        "print(Dataset.get(dataset_project=sys.argv[1], dataset_name='numbers').get_local_copy())"
    )
    copy = python("-c", code, project, FOLDLINE_CACHE=str(tmp_path / "other")).strip()
    assert held(copy) == FILES


def test_a_version_is_a_task_with_a_manifest(dataset: Dataset, server: Client, project: str):
    task = server.tasks.get(dataset.id)
    assert (task["type"], task["status"], task["name"], task["project"]) == (
        "data_processing",
        "completed",
        "numbers",
        project,
    )
    assert (task["system_tags"], task["runtime"]) == (["dataset"], {"version": "1.0.0", "parents": []})
    state = task["artifacts"]["state"]
    assert state["metadata"] == {"files": 4, "links": 0, "bytes": 11}
    assert state["preview"].splitlines() == sorted(FILES)
    manifest = json.loads(server.blobs.read(state["sha256"]))
    assert manifest["files"]["a.txt"]["sha256"] == hashlib.sha256(b"alpha").hexdigest()
    assert dataset.file_entries_dict["a.txt"].as_dict() == {
        "relative_path": "a.txt",
        "hash": hashlib.sha256(b"alpha").hexdigest(),
        "parent_dataset_id": dataset.id,
        "size": 5,
    }
    assert {entry.relative_path for entry in dataset.file_entries} == set(FILES)


def test_the_same_files_make_the_same_manifest_but_for_who_brought_them(project: str, folder: Path):
    first, second = (finished(project, folder, name) for name in ("one", "two"))
    blobs = [sorted(entry.blob or "" for entry in one.file_entries) for one in (first, second)]
    assert blobs[0] == blobs[1]


def test_files_go_where_they_are_told(project: str, folder: Path):
    made = Dataset.create("numbers", project)
    assert made.add_files(folder, wildcard="*.csv") == 2
    assert made.add_files(folder, wildcard=["*.txt"], dataset_path="/texts/", recursive=False) == 2
    assert made.add_files(folder / "a.txt", dataset_path="single") == 1
    assert made.add_files(folder / "sub" / "b.csv", local_base_folder=str(folder), dataset_path="based") == 1
    assert made.list_files() == [
        "based/sub/b.csv",
        "single/a.txt",
        "sub/b.csv",
        "sub/deep/c.csv",
        "texts/a.txt",
        "texts/empty.txt",
    ]
    with pytest.raises(ValueError, match="no file or folder"):
        made.add_files(folder / "gone")
    with pytest.raises(FoldlineError, match="does not lie in local_base_folder"):
        made.add_files(folder / "a.txt", local_base_folder=str(folder / "sub"))


def test_new_files_are_counted_and_changed_ones_said(project: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    made = Dataset.create("numbers", project)
    assert made.add_files(folder) == 4
    written(folder, {"a.txt": "changed", "new.txt": "new"})
    assert made.add_files(folder, verbose=True) == 1
    assert set(capsys.readouterr().out.splitlines()) == {"Modified a.txt", "Added new.txt"}
    assert made.remove_files("sub/*.csv", verbose=True) == 2
    assert capsys.readouterr().out.splitlines() == ["Removed sub/b.csv", "Removed sub/deep/c.csv"]


def test_what_waits_for_its_upload_keeps_it_from_being_final(project: str, folder: Path):
    made = Dataset.create("numbers", project)
    made.add_files(folder)
    assert (made.is_dirty(), made.is_final()) == (True, False)
    with pytest.raises(ValueError, match=r"call upload\(\) first"):
        made.finalize()
    assert made.finalize(raise_on_error=False) is False
    with pytest.raises(ValueError, match="only what is finalized"):
        made.get_local_copy()
    assert made.finalize(auto_upload=True) is True
    assert (made.is_dirty(), made.is_final()) == (False, True)
    assert held(made.get_local_copy()) == FILES


def test_what_is_final_never_changes(dataset: Dataset, folder: Path):
    for change in (
        lambda: dataset.add_files(folder),
        lambda: dataset.remove_files("*"),
        lambda: dataset.sync_folder(folder),
        lambda: Dataset.get(dataset_id=dataset.id).upload(),
        lambda: dataset.finalize(),
    ):
        with pytest.raises(ValueError, match="is final and never changes"):
            change()
    assert dataset.publish() is True
    assert dataset.is_final()


def test_only_what_is_final_is_published(project: str):
    made = Dataset.create("numbers", project)
    assert made.publish(raise_on_error=False) is False
    with pytest.raises(ValueError, match="finalize it first"):
        made.publish()


def test_another_process_may_finish_what_one_has_begun(project: str, folder: Path):
    begun = Dataset.create("numbers", project)
    begun.add_files(folder)
    begun.upload()
    begun.remove_files("a.txt")
    other = Dataset.get(dataset_project=project, dataset_name="numbers")
    assert (other.id, other.list_files()) == (begun.id, sorted(FILES))
    other.finalize()
    with pytest.raises(ValueError, match="final"):
        begun.finalize()


def test_many_small_files_are_few_requests(project: str, server: Client, tmp_path: Path, monkeypatch):
    files = {f"{number}.txt": f"file {number}" for number in range(300)}
    written(tmp_path / "many", {**files, "twin.txt": "file 7"})
    (tmp_path / "many" / "large.bin").write_bytes(os.urandom(packing.SMALL + 1))
    made = Dataset.create("many", project)
    made.add_files(tmp_path / "many")
    asked: list[str] = []
    send = Client.request
    monkeypatch.setattr(
        Client, "request", lambda self, method, path, **how: (asked.append(path), send(self, method, path, **how))[1]
    )
    made.upload()
    assert len([path for path in asked if path.startswith("blobs/")]) <= 6
    assert (made.get_num_chunks(), made.file_entries_dict["twin.txt"].offset) == (
        2,
        made.file_entries_dict["7.txt"].offset,
    )


def test_packs_are_as_large_as_told(project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "MEGABYTE", 10)
    written(tmp_path / "many", {f"{number}.txt": f"{number}" * 9 for number in range(4)})
    for chunk_size, chunks in ((1, 4), (2, 2), (-1, 1)):
        made = Dataset.create("many", f"{project}{chunk_size}")
        made.add_files(tmp_path / "many")
        made.upload(chunk_size=chunk_size)
        made.finalize()
        assert made.get_num_chunks() == chunks
        assert len(held(made.get_local_copy())) == 4
    with pytest.raises(ValueError, match="number of megabytes"):
        made.__class__.create("more", project).upload(chunk_size=0)


def test_a_file_that_changes_after_it_was_added_is_no_silent_mistake(project: str, folder: Path):
    made = Dataset.create("numbers", project)
    made.add_files(folder)
    (folder / "a.txt").write_text("other")
    with pytest.raises(FoldlineError, match=r"a\.txt has changed since it was added"):
        made.upload()
    (folder / "a.txt").unlink()
    with pytest.raises(FoldlineError, match="is not there any more"):
        made.upload()


# Versions


def test_versions_count_by_themselves(dataset: Dataset, project: str):
    assert dataset.version == "1.0.0"
    assert Dataset.create("numbers", project).version == "1.0.1"
    assert Dataset.create("numbers", project, dataset_version="2.0").version == "2.0"
    assert Dataset.create("numbers", project).version == "2.1"
    assert Dataset.create("other", project).version == "1.0.0"


def test_a_child_has_what_its_parents_have(dataset: Dataset, project: str, tmp_path: Path):
    child = Dataset.get(dataset_id=dataset.id, writable_copy=True)
    assert (child.name, child.project, child.version) == ("numbers", project, "1.0.1")
    assert child.add_files(written(tmp_path / "more", {"a.txt": "changed", "new.txt": "new"})) == 1
    assert child.remove_files("sub/deep") == 1
    child.finalize(auto_upload=True)
    expected = {"a.txt": "changed", "new.txt": "new", "sub/b.csv": "1,2", "empty.txt": ""}
    child = Dataset.get(dataset_id=child.id)
    assert held(child.get_local_copy()) == expected
    assert (child.list_added_files(), child.list_modified_files(), child.list_removed_files()) == (
        ["new.txt"],
        ["a.txt"],
        ["sub/deep/c.csv"],
    )
    assert child.list_files(dataset_id=dataset.id) == ["empty.txt", "sub/b.csv"]
    assert child.get_dependency_graph() == {child.id: [dataset.id], dataset.id: []}
    assert (child.get_num_chunks(), child.get_num_chunks(include_parents=False)) == (2, 1)
    assert held(dataset.get_local_copy()) == FILES


def test_a_later_parent_wins(project: str, tmp_path: Path):
    one = finished(project, written(tmp_path / "1", {"a": "1", "b": "1"}), "one")
    two = finished(project, written(tmp_path / "2", {"b": "2", "c": "2"}), "two")
    both = Dataset.create("both", project, parent_datasets=[one, two.id])
    both.finalize()
    assert held(both.get_local_copy()) == {"a": "1", "b": "2", "c": "2"}


def test_a_parent_has_to_be_final(project: str):
    begun = Dataset.create("numbers", project)
    with pytest.raises(ValueError, match="cannot be a parent"):
        Dataset.create("child", project, parent_datasets=[begun.id])


def test_only_what_is_new_is_uploaded(common: Dataset, project: str, folder: Path, tmp_path: Path):
    child = Dataset.get(dataset_id=common.id, writable_copy=True)
    (folder / "renamed.txt").write_text("alpha")
    child.add_files(folder)
    assert not child.is_dirty()
    assert child.file_entries_dict["renamed.txt"].blob == common.file_entries_dict["a.txt"].blob


def test_a_folder_is_synced(common: Dataset, folder: Path):
    child = Dataset.get(dataset_id=common.id, writable_copy=True)
    (folder / "a.txt").unlink()
    written(folder, {"sub/b.csv": "5,6", "new.txt": "new"})
    assert child.sync_folder(folder) == (1, 1, 1)
    child.finalize(auto_upload=True)
    assert held(child.get_local_copy()) == {
        "sub/b.csv": "5,6",
        "sub/deep/c.csv": "3,4",
        "empty.txt": "",
        "new.txt": "new",
    }


def test_a_folder_inside_is_synced_alone(common: Dataset, tmp_path: Path):
    child = Dataset.get(dataset_id=common.id, writable_copy=True)
    assert child.sync_folder(written(tmp_path / "sub", {"x.csv": "x"}), dataset_path="sub") == (2, 1, 0)
    assert child.list_files() == ["a.txt", "empty.txt", "sub/x.csv"]
    with pytest.raises(ValueError, match="no folder"):
        child.sync_folder(tmp_path / "gone")


# Finding one


def test_the_highest_final_version_is_meant(project: str, folder: Path, caplog: pytest.LogCaptureFixture):
    first = finished(project, folder)
    second = finished(project, folder, dataset_version="0.9")
    begun = Dataset.create("numbers", project, dataset_version="3.0")
    assert Dataset.get(dataset_project=project, dataset_name="numbers").id == first.id
    assert f"version 3.0 ({begun.id})" in caplog.text
    assert Dataset.get(dataset_project=project, dataset_name="numbers", dataset_version="0.9").id == second.id
    assert Dataset.get(dataset_project=project, dataset_name="numbers", dataset_version="3.0").id == begun.id
    with pytest.raises(ValueError, match="there is no dataset"):
        Dataset.get(dataset_project=project, dataset_name="numbers", dataset_version="3.0", only_completed=True)
    second.publish()
    assert Dataset.get(dataset_project=project, dataset_name="numbers", only_published=True).id == second.id


def test_tags_choose(project: str, folder: Path):
    first = finished(project, folder, dataset_tags=["raw"])
    second = finished(project, folder, dataset_tags=["raw", "clean"])
    second.add_tags("checked")
    assert Dataset.get(dataset_project=project, dataset_tags=["raw", "-clean"]).id == first.id
    assert Dataset.get(dataset_project=project, dataset_tags=["checked"]).tags == ["raw", "clean", "checked"]
    assert Dataset.get(dataset_project=project, dataset_tags=["__$all", "raw", "clean"]).id == second.id


def test_what_there_is_not_is_said(project: str, server: Client):
    task = server.tasks.create(name="train", project=project)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"dataset_project": project, "dataset_name": "gone"}, f"there is no dataset {project}/gone"),
        ({"dataset_id": "0" * 32}, "there is no dataset 0"),
        ({"dataset_id": task["id"]}, "is task 'train', and no dataset"),
        ({"dataset_id": "0" * 32, "dataset_name": "x"}, "either a dataset_id"),
        ({}, "needs a dataset_id"),
    ]
    for asked, said in wrong:
        with pytest.raises(ValueError, match=said.replace("[", r"\[")):
            Dataset.get(**asked)
    with pytest.raises(TypeError, match="datset_id"):
        Dataset.get(datset_id="x")
    assert Dataset.get(dataset_project=project, dataset_name="new", auto_create=True).is_final() is False


def test_the_task_remembers_what_it_got(dataset: Dataset, project: str, server: Client, monkeypatch):
    task = Task.create(project, "train")
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    other = finished(project, Path(dataset.get_local_copy()), "other")
    assert server.tasks.get(other.id)["parent"] == server.tasks.get(other.id)["origin"] == task.id
    assert Dataset.get(dataset_project=project, dataset_name="numbers", alias="data").id == dataset.id
    record = server.tasks.get(task.id)
    assert record["hyperparameters"]["Datasets"]["data"]["value"] == dataset.id
    assert record["runtime"]["datasets"] == [dataset.id]
    task.set_parameter("Datasets/data", other.id)
    assert Dataset.get(dataset_id=dataset.id, alias="data", overridable=True).id == other.id
    assert Dataset.get(dataset_id=dataset.id, alias="data").id == dataset.id


def test_a_dataset_on_the_current_task_is_final_with_it(project: str, server: Client, folder: Path, monkeypatch):
    task = Task.create(project, "make numbers")
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    made = Dataset.create(use_current_task=True, dataset_tags=["x"], description="numbers")
    made.add_files(folder)
    made.upload()
    assert made.finalize() is True
    assert (made.id, made.is_final()) == (task.id, False)
    server.tasks.complete(task.id)
    found = Dataset.get(dataset_project=project, dataset_name="make numbers")
    assert (found.id, found.is_final(), found.tags) == (task.id, True, ["x"])
    assert held(found.get_local_copy()) == FILES
    monkeypatch.delenv("FOLDLINE_TASK_ID")
    with pytest.raises(ValueError, match=r"call Task\.init"):
        Dataset.create()


def test_all_versions_are_listed(project: str, folder: Path):
    first = finished(f"{project}/inner", folder, dataset_tags=["raw"])
    begun = Dataset.create("letters", project)
    shown = Dataset.list_datasets(project)
    assert [(one["id"], one["name"], one["project"], one["version"], one["tags"]) for one in shown] == [
        (first.id, "numbers", f"{project}/inner", "1.0.0", ["raw"])
    ]
    every = Dataset.list_datasets(project, only_completed=False)
    assert [one["id"] for one in every] == [begun.id, first.id]
    assert every[0]["created"] > every[1]["created"]
    assert Dataset.list_datasets(project, recursive_project_search=False) == []
    assert [one["id"] for one in Dataset.list_datasets(project, partial_name="^num")] == [first.id]
    assert [one["id"] for one in Dataset.list_datasets(ids=[first.id])] == [first.id]
