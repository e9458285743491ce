"""The commit that a script was started from: read from git, kept on the task, found by it."""

import subprocess
from pathlib import Path

import pytest

from foldline import Task, versioning
from foldline.client import Client
from tests.sdk.processes import python


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    """One with a script, committed."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "train.py").write_text("from foldline import Task\nprint(Task.init('versioning', 'committed').id)\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=one")
    return git(folder, "rev-parse", "HEAD")


def test_what_git_says(work_tree: Path):
    script = work_tree / "train.py"
    assert versioning.of(script) is None
    said = {"repository": "", "branch": "main", "commit": commit(work_tree), "diff": ""}
    assert versioning.of(script) == said
    git(work_tree, "remote", "add", "origin", "https://ana:secret@example.org/r.git")
    script.write_text("changed")
    changed = versioning.of(script)
    assert changed is not None
    assert changed["repository"] == "https://example.org/r.git"
    assert changed["diff"].endswith(" train.py")
    git(work_tree, "checkout", "--quiet", "--detach")
    assert versioning.of(script) == {**changed, "branch": ""}
    git(work_tree, "remote", "set-url", "origin", "git@example.org:r.git")
    assert versioning.of(script) == {**changed, "branch": "", "repository": "git@example.org:r.git"}


def test_outside_a_work_tree_there_is_nothing_to_say(tmp_path: Path):
    assert versioning.of(tmp_path / "train.py") is None


def test_a_task_is_found_by_its_commit(work_tree: Path, server: Client):
    head = commit(work_tree)
    task_id = python("train.py", cwd=work_tree).strip()
    asked = {"_all_": {"fields": ["script.version_num"], "pattern": head}, "status": ["completed"]}
    assert Task.query_tasks(task_filter=asked, additional_return_fields=["script.diff", "script.branch"]) == [
        {"id": task_id, "script.diff": "", "script.branch": "main"}
    ]
    task = Task.get_task(task_id)
    assert task is not None
    assert (task.data.script.version_num, task.get_script()["branch"]) == (head, "main")
    assert task.data["script"]["commit"] == ""
