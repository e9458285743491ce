"""StorageManager: files by their address, wherever they lie."""

import io
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from foldline import StorageManager, storage
from foldline.client import Client
from foldline.errors import FoldlineError, NotSupported
from tests.support.buckets import Bucket, bucket_in_place_of_fsspec


class Web(SimpleHTTPRequestHandler):
    """A folder by http, which can be written to as well."""

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.txt and sub/b.csv."""
    (tmp_path / "there" / "sub").mkdir(parents=True)
    (tmp_path / "there" / "a.txt").write_text("a")
    (tmp_path / "there" / "sub" / "b.csv").write_text("1,2")
    return tmp_path / "there"


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """The folder's address at a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_in_place_of_fsspec(monkeypatch)


# Local copies


def test_a_path_is_its_own_copy(folder: Path, canned):
    assert StorageManager.get_local_copy(str(folder / "a.txt")) == str(folder / "a.txt")
    assert StorageManager.get_local_copy((folder / "a.txt").as_uri()) == str(folder / "a.txt")
    with pytest.raises(FoldlineError, match="there is no file"):
        StorageManager.get_local_copy(str(folder / "gone.txt"))


def test_a_file_of_the_web_is_fetched_once(folder: Path, web: str, canned):
    copy = Path(StorageManager.get_local_copy(f"{web}/a.txt"))
    assert (copy.name, copy.read_text()) == ("a.txt", "a")
    (folder / "a.txt").write_text("changed")
    assert Path(StorageManager.get_local_copy(f"{web}/a.txt")).read_text() == "a"
    assert Path(StorageManager.get_local_copy(f"{web}/a.txt", force_download=True)).read_text() == "changed"
    with pytest.raises(FoldlineError, match=r"cannot reach .*gone.*404"):
        StorageManager.get_local_copy(f"{web}/gone")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/x.txt", "x")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("in/x.txt")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))


@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tgz", tarred), ("A.TAR.GZ", tarred)])
def test_archives_come_unpacked(folder: Path, web: str, canned, name: str, pack: Any):
    pack(folder / name)
    for url in (f"{web}/{name}", str(folder / name)):
        copy = Path(StorageManager.get_local_copy(url))
        assert (copy / "in" / "x.txt").read_text() == "x"
        assert Path(StorageManager.get_local_copy(url)) == copy
        assert Path(StorageManager.get_local_copy(url, extract_archive=False)).name == name
    assert sorted(path.name for path in folder.iterdir()) == sorted(["a.txt", "sub", name])


def test_an_archive_that_is_none_stays_a_file(folder: Path, canned, caplog: pytest.LogCaptureFixture):
    for name in ("no.zip", "no.tgz"):
        (folder / name).write_text("no archive")
        assert StorageManager.get_local_copy(str(folder / name)) == str(folder / name)
        assert f"{name} is no archive" in caplog.text


