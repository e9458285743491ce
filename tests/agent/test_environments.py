"""Environments for tasks that ask for packages. What is installed is a wheel made here: no index is asked."""

import os
import sys
import threading
import time
import zipfile
from importlib import metadata

import pytest

from foldline.agent import environments, spawners, workspace
from foldline.agent.environments import READY, evict, get, has_all, satisfied, wanted
from foldline.agent.tools import Stopped, Tools
from foldline.agent.workspace import CannotRun, Workspace
from tests.agent.canned import DEADLINE, claim_for, inline
from tests.agent.wheels import wheel

HTTPX2 = metadata.version("httpx2")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Whatever this machine is configured to ask, nothing is asked here."""
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.fixture
def space(tmp_path):
    work = tmp_path / "attempt" / "work"
    work.mkdir(parents=True)
    return Workspace(work, work)


@pytest.fixture
def tools(tmp_path):
    log = tmp_path / "log"
    log.touch()
    return Tools(log, workspace.shared_environment("http://127.0.0.1:9", None, "s" * 32))


# What is asked for


def test_the_lines_of_requirements_are_sorted_and_stripped(space):
    text = "# from a freeze\nnumpy == 2.0  # newest\n\nattrs\\\n>=20\nfoldline==0.1\nattrs>=20\n"
    assert wanted({"pip": text}, space) == ["attrs >=20", "attrs>=20", "numpy == 2.0"]
    assert wanted({"pip": ["b", "a"]}, space) == ["a", "b"]
    assert wanted({}, space) == []


def test_files_that_requirements_include_are_found_among_the_sources(space):
    (space.work / "more.txt").write_text("attrs\n-r other.txt\n-r more.txt\n")
    (space.work / "other.txt").write_text("numpy\n")
    assert wanted({"pip": "-r more.txt\npandas"}, space) == ["attrs", "numpy", "pandas"]


@pytest.mark.parametrize(
    ("line", "sentence"), [("-r absent.txt", "not among the task's sources"), ("-r ../../log", "leads out")]
)
def test_a_file_that_is_not_there_is_named(space, line, sentence):
    with pytest.raises(CannotRun, match=sentence):
        wanted({"pip": line}, space)


SATISFIED = [
    ("httpx2", True),
    (f"httpx2=={HTTPX2}", True),
    (f"httpx2 == {HTTPX2}", True),
    ("httpx2==0.0.1", False),
    ("nobody-has-this", False),
    ("httpx2[socks]", False),
    ("--pre", False),
    ("./lib", False),
]


@pytest.mark.parametrize(("line", "there"), [*SATISFIED, ("httpx2>=2", True), ("x; python_version < '3'", True)])
def test_what_the_agent_has_already_is_told_from_what_it_has_not(line, there):
    assert has_all([line]) == there


@pytest.mark.parametrize(("line", "there"), [*SATISFIED, ("httpx2>=2", False)])
def test_without_packaging_only_the_simple_forms_are_judged(line, there, monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert has_all([line]) == there


def test_what_is_installed_later_is_seen(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    assert not satisfied(["tiny"])
    with zipfile.ZipFile(wheel(tmp_path)) as archive:
        archive.extractall(folder)
    assert satisfied(["tiny"])


# Making them


def test_an_environment_is_made_once_and_has_the_packages_and_the_sdk(tmp_path, space, tools):
    cache, lines = tmp_path / "cache", [f"tiny @ file://{wheel(tmp_path)}"]
    first = get(cache, lines, space, tools)
    made = os.stat(first.folder / "pyvenv.cfg")
    second = get(cache, lines, space, tools)
    assert first.folder == second.folder
    assert os.stat(second.folder / "pyvenv.cfg").st_ino == made.st_ino
    said = tools.run(
        [first.python, "-c", "import tiny, httpx2, foldline; print(tiny.VALUE, httpx2.__name__, foldline.__name__)"],
        cwd=tmp_path,
        patience=DEADLINE,
    )
    assert said.text.splitlines()[-1] == "of the wheel httpx2 foldline"
    for each in (first, second):
        each.release()


def test_those_that_want_the_same_at_once_wait_for_one_build(tmp_path, space, tools, monkeypatch):
    built = []
    sound = environments._build

    def build(*arguments):
        built.append(1)
        sound(*arguments)

    monkeypatch.setattr(environments, "_build", build)
    lines, folders = [f"tiny @ file://{wheel(tmp_path)}"], []

    def want():
        environment = get(tmp_path / "cache", lines, space, tools)
        folders.append(environment.folder)
        environment.release()

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert (len(set(folders)), len(folders), len(built)) == (1, 3, 1)


def test_the_same_path_with_another_package_is_another_environment(tmp_path, space):
    lines = [f"tiny @ file://{wheel(tmp_path)}"]
    before = environments._digest(lines, space)
    assert environments._digest(lines, space) == before
    wheel(tmp_path, text="VALUE = 'newer'\n")
    assert environments._digest(lines, space) != before
    assert environments._digest(["./lib"], space) != environments._digest(["./lib2"], space)


def test_a_half_built_environment_is_made_anew(tmp_path, space, tools):
    cache, lines = tmp_path / "cache", [f"tiny @ file://{wheel(tmp_path)}"]
    half = cache / environments._digest(lines, space)
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").write_text("nothing to run")
    environment = get(cache, lines, space, tools)
    assert (half / READY).is_file()
    assert tools.run([environment.python, "-c", "import tiny"], cwd=tmp_path, patience=DEADLINE).code == 0
    environment.release()


def test_a_failed_build_says_what_uv_said_and_leaves_nothing(tmp_path, space, tools):
    with pytest.raises(CannotRun, match=r"could not be installed: .*nobody-has-this"):
        get(tmp_path / "cache", ["nobody-has-this==9"], space, tools)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert "nobody-has-this" in tools.output.read_text()


def test_without_uv_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CannotRun, match=r"pip install 'foldline\[agent\]'"):
        environments.uv()


def test_who_is_stopped_while_another_builds_waits_no_longer(tmp_path, space, tools):
    lines = [f"tiny @ file://{wheel(tmp_path)}"]
    lock = tools.lock(tmp_path / "cache" / f"{environments._digest(lines, space)}.lock", environments.fcntl.LOCK_EX)
    tools.stopping.set()
    with pytest.raises(Stopped):
        get(tmp_path / "cache", lines, space, tools)
    os.close(lock)


def test_the_longest_unused_are_dropped_but_none_that_is_in_use(tmp_path, tools):
    now = time.time()
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / READY).touch()
        os.utime(tmp_path / str(number) / READY, (now + number, now + number))
    (tmp_path / "half").mkdir()
    held = tools.lock(tmp_path / "0.lock", environments.fcntl.LOCK_SH)
    evict(tmp_path, most=2)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["0", "3", "4"]
    os.close(held)
    evict(tmp_path, most=2)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["3", "4"]


# At work


def script_with(text, lines):
    claim = inline(text, name=text[:40])
    claim["task"]["script"]["requirements"] = {"pip": "\n".join(lines)}
    return claim


def test_a_script_and_a_function_run_in_their_environment(server, start_agent, tmp_path):
    lines = [f"tiny @ file://{wheel(tmp_path)}"]
    script = script_with("import os, shutil, tiny; print(tiny.VALUE, os.environ['VIRTUAL_ENV'])", lines)
    source = server.store_sources(
        {"steps.py": "import os, tiny\nparent = os.getpid()\ndef step(): print(tiny.VALUE, parent == os.getppid())"}
    )
    function = claim_for(
        {"entry_point": "steps.py", "function": "step", "source": source, "requirements": {"pip": lines}}, name="f"
    )
    server.give(script, function)
    start_agent(slots=2)
    reports = server.wait_for_reports(2)
    assert {report["status"] for report in reports} == {"completed"}, server.logs
    assert str(tmp_path / "home" / "cache" / "environments") in server.log_of(script).decode().splitlines()[-1]
    assert server.log_of(function).splitlines()[-1] == f"of the wheel {spawners.FORK_IS_SAFE}".encode()


def test_what_the_agent_has_costs_no_environment(server, start_agent, tmp_path):
    claim = script_with("import httpx2, os; print(os.environ.get('VIRTUAL_ENV'))", ["httpx2>=2"])
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert not (tmp_path / "home" / "cache" / "environments").exists()


def test_an_attempt_whose_packages_cannot_be_had_fails_with_the_reason(server, start_agent):
    claim = script_with("pass", ["nobody-has-this==9"])
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert report["reason"].startswith("the packages it asks for could not be installed: ")
    assert "nobody-has-this" in report["reason"]
    assert b"nobody-has-this" in server.log_of(claim)
