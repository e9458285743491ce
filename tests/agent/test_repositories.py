"""Code from repositories: local ones, checked out of the agent's mirror of them."""

import os
import subprocess
import threading

import pytest

from foldline.agent import repositories, workspace
from foldline.agent.repositories import check_out
from foldline.agent.tools import Stopped, Tools
from foldline.agent.workspace import CannotRun
from tests.agent.canned import DEADLINE, claim_for

SETTINGS = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


class Repository:
    """A work tree with one commit on main, one more on dev, and a tag of the first."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet")
        self.first = self.commit("first", "step.py", "print('first')\n")
        self.git("tag", "-a", "v1", "-m", "one")
        self.git("checkout", "--quiet", "-b", "dev")
        self.dev = self.commit("dev", "step.py", "print('dev')\n")
        self.git("checkout", "--quiet", "main")
        self.url = f"file://{folder}"

    def git(self, *arguments):
        done = subprocess.run(
            ["git", *SETTINGS, *arguments], cwd=self.folder, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()

    def commit(self, message, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "origin")


@pytest.fixture
def tools(tmp_path):
    log = tmp_path / "log"
    log.touch()
    return Tools(log, workspace.shared_environment("http://127.0.0.1:9", None, "s" * 32))


@pytest.fixture
def out(tmp_path, tools):
    """Check out into a new folder: the commit and the folder."""
    numbers = iter(range(100))

    def out(url, **script):
        folder = tmp_path / f"attempt-{next(numbers)}"
        folder.mkdir()
        return check_out(tmp_path / "mirrors", {"repository": url, **script}, folder / "work", tools), folder / "work"

    (tmp_path / "mirrors").mkdir()
    return out


def test_commit_comes_before_tag_and_tag_before_branch_and_else_it_is_the_head(repository, out):
    newest = repository.commit("second", "step.py", "print('second')\n")
    assert out(repository.url)[0] == newest
    assert out(repository.url, branch="dev")[0] == repository.dev
    assert out(repository.url, branch="origin/dev")[0] == repository.dev
    assert out(repository.url, branch="dev", tag="v1")[0] == repository.first
    commit, work = out(repository.url, branch="dev", tag="v1", commit=newest[:10])
    assert commit == newest
    assert (work / "step.py").read_text() == "print('second')\n"


def test_a_path_is_a_repository_too_and_the_clone_knows_where_it_came_from(repository, out):
    _, work = out(str(repository.folder), branch="dev")
    done = subprocess.run(["git", "remote", "get-url", "origin"], cwd=work, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(repository.folder)


def test_a_branch_is_always_the_newest_and_a_known_commit_asks_nobody(repository, out):
    out(repository.url, branch="main")
    newest = repository.commit("second", "step.py", "")
    assert out(repository.url, branch="main")[0] == newest
    repository.folder.rename(repository.folder.with_name("gone"))
    assert out(repository.url, commit=newest)[0] == newest
    with pytest.raises(CannotRun, match="could not be checked out"):
        out(repository.url, branch="main")


def test_a_mirror_that_was_not_finished_is_made_anew(repository, out, tmp_path):
    out(repository.url)
    [mirror] = (tmp_path / "mirrors").glob("*.git")
    (mirror / "complete").unlink()
    (mirror / "HEAD").write_text("half")
    assert out(repository.url)[0] == repository.first


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ({"branch": "nobody"}, r"there is no branch 'nobody' in file:.*push it"),
        ({"tag": "v9"}, "there is no tag 'v9'"),
        ({"commit": "1" * 40}, "there is no commit '1111"),
        ({"branch": "--upload-pack=evil"}, "is no name of"),
        ({"diff": "nothing like a diff"}, "does not apply"),
    ],
)
def test_what_cannot_be_checked_out_is_said(repository, out, script, sentence):
    with pytest.raises(CannotRun, match=sentence):
        out(repository.url, **script)


def test_credentials_in_an_address_are_not_repeated(out, tools):
    with pytest.raises(CannotRun) as failure:
        out("https://name:secret@127.0.0.1:9/x.git")
    assert "127.0.0.1:9/x.git could not be checked out" in str(failure.value)
    assert "secret" not in str(failure.value) + tools.output.read_text()


def test_a_submodule_comes_along(repository, out, tmp_path, monkeypatch):
    inner = Repository(tmp_path / "inner")
    # The machine's own configuration decides what git may fetch.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.file.allow")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "always")
    repository.git("submodule", "--quiet", "add", inner.url, "lib")
    repository.git("commit", "--quiet", "-m", "with lib")
    folder = tmp_path / "attempt"
    folder.mkdir()
    log = tmp_path / "log"
    fresh = Tools(log, workspace.shared_environment("http://127.0.0.1:9", None, "s" * 32))
    check_out(tmp_path / "mirrors", {"repository": repository.url}, folder / "work", fresh)
    assert (folder / "work" / "lib" / "step.py").is_file()


def test_what_takes_too_long_is_given_up_and_what_is_stopped_ends(tmp_path, tools, monkeypatch):
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(CannotRun, match=r"slow was given up after 0 s"):
        tools.run([str(program)], cwd=tmp_path, patience=0.3)
    threading.Timer(0.3, tools.stopping.set).start()
    with pytest.raises(Stopped):
        tools.run([str(program)], cwd=tmp_path, patience=DEADLINE)


def test_without_git_it_is_said(tmp_path, tools):
    bare = Tools(tools.output, {**tools.environment, "PATH": "/nowhere"})
    with pytest.raises(CannotRun, match="git is not installed"):
        repositories.check_out(tmp_path, {"repository": "x"}, tmp_path / "work", bare)


# At work


def give(server, script, **more):
    claim = claim_for({"working_dir": ".", "source": None, "arguments": [], **script}, **more)
    server.give(claim)
    return claim


def test_a_script_runs_in_its_checkout_with_its_diff_and_the_commit_is_recorded(server, start_agent, repository):
    commit = repository.commit("jobs", "jobs/train.py", "import os, sys\nprint(os.getcwd()[-5:], sys.argv[1:])\n")
    diff = "--- a/jobs/train.py\n+++ b/jobs/train.py\n@@ -1,2 +1,2 @@\n import os, sys\n"
    diff += "-print(os.getcwd()[-5:], sys.argv[1:])\n+print('edited', os.getcwd()[-5:], sys.argv[1:])"
    script = {"repository": repository.url, "branch": "main", "entry_point": "train.py", "working_dir": "jobs"}
    claim = give(server, script | {"diff": diff, "arguments": ["--lr", "1"]})
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim).splitlines()[-1] == b"edited /jobs ['--lr', '1']"
    assert server.edits[claim["task_id"]] == [{"runtime": {"commit": commit}, "attempt": 1}]


def test_a_module_of_the_checkout_runs_as_python_m(server, start_agent, repository):
    repository.commit("pkg", "src/pkg/__init__.py", "")
    repository.commit("pkg", "src/pkg/data.py", "VALUE = 7\n")
    repository.commit("pkg", "src/pkg/train.py", "from .data import VALUE\nprint(VALUE)\n")
    script = {"repository": repository.url, "entry_point": "-m pkg.train", "working_dir": "src"}
    claim = give(server, script)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim).splitlines()[-1] == b"7"


def test_a_function_step_runs_inside_a_repository(server, start_agent, repository):
    repository.commit("lib", "lib/inside.py", "VALUE = 'of the repository'\n")
    text = "import os\ndef step():\n    import inside\n    print(inside.VALUE, os.getcwd()[-9:])\n"
    source = server.store_sources({"pipeline.py": text})
    script = {"repository": repository.url, "source": source, "entry_point": "pipeline.py", "function": "step"}
    claim = give(server, script | {"working_dir": "lib"})
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim).splitlines()[-1] == b"of the repository /work/lib"


def test_a_function_of_the_repository_itself_needs_no_sources(server, start_agent, repository):
    repository.commit("pkg", "pkg/steps.py", "def step(): print(__name__)\n")
    claim = give(server, {"repository": repository.url, "module": "pkg.steps", "function": "step"})
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim).splitlines()[-1] == b"pkg.steps"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"repository": "{url}", "branch": "nobody"}, "there is no branch 'nobody'"),
        ({"repository": "{url}", "entry_point": "absent.py", "diff": ""}, "the entry point 'absent.py' is not among"),
        ({"repository": "{url}", "working_dir": "../.."}, "leads out of the task's sources"),
        ({"repository": "{url}", "working_dir": "absent"}, "the working_dir 'absent' is not a folder"),
        ({"branch": "dev"}, "the task names the branch 'dev' but no repository"),
    ],
)
def test_what_is_wrong_with_the_script_is_the_reason(server, start_agent, repository, script, reason):
    script = {"entry_point": "step.py"} | script
    if "repository" in script:
        script["repository"] = repository.url
    claim = give(server, script)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert reason in report["reason"]
    assert os.fsencode(report["reason"]) in server.log_of(claim)
