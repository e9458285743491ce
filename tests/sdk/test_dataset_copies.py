"""Copies of datasets, and files that lie elsewhere, against a real server."""

import threading
from pathlib import Path

import pytest

from foldline import Dataset
from foldline.client import Client
from foldline.datasets import copies, packing
from foldline.errors import FoldlineError
from tests.sdk.made_datasets import FILES, held, written


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


# Copies


def test_a_copy_is_made_once_and_mended(common: Dataset, caplog: pytest.LogCaptureFixture):
    folder = Path(common.get_local_copy())
    assert Path(common.get_local_copy()) == folder
    (folder / "sub" / "b.csv").write_text("9,9")
    (folder / "a.txt").unlink()
    (folder / "mine.cache").write_text("kept")
    assert common.verify_dataset_hash(str(folder)) == ["a.txt", "sub/b.csv"]
    assert common.verify_dataset_hash(str(folder), skip_hash=True) == ["a.txt"]
    assert held(common.get_local_copy()) == {**FILES, "mine.cache": "kept"}
    assert "2 files of" in caplog.text
    assert common.verify_dataset_hash() == []


def test_a_copy_of_ones_own_can_be_written_to(common: Dataset, tmp_path: Path):
    mine = Path(str(common.get_mutable_local_copy(tmp_path / "mine")))
    assert held(mine) == FILES
    added = common.file_entries_dict["a.txt"].modified
    assert (mine / "a.txt").stat().st_mtime == pytest.approx(added, abs=1e-3)
    (mine / "a.txt").write_text("mine")
    assert (Path(common.get_local_copy()) / "a.txt").read_text() == "alpha"
    with pytest.raises(ValueError, match="overwrite=True"):
        common.get_mutable_local_copy(mine)
    assert common.get_mutable_local_copy(mine, raise_on_error=False) is None
    assert held(common.get_mutable_local_copy(mine, overwrite=True)) == FILES


def test_copies_made_at_once_are_one(common: Dataset, monkeypatch: pytest.MonkeyPatch):
    ready, found = threading.Barrier(4, timeout=20), list[str]()

    def copy() -> None:
        ready.wait()
        found.append(common.get_local_copy())

    threads = [threading.Thread(target=copy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert held(found[0]) == FILES
    assert [path.name for path in Path(found[0]).parent.iterdir()] == [Path(found[0]).name]


def test_parts_are_disjoint_and_together_all(project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "MEGABYTE", 1)
    made = Dataset.create("parts", project)
    made.add_files(written(tmp_path / "d", {f"{number}.txt": f"{number}" for number in range(5)}))
    made.upload(chunk_size=1)
    made.finalize()
    assert made.get_num_chunks() == 5
    parts = [held(made.get_local_copy(part=part, num_parts=2)) for part in range(2)]
    assert sorted(map(len, parts)) == [2, 3]
    assert parts[0] | parts[1] == {f"{number}.txt": f"{number}" for number in range(5)}
    assert len(held(made.get_local_copy(part=4))) == 1
    with pytest.raises(ValueError, match="part 2 is none of 2"):
        made.get_local_copy(part=2, num_parts=2)


def test_only_some_files_are_fetched(common: Dataset):
    assert held(common.get_local_copy(files=["sub/b.csv"])) == {"sub/b.csv": "1,2"}
    with pytest.raises(ValueError, match=r"no file gone\.csv"):
        common.get_local_copy(files=["gone.csv"])


def test_bytes_that_are_not_what_was_uploaded_are_refused(common: Dataset, tmp_path: Path, caplog, monkeypatch):
    def spoiled(client: Client, blob: str, start: int, stop: int, path: Path) -> None:
        path.write_bytes(bytes(stop - start))

    with monkeypatch.context() as patched:
        patched.setattr(copies, "_download", spoiled)
        with pytest.raises(FoldlineError, match="is not what was uploaded"):
            common.get_local_copy()
        assert held(common.get_local_copy(raise_on_error=False)) == {"empty.txt": ""}
    assert "cannot be had" in caplog.text
    assert held(common.get_local_copy()) == FILES


# Other stores, links


def test_files_may_lie_in_another_store(project: str, folder: Path, tmp_path: Path, server: Client):
    store = tmp_path / "store"
    (folder / "a.txt").write_text("nowhere else")
    made = Dataset.create("numbers", project, output_uri=str(store))
    made.add_files(folder)
    made.upload()
    made.finalize()
    assert made.get_default_storage() == str(store)
    [pack] = [path for path in store.rglob("*") if path.is_file()]
    assert not server.blobs.exists(pack.name)
    assert held(Dataset.get(dataset_id=made.id).get_local_copy()) == {**FILES, "a.txt": "nowhere else"}


def test_links_stay_where_they_are(project: str, folder: Path, server: Client):
    url, _ = server.blobs.put_bytes(b"of the web")
    made = Dataset.create("links", project)
    assert made.add_external_files(str(folder), wildcard="*.csv", dataset_path="linked") == 2
    assert made.add_external_files([f"foldline://blobs/{url}/x.bin"], read_hash=True) == 1
    assert made.add_external_files(str(folder / "a.txt")) == 1
    assert made.add_external_files(str(folder / "a.txt")) == 0
    assert made.link_entries_dict["x.bin"].hash == url
    assert made.list_files() == ["a.txt", "linked/sub/b.csv", "linked/sub/deep/c.csv", "x.bin"]
    assert made.remove_files((folder / "a.txt").as_uri()) == 1
    made.finalize()
    assert made.tags == ["external files"]
    found = Dataset.get(dataset_id=made.id)
    assert held(found.get_local_copy()) == {
        "linked/sub/b.csv": "1,2",
        "linked/sub/deep/c.csv": "3,4",
        "x.bin": "of the web",
    }
    assert {entry.link for entry in found.link_entries} == {
        (folder / "sub" / "b.csv").as_uri(),
        (folder / "sub" / "deep" / "c.csv").as_uri(),
        f"foldline://blobs/{url}/x.bin",
    }


def test_a_link_that_leads_nowhere_is_said(project: str, folder: Path, caplog: pytest.LogCaptureFixture):
    made = Dataset.create("links", project)
    assert made.add_external_files(str(folder / "gone")) == 0
    assert "there are no files at" in caplog.text
    with pytest.raises(ValueError, match="one dataset_path"):
        made.add_external_files([str(folder)], dataset_path=["a", "b"])
    with pytest.raises(FoldlineError, match="needs fsspec"):
        made.add_external_files("s3://bucket/x")
    made.add_external_files(str(folder / "a.txt"))
    made.finalize()
    (folder / "a.txt").unlink()
    with pytest.raises(FoldlineError, match="no file"):
        made.get_local_copy()


def test_files_can_be_uploaded_as_links(project: str, folder: Path, tmp_path: Path):
    made = Dataset.create("links", project)
    made.add_files(folder)
    with pytest.raises(ValueError, match="output_url"):
        made.upload(upload_as_external_links=True)
    made.upload(output_url=str(tmp_path / "store"), upload_as_external_links=True)
    made.finalize()
    assert (made.file_entries, len(made.link_entries)) == ([], 4)
    assert held(tmp_path / "store" / "external_links" / made.id) == FILES
    assert held(made.get_local_copy()) == FILES
