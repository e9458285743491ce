"""Pipelines whose steps run on this machine, from the script that defines them: server, agent and steps are real."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from foldline.automation.local_agent import LocalAgent
from foldline.client import Client
from foldline.errors import FoldlineError
from tests.sdk.processes import environment, run
from tests.support.waiting import wait_until

SUMS = """
from dataclasses import dataclass

from foldline import Logger, PipelineController, Task


@dataclass
class Data:
    rows: list


def load(rows, offset=1):
    Logger.current_logger().report_scalar("rows", "loaded", rows, 0)
    return Data(list(range(offset, rows + offset))), rows


def total(data, odd, text, tags):
    print("in the step:", text, tags, Task.current_task().name)
    return sum(data.rows) + len(odd)


pipe = PipelineController(name="sums", project="PROJECT")
pipe.add_parameter("rows", 10)
pipe.add_function_step("load", load, {"rows": "${pipeline.rows}"}, ["data", "count"], execution_queue="elsewhere")
pipe.add_function_step(
    "total",
    total,
    {"data": "${load.data}", "odd": {1: 2}, "text": "by ${load.id}", "tags": ["${pipeline.rows}", 1]},
    ["sum"],
)
pipe.set_default_execution_queue("default")
pipe.start_locally(run_pipeline_steps_locally=True)
print("ok", pipe.is_successful(), pipe.get_pipeline_dag()["total"].executed)
"""


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


def write(folder: Path, text: str, project: str) -> str:
    (folder / "pipeline.py").write_text(textwrap.dedent(text).replace("PROJECT", project))
    return "pipeline.py"


def test_values_flow_from_step_to_step(tmp_path: Path, project: str, server: Client):
    done = run(write(tmp_path, SUMS, project), cwd=tmp_path, FOLDLINE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    _, success, task_id = done.stdout.splitlines()[-1].split()
    assert success == "True"
    task = server.tasks.get(task_id)
    assert f"in the step: by {task['hyperparameters']['kwargs']['text']['value'].split()[-1]}" in done.stdout
    assert task["hyperparameters"]["return"]["sum"] == {"value": 56, "type": "int", "description": None}
    [found] = server.runs.list(project=project)
    load = next(step for step in server.runs.steps(found["id"]) if step["name"] == "load")
    assert server.tasks.scalars(load["task_id"])["last"]["rows"]["loaded"]["last"] == 10
    log, _ = server.tasks.logs(task_id)
    assert log.decode().strip() == f"in the step: by {load['task_id']} [10, 1] {task['name']}"
    assert server.runs.verify(found["id"])["ok"] is True


def test_a_step_that_raises_fails_the_run_and_says_why(tmp_path: Path, project: str, server: Client):
    text = """
    from foldline import PipelineController
    def boom(): raise ValueError("no good")
    def after(x): pass
    pipe = PipelineController(name="p", project="PROJECT")
    pipe.add_function_step("boom", boom, function_return=["x"], execution_queue="default")
    pipe.add_function_step("after", after, {"x": "${boom.x}"}, execution_queue="default")
    pipe.start_locally(run_pipeline_steps_locally=True)
    nodes = pipe.get_pipeline_dag()
    print(pipe.is_successful(), nodes["boom"].status, nodes["boom"].reason, nodes["after"].status, sep="|")
    """
    done = run(write(tmp_path, text, project), cwd=tmp_path, FOLDLINE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False|failed|ValueError: no good|skipped"


SLOW = """
import time
from foldline import PipelineController
def wait(): time.sleep(600)
pipe = PipelineController(name="p", project="PROJECT")
pipe.add_function_step("wait", wait, execution_queue="default")
pipe.start_locally(run_pipeline_steps_locally=True)
"""


def slow(tmp_path: Path, project: str, server: Client) -> "tuple[subprocess.Popen[bytes], str]":
    """A script whose step is running, and its run's id."""
    command = [sys.executable, write(tmp_path, SLOW, project)]
    env = environment(FOLDLINE_HOME=str(tmp_path / "home"))
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def running() -> str | None:
        runs = list(server.runs.list(project=project))
        return runs[0]["id"] if runs and runs[0]["step_counts"]["running"] else None

    found = wait_until(running, "the step is running", 60)
    assert found is not None
    return process, found


def test_ctrl_c_stops_the_run(tmp_path: Path, project: str, server: Client):
    process, run_id = slow(tmp_path, project, server)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    assert server.runs.wait(run_id, 30)["status"] == "stopped"


def test_no_agent_outlives_the_script_however_it_ends(tmp_path: Path, project: str, server: Client):
    process, run_id = slow(tmp_path, project, server)
    helpers = psutil.Process(process.pid).children(recursive=True)
    assert any("agent" in argument for one in helpers for argument in one.cmdline())
    process.kill()
    process.wait(60)
    server.runs.stop(run_id)
    _, alive = psutil.wait_procs(helpers, timeout=40)
    assert alive == []


def test_an_agent_that_cannot_start_is_named(server: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOLDLINE_HOME", str(tmp_path / "home"))
    with LocalAgent("no-such-queue", server.url) as agent:
        wait_until(lambda: _ended(agent), "the agent has ended", 60)
        with pytest.raises(FoldlineError, match="no-such-queue"):
            agent.check()


def _ended(agent: LocalAgent) -> bool:
    try:
        agent.check()
    except FoldlineError:
        return True
    return False
