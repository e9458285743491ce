"""Snapshots: the same files are the same bytes, the right files travel, and nothing leaves its folder."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from foldline import sources
from foldline.errors import DefinitionError, FoldlineError


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def git(root: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *settings, "-C", str(root), *arguments], check=True, capture_output=True, timeout=30)


def test_the_same_files_are_the_same_bytes_wherever_and_whenever_they_lie(tmp_path: Path):
    files = {"run.py": "print(1)", "lib/b.py": "b", "lib/a.py": "a", "größe.txt": "ü"}
    one = sources.snapshot(write(tmp_path / "one", files) / "run.py")
    write(tmp_path / "two", dict(reversed(files.items())))
    for path in (tmp_path / "two").rglob("*"):
        os.utime(path, (1, 1))
    (tmp_path / "two" / "lib" / "a.py").chmod(0o600)
    two = sources.snapshot(tmp_path / "two" / "run.py")
    assert one.sha256 == two.sha256
    assert one.data == two.data
    assert names(one.data) == ["größe.txt", "lib/a.py", "lib/b.py", "run.py"]


def test_a_change_is_another_digest(tmp_path: Path):
    before = sources.snapshot(write(tmp_path, {"run.py": "1"}) / "run.py")
    after = sources.snapshot(write(tmp_path, {"run.py": "2"}) / "run.py")
    assert before.sha256 != after.sha256


def test_what_is_no_source_stays_at_home(tmp_path: Path):
    write(
        tmp_path,
        {
            "run.py": "",
            "data/small.csv": "1",
            ".env": "SECRET=1",
            ".venv/lib/x.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/y.py": "",
            "__pycache__/run.pyc": "",
            "node_modules/m.js": "",
            "big.bin": "x" * (sources.LARGEST_FILE + 1),
        },
    )
    made = sources.snapshot(tmp_path / "run.py")
    assert names(made.data) == [sources.ABOUT, "data/small.csv", "run.py"]
    (tmp_path / "made.tar.gz").write_bytes(made.data)
    unpacked = sources.unpack(tmp_path / "made.tar.gz", made.sha256, tmp_path / "cache")
    assert sources.about(unpacked, "left_out") == ["big.bin"]
    reason = "FileNotFoundError: [Errno 2] No such file or directory: '/somewhere/big.bin'"
    assert "big.bin is over 1 MB and did not travel" in sources.missing_file(reason, unpacked)
    assert sources.missing_file(reason.replace("big", "other"), unpacked) == ""
    assert sources.missing_file("ValueError: big.bin", unpacked) == ""


def test_in_a_work_tree_git_says_what_travels(tmp_path: Path):
    write(tmp_path, {"lib/tracked.py": "", "jobs/run.py": "", ".gitignore": "*.log\njobs/ignored.py\n"})
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    write(tmp_path, {"lib/untracked.py": "", "out.log": "", "jobs/ignored.py": "", "gone.py": ""})
    git(tmp_path, "add", "gone.py")
    (tmp_path / "gone.py").unlink()
    found = sources.snapshot(tmp_path / "jobs" / "run.py")
    assert found.root == tmp_path.resolve()
    assert names(found.data) == ["jobs/run.py", "lib/tracked.py", "lib/untracked.py"]
    assert "jobs/ignored.py" in names(sources.snapshot(tmp_path / "jobs" / "ignored.py").data)


def test_sources_tell_the_folders_that_were_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"jobs/run.py": "", "src/shop.py": "", "lib/odd.py": "", ".hidden/x.py": "", "unused/y.py": ""})
    for folder in ("jobs", "src", ".hidden", "absent"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    odd = ModuleType("deep.odd")
    odd.__file__ = str(tmp_path / "lib" / "deep" / "odd.py")
    monkeypatch.setitem(sys.modules, "deep.odd", odd)
    made = sources.snapshot(tmp_path / "jobs" / "run.py", tmp_path)
    (tmp_path / "made.tar.gz").write_bytes(made.data)
    unpacked = sources.unpack(tmp_path / "made.tar.gz", made.sha256, tmp_path / "cache")
    assert sources.about(unpacked, "paths") == ["src", "lib"]
    monkeypatch.undo()
    again = sources.snapshot(unpacked / "jobs" / "run.py", unpacked)
    assert again.sha256 == made.sha256, "unpacked sources go on to say what they said"


def test_too_much_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"run.py": "", "a.txt": "x" * 600, "b.txt": "x" * 600})
    monkeypatch.setattr(sources, "LARGEST_SNAPSHOT", 1000)
    with pytest.raises(DefinitionError, match="gitignore"):
        sources.snapshot(tmp_path / "run.py")


def test_unpacked_once_per_digest(tmp_path: Path):
    made = sources.snapshot(write(tmp_path / "src", {"run.py": "print(1)", "lib/a.py": "a"}) / "run.py")
    (tmp_path / "a.tar.gz").write_bytes(made.data)
    folder = sources.unpack(tmp_path / "a.tar.gz", made.sha256, tmp_path / "cache")
    assert (folder / "lib" / "a.py").read_text() == "a"
    (tmp_path / "a.tar.gz").unlink()
    assert sources.unpack(tmp_path / "a.tar.gz", made.sha256, tmp_path / "cache") == folder
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [made.sha256]


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param(member("../evil.py"), id="upwards"),
        pytest.param(member("a/../../evil.py"), id="upwards inside"),
        pytest.param(member("/tmp/evil.py"), id="absolute"),
        pytest.param(member("..\\evil.py"), id="backslashes"),
        pytest.param(member("link", tarfile.SYMTYPE, "/etc"), id="symbolic link"),
        pytest.param(member("link", tarfile.LNKTYPE, "../../evil.py"), id="hard link"),
        pytest.param(member("pipe", tarfile.FIFOTYPE), id="pipe"),
    ],
)
def test_what_would_leave_the_folder_is_refused(tmp_path: Path, evil: tarfile.TarInfo):
    bad = archive(tmp_path / "bad.tar.gz", member("fine.py"), evil)
    with pytest.raises(FoldlineError, match="not unpacked"):
        sources.unpack(bad, "f" * 64, tmp_path / "deep" / "cache")
    assert list((tmp_path / "deep" / "cache").iterdir()) == []
    assert not list(tmp_path.rglob("evil.py"))
