"""Copies of snapshots: the same files, and nobody else's."""

import pytest

from foldline.agent import copies


@pytest.fixture
def snapshot(tmp_path):
    root = tmp_path / "snapshot"
    (root / "lib" / "inner").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "lib" / "__pycache__").mkdir()
    (root / "lib" / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    (root / "lib" / "inner" / "a.py").write_text("A = 1")
    (root / "run.sh").write_text("echo")
    (root / "run.sh").chmod(0o755)
    (root / "large").write_bytes(b"x" * (copies.SMALL + 1))
    (root / "link").symlink_to("run.sh")
    (root / "to a folder").symlink_to("lib")
    return root


def test_a_copy_has_all_but_what_was_compiled(snapshot, tmp_path):
    copies.copy(snapshot, tmp_path / "copy")
    found = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert found == ["empty", "large", "lib", "lib/inner", "lib/inner/a.py", "link", "run.sh", "to a folder"]
    assert (tmp_path / "copy" / "large").read_bytes() == b"x" * (copies.SMALL + 1)
    assert (tmp_path / "copy" / "lib" / "inner" / "a.py").read_text() == "A = 1"
    assert (tmp_path / "copy" / "link").readlink().name == "run.sh"
    assert (tmp_path / "copy" / "to a folder").is_symlink()


def test_what_may_be_run_may_be_run_in_the_copy(snapshot, tmp_path):
    copies.copy(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "copy" / "large").stat().st_mode & 0o111


def test_what_is_done_to_a_copy_is_done_to_no_other(snapshot, tmp_path):
    copies.copy(snapshot, tmp_path / "first")
    for name in ("run.sh", "large", "lib/inner/a.py"):
        (tmp_path / "first" / name).write_text("edited")
    copies.copy(snapshot, tmp_path / "second")
    for root in (snapshot, tmp_path / "second"):
        assert (root / "run.sh").read_text() == "echo"
        assert (root / "large").read_bytes() == b"x" * (copies.SMALL + 1)
        assert (root / "lib" / "inner" / "a.py").read_text() == "A = 1"


def test_large_snapshots_are_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "REMEMBERED", 10)
    root = tmp_path / "snapshot"
    root.mkdir()
    for number in range(4):
        (root / f"{number}.txt").write_text("12345")
    copies.copy(root, tmp_path / "copy")
    _, files, _ = copies._look_through(root)
    assert [file.content for file in files] == [b"12345", b"12345", None, None]
    assert [(tmp_path / "copy" / f"{number}.txt").read_text() for number in range(4)] == ["12345"] * 4