@pytest.mark.parametrize("name", ["out.zip", "out.tgz"])
def test_an_archive_that_leads_out_is_refused(folder: Path, canned, name: str):
    if name.endswith(".zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("../evil", "x")
    else:
        with tarfile.open(folder / name, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(FoldlineError, match="leads out of it"):
        StorageManager.get_local_copy(str(folder / name))
    assert not list(folder.parent.rglob("evil"))


def test_the_cache_keeps_what_was_used_last(folder: Path, web: str, canned, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "_file_limit", None)
    first = Path(StorageManager.get_local_copy(f"{web}/a.txt"))
    assert StorageManager.set_cache_file_limit(1) == 1
    assert first.exists()
    second = Path(StorageManager.get_local_copy(f"{web}/sub/b.csv"))
    assert (first.exists(), second.exists()) == (False, True)
    with pytest.raises(ValueError, match="at least one"):
        StorageManager.set_cache_file_limit(0)


# Up and down


def test_files_go_to_folders_the_web_and_buckets(folder: Path, web: str, canned, bucket: Bucket, tmp_path: Path):
    targets = [
        str(tmp_path / "out" / "x.txt"),
        (tmp_path / "out" / "y.txt").as_uri(),
        f"{web}/new/x.txt",
        "s3://b/x.txt",
    ]
    for target in targets:
        assert StorageManager.upload_file(str(folder / "a.txt"), target) == target
        assert StorageManager.get_file_size_bytes(target) == 1
        assert StorageManager.exists_file(target)
        assert Path(StorageManager.get_local_copy(target)).read_text() == "a"
    with pytest.raises(FoldlineError, match="there is no file"):
        StorageManager.upload_file(str(folder / "gone"), targets[0])


def test_a_blob_gets_the_address_of_its_content(server: Client, folder: Path):
    url = StorageManager.upload_file(str(folder / "a.txt"), "foldline://blobs/other name.txt")
    assert url.startswith("foldline://blobs/ca978112")
    assert url.endswith("/other%20name.txt")
    assert Path(StorageManager.get_local_copy(url)).read_text() == "a"
    assert (StorageManager.get_file_size_bytes(url), StorageManager.exists_file(url)) == (1, True)
    assert StorageManager.get_metadata(url, read_hash=True) == {
        "name": "other name.txt",
        "size": 1,
        "hash": url.split("/")[3],
    }
    gone = f"foldline://blobs/{'0' * 64}/x"
    assert (StorageManager.exists_file(gone), StorageManager.get_metadata(gone)) == (False, None)
    with pytest.raises(NotSupported, match="no folders"):
        StorageManager.upload_folder(str(folder), StorageManager.get_files_server())


@pytest.mark.parametrize("base", ["s3://b/data", "{tmp}/out"])
def test_folders_go_and_come_as_they_are(folder: Path, canned, bucket: Bucket, tmp_path: Path, base: str):
    base = base.format(tmp=tmp_path)
    assert StorageManager.upload_folder(str(folder), base) == base
    full = [f"{base}/a.txt", f"{base}/sub/b.csv"]
    assert sorted(StorageManager.list(base, return_full_path=True) or []) == full
    assert StorageManager.list(f"{base}/sub/", with_metadata=True, return_full_path=True) == [
        {"name": full[1], "size": 3}
    ]
    assert StorageManager.download_folder(base, str(tmp_path / "back"), match_wildcard="*.csv") == str(
        tmp_path / "back"
    )
    [found] = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert (found.name, found.read_text()) == ("b.csv", "1,2")


def test_only_what_a_wildcard_means_goes(folder: Path, canned, bucket: Bucket):
    StorageManager.upload_folder(str(folder), "s3://b/data", match_wildcard="*.csv")
    assert list(bucket.files) == ["b/data/sub/b.csv"]
    assert StorageManager.list("s3://b/data") == ["data/sub/b.csv"]


def test_a_downloaded_file_keeps_its_path_in_the_bucket(web: str, folder: Path, canned, bucket: Bucket, tmp_path: Path):
    bucket.files = {"b/deep/x.txt": b"x", "b/empty": b""}
    assert StorageManager.download_file("s3://b/deep/x.txt", str(tmp_path)) == str(tmp_path / "deep" / "x.txt")
    assert StorageManager.download_file(f"{web}/sub/b.csv", str(tmp_path)) == str(tmp_path / "sub" / "b.csv")
    (tmp_path / "deep" / "x.txt").write_text("mine")
    StorageManager.download_file("s3://b/deep/x.txt", str(tmp_path))
    assert (tmp_path / "deep" / "x.txt").read_text() == "mine"
    StorageManager.download_file("s3://b/deep/x.txt", str(tmp_path), overwrite=True)
    assert (tmp_path / "deep" / "x.txt").read_text() == "x"
    assert StorageManager.download_file("s3://b/empty", str(tmp_path)) is None
    assert StorageManager.download_file("s3://b/empty", str(tmp_path), skip_zero_size_check=True) is not None


def test_what_is_not_there_is_said(web: str, canned, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for url in (f"{web}/gone", "s3://b/gone", str(tmp_path / "gone")):
        assert StorageManager.exists_file(url) is False
        assert StorageManager.get_file_size_bytes(url) is None
        assert StorageManager.get_metadata(url) is None
        assert StorageManager.download_file(url, str(tmp_path / "d")) is None
        assert url in caplog.text
    assert StorageManager.list(web) is None
    assert StorageManager.exists_file("s3://b/folder/") is False
    assert StorageManager.download_folder("s3://b/nothing", str(tmp_path / "d")) == str(tmp_path / "d")


def test_a_bucket_without_fsspec_says_what_to_install(canned, monkeypatch: pytest.MonkeyPatch, folder: Path):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    for call in (StorageManager.get_local_copy, lambda url: StorageManager.upload_file(str(folder / "a.txt"), url)):
        with pytest.raises(FoldlineError, match=r"s3://b/x needs fsspec: pip install 'foldline\[storage\]'"):
            call("s3://b/x")


def test_progress_is_logged_when_asked_for(
    folder: Path, canned, caplog: pytest.LogCaptureFixture, monkeypatch, tmp_path
):
    monkeypatch.setattr("foldline.stores.report_every", {"uploaded": None, "downloaded": None})
    (folder / "big").write_bytes(bytes(3 << 20))
    StorageManager.set_report_upload_chunk_size(2)
    StorageManager.set_report_download_chunk_size(1)
    with caplog.at_level("INFO", logger="foldline"):
        StorageManager.upload_file(str(folder / "big"), str(tmp_path / "copy"))
    assert [record.message for record in caplog.records] == [f"{tmp_path / 'copy'}: 2 MB uploaded"]
