"""Containers: a docker command that writes down how it was called and runs what it was to run."""

import json
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from foldline.agent import agent as agent_module
from foldline.agent.agent import AgentOptions
from foldline.errors import FoldlineError
from tests.agent.canned import DEADLINE, claim_for, inline
from tests.support.waiting import wait_until

FAKE = """\
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ.get("FOLDLINE_TOKEN")]) + "\\n")
if sys.argv[1] == "run":
    if "no-such-image" in sys.argv:
        print("docker: Error response from daemon: no such image.", file=sys.stderr)
        sys.exit(125)
    os.chdir(sys.argv[sys.argv.index("--workdir") + 1])
    os.execvp("sh", ["sh", *sys.argv[sys.argv.index("-c"):]])
"""


class Docker:
    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        code, program = folder / "docker.py", folder / "docker"
        code.write_text(FAKE.format(calls=str(self._calls)))
        # The interpreter's path may hold a space, which no #! line takes.
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(code))} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def calls(self):
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []

    def run_call(self):
        [call] = [words for words, _ in self.calls() if words[0] == "run"]
        return call


@pytest.fixture
def docker(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    # What the image brings: a Python that has what the SDK needs, and installs nothing.
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] && exec echo "$@"\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    return Docker(folder)


def values(call, option):
    return [call[place + 1] for place, word in enumerate(call) if word == option]


CONTAINER = {"image": "python:3.13", "arguments": "--gpus all", "setup_script": "echo set up"}


def test_a_script_runs_in_its_image(server, start_agent, docker):
    claim = inline("import os, sys; print(os.environ['FOLDLINE_TASK_ID'], sys.argv[1:])", container=CONTAINER)
    claim["task"]["script"]["arguments"] = ["--name", "two words"]
    server.give(claim)
    start_agent(docker=True)
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim).decode().splitlines() == [
        "set up",
        f"{claim['task_id']} ['--name', 'two words']",
    ]
    call = docker.run_call()
    assert values(call, "--gpus") == ["all"]
    assert values(call, "--network") == ["host"]
    assert {"FOLDLINE_TASK_ID", "FOLDLINE_TOKEN", "FOLDLINE_URL", "PYTHONPATH"} <= set(values(call, "--env"))
    assert call[-3] == "python:3.13"
    assert any(each.endswith(":/opt/foldline/foldline:ro") for each in values(call, "--volume"))


def test_the_token_stands_on_no_command_line_and_the_container_is_removed(server, start_agent, docker):
    claim = inline("pass", container=CONTAINER)
    server.give(claim)
    start_agent(docker=True)
    server.wait_for_reports()
    calls = docker.calls()
    assert [words[0] for words, _ in calls] == ["run", "rm"]
    assert all("secret-token" not in word for words, _ in calls for word in words)
    assert calls[0][1] == "secret-token"
    assert calls[1][0][-1] == values(calls[0][0], "--name")[0] == f"foldline-{claim['task_id']}-1"


def test_a_function_runs_in_an_image_and_finds_its_sources(server, start_agent, docker):
    source = server.store_sources({"steps.py": "def step(n): return 2 * n\n"})
    claim = claim_for(
        {"entry_point": "steps.py", "function": "step", "source": source, "returns": ["twice"]},
        hyperparameters={"kwargs": {"n": {"value": 21}}},
        container={"image": "python:3.13", "arguments": "--network none", "setup_script": ""},
    )
    server.give(claim)
    start_agent(docker=True)
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.edits[claim["task_id"]][0]["hyperparameters"]["return"]["twice"]["value"] == 42
    assert values(docker.run_call(), "--network") == ["none"], "the author's word on it is the only one"
    assert any(each.endswith(":ro") and source in each for each in values(docker.run_call(), "--volume"))


def test_packages_are_installed_inside(server, start_agent, docker):
    claim = inline("print('ran')", container={"image": "python:3.13"})
    claim["task"]["script"]["requirements"] = {"pip": "httpx2>=2\n"}
    server.give(claim)
    start_agent(docker=True)
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    installed, ran = server.log_of(claim).decode().splitlines()
    assert installed.startswith("-m pip install --quiet -r ")
    assert ran == "ran"


def test_a_stop_reaches_what_runs_inside(server, start_agent, docker):
    text = "import time\nfrom foldline import Task\nTask.init('p', 't')\nprint('in')\ntime.sleep(60)"
    claim = inline(text, container=CONTAINER)
    server.give(claim)
    start_agent(docker=True)
    wait_until(lambda: b"in\n" in server.log_of(claim), "it to run", DEADLINE)
    server.stop(claim)
    [report] = server.wait_for_reports()
    assert report["status"] == "stopped"
    wait_until(lambda: docker.calls()[-1][0][0] == "rm", "the container to be removed", DEADLINE)


def test_what_docker_itself_refuses_is_the_reason(server, start_agent, docker):
    claim = inline("pass", container={"image": "no-such-image"})
    server.give(claim)
    start_agent(docker=True)
    [report] = server.wait_for_reports()
    assert (report["status"], report["exit_code"]) == ("failed", 125)
    reason = "the container could not be started: docker: Error response from daemon: no such image."
    assert report["reason"] == reason


def test_without_the_flag_the_image_is_named_and_ignored(server, start_agent, docker):
    claim = inline("print('ran')", container=CONTAINER)
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed"
    assert server.log_of(claim) == (
        b"not run in the container python:3.13: this agent was started without --docker\nran\n"
    )
    assert docker.calls() == []


def test_a_task_without_an_image_runs_as_ever(server, start_agent, docker):
    server.give(inline("pass", container={"image": "", "arguments": "", "setup_script": ""}))
    start_agent(docker=True)
    [report] = server.wait_for_reports()
    assert report["status"] == "completed"
    assert docker.calls() == []


def test_an_agent_without_docker_says_so_at_its_start(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FoldlineError, match="--docker needs the docker command"):
        agent_module.run(AgentOptions(docker=True, home=tmp_path))
