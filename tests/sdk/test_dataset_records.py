"""What is said about datasets, moved and listed, against a real server."""

from pathlib import Path

import pytest

from foldline import Dataset
from foldline.cli.main import run
from foldline.client import Client
from foldline.definition import definition_mode
from foldline.errors import NotSupported
from tests.sdk.made_datasets import FILES, finished, held, written
from tests.support.waiting import wait_until


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


# What is said about them


def test_metadata_is_kept(common: Dataset):
    common.set_metadata({"rows": 3})
    common.set_metadata([1, 2], "shape")
    found = Dataset.get(dataset_id=common.id)
    assert (found.get_metadata(), found.get_metadata("shape"), found.get_metadata("none")) == (
        {"rows": 3},
        [1, 2],
        None,
    )
    with pytest.raises(ValueError, match="manifest"):
        common.set_metadata({}, "state")


def test_metrics_are_kept_on_its_task(common: Dataset, server: Client):
    common.get_logger().report_single_value("rows", 3)
    common.get_logger().flush()
    wait_until(lambda: "Summary" in server.tasks.scalars(common.id)["last"], "the value is there")


def test_datasets_are_renamed_moved_and_deleted(project: str, folder: Path):
    first = finished(project, folder)
    second = Dataset.get(dataset_id=first.id, writable_copy=True)
    second.finalize()
    Dataset.rename("figures", project, "numbers")
    Dataset.move_to_project(f"{project}/b", project, "figures")
    found = Dataset.get(dataset_project=f"{project}/b", dataset_name="figures")
    assert (found.id, found.version) == (second.id, "1.0.1")
    with pytest.raises(ValueError, match="descends from it"):
        Dataset.delete(dataset_id=first.id)
    with pytest.raises(ValueError, match="2 versions are meant"):
        Dataset.delete(dataset_project=f"{project}/b", dataset_name="figures")
    Dataset.delete(dataset_project=f"{project}/b", dataset_name="figures", dataset_version="1.0.1")
    assert Dataset.get(dataset_project=f"{project}/b", dataset_name="figures").id == first.id
    with pytest.raises(ValueError, match="was deleted"):
        Dataset.get(dataset_id=second.id)
    with pytest.raises(ValueError, match="force=True"):
        Dataset.delete(dataset_project=f"{project}/b", dataset_name="figures", entire_dataset=True)
    Dataset.delete(dataset_project=f"{project}/b", dataset_name="figures", entire_dataset=True, force=True)
    assert Dataset.list_datasets(ids=[first.id, second.id]) == []
    for gone in (Dataset.rename, Dataset.move_to_project):
        with pytest.raises(ValueError, match="there is no dataset"):
            gone("x", f"{project}/b", "figures")
    with pytest.raises(NotSupported, match="delete_external_files"):
        Dataset.delete(dataset_id=first.id, delete_external_files=True)


def test_versions_are_squashed_without_copying(project: str, dataset: Dataset, tmp_path: Path):
    child = Dataset.get(dataset_id=dataset.id, writable_copy=True)
    child.add_files(written(tmp_path / "more", {"new.txt": "new", "a.txt": "changed"}))
    child.finalize(auto_upload=True)
    whole = Dataset.squash("whole", [child.id])
    assert held(whole.get_local_copy()) == {**FILES, "new.txt": "new", "a.txt": "changed"}
    assert whole.get_dependency_graph() == {whole.id: []}
    grandchild = Dataset.get(dataset_id=child.id, writable_copy=True)
    grandchild.add_files(written(tmp_path / "last", {"last.txt": "last"}))
    grandchild.finalize(auto_upload=True)
    both = Dataset.squash("both", [child, grandchild], close_squashed_dataset=False)
    assert both.list_files() == ["a.txt", "last.txt", "new.txt"]
    with pytest.raises(ValueError, match="either dataset_ids"):
        Dataset.squash("x")


# The command line


def test_datasets_on_the_command_line(
    dataset: Dataset, project: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def printed(*words: str) -> list[str]:
        assert run(["dataset", *words]) == 0
        return capsys.readouterr().out.splitlines()

    assert printed("ls", "--project", project, "-o", "ids") == [dataset.id]
    heads, row = (line.split("\t") for line in printed("ls", "--project", project))
    shown = dict(zip(heads, row, strict=True))
    assert (shown["name"], shown["version"], shown["status"], shown["files"]) == ("numbers", "1.0.0", "completed", "4")
    assert printed("files", f"{project}/numbers", "*.csv", "-o", "ids") == ["sub/b.csv", "sub/deep/c.csv"]
    [folder] = printed("get", dataset.id, str(tmp_path / "mine"))
    assert held(folder) == FILES
    assert printed("get", f"{project}/numbers", "--version", "1.0.0") == [dataset.get_local_copy()]
    assert run(["dataset", "get", "numbers"]) == 1
    assert "give its id, or its project and name" in capsys.readouterr().err


# Inside a step's file


def test_while_a_step_is_defined_nothing_begins(dataset: Dataset, project: str):
    with definition_mode():
        made = Dataset.create("inert", project)
        made.add_files("anything")
        later = Dataset.get(dataset_project=project, dataset_name="numbers")
        assert not later.get_local_copy()
    assert Dataset.list_datasets(project, partial_name="inert", only_completed=False) == []
    assert held(later.get_local_copy()) == FILES
