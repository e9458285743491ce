"""Pipelines with Python of their own, from the scripts that define them: one server, one agent, real hosts."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from foldline import client as client_module
from foldline.artifacts import Artifacts
from tests.support.house import ROOT, House
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("controller runs")

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server, and an agent of the steps and of the hosts."""
    with House(tmp_path_factory.mktemp("controller")) as house:
        house.serve()
        house.agent("-q", "default", "-q", "services", "--slots", "8")
        yield house


@pytest.fixture
def house(home: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The same, as the server of this process too."""
    monkeypatch.setattr(client_module, "_shared", {})
    monkeypatch.setenv("FOLDLINE_URL", home.url)
    yield home
    client_module.close_shared()


def submitted(house: House, folder: Path, text: str) -> dict[str, Any]:
    """The run that the script `text` has submitted, once it has ended; the script's own process ended with 0."""
    (folder / "pipeline.py").write_text(textwrap.dedent(text))
    return ended(house, folder / "pipeline.py")


def ended(house: House, script: Path, *arguments: str) -> dict[str, Any]:
    done = run(house, script, *arguments)
    assert done.returncode == 0, done.stderr
    return house.wait(run_id_in(done.stdout), 120)


def run(house: House, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script.name, *arguments]
    return subprocess.run(
        command, cwd=script.parent, env=house.env, capture_output=True, text=True, timeout=120, check=False
    )


def run_id_in(output: str) -> str:
    return next(line.partition("(")[2].partition(")")[0] for line in output.splitlines() if line.startswith("Run "))


def artifacts(house: House, identifier: str) -> Artifacts:
    return Artifacts(house.client.tasks.get(identifier)["artifacts"], house.client)


def host_of(house: House, run_id: str) -> dict[str, Any]:
    """The run's host once it has ended, after the run itself."""

    def over() -> dict[str, Any] | None:
        host = house.client.runs.get(run_id)["host"]
        return host if host["status"] == "ended" else None

    return wait_until(over, "the host has ended") or {}


def log_of(house: House, run_id: str) -> str:
    host_of(house, run_id)
    return house.client.tasks.logs(run_id)[0].decode()


def check(house: House, found: Mapping[str, Any]) -> None:
    answer = house.client.runs.verify(found["id"])
    assert answer["ok"], answer["differences"]


ALL = """
import os
import sys

from foldline import PipelineController, Task

HERE = os.path.dirname(os.path.abspath(__file__))


def double(x):
    return x * 2


def flaky(name):
    if os.environ["FOLDLINE_ATTEMPT"] == "1":
        raise RuntimeError("the first time never works")
    PipelineController.upload_artifact(f"from the step {name}", {"attempt": os.environ["FOLDLINE_ATTEMPT"]})
    return 1


def change(pipeline, node, parameters):
    parameters["kwargs/x"] = 41
    return True


def keep(pipeline, node):
    x = node.job.task.get_parameters()["kwargs/x"]
    pipeline.upload_artifact(f"after {node.name}", {"status": node.status, "executed": node.executed, "x": x})


def edit(pipeline, node, parameters):
    if node.name == "edited":
        node.job.task.set_parameter("kwargs/x", 5)


task = Task.init("callbacks", "what submits")
settings = task.connect({"depth": 2})
pipe = PipelineController("all", "callbacks")
pipe.add_parameter("n", 3)
pipe.set_default_execution_queue("default")
pipe.add_function_step(
    "changed",
    double,
    {"x": "${pipeline.n}"},
    ["y"],
    pre_execute_callback=change,
    post_execute_callback=keep,
    status_change_callback=lambda pipeline, node, before: print("status:", before, node.status, flush=True),
)
pipe.add_function_step("spared", double, {"x": 1}, ["y"], pre_execute_callback=lambda pipeline, node, parameters: False)
pipe.add_function_step("child of spared", double, {"x": "${spared.y}"}, ["y"])
pipe.add_function_step("edited", double, {"x": 1}, ["y"])
pipe.add_function_step("flaky", flaky, {"name": "flaky"}, retry_on_failure=lambda pipeline, node, retries: retries < 1)
pipe.add_step("made", base_task_factory=lambda node: Task.create("callbacks", "made", script=f"{HERE}/one.py"))
pipe.start(step_task_created_callback=edit)
# From here on this is the host.
pipe.upload_artifact("after the end", [pipe.is_successful(), pipe.get_parameters(), sorted(pipe.get_processed_nodes())])
pipe.upload_artifact("who", {"task": task.id, "pipeline": pipe.id, "settings": settings})
pipe.upload_model("weights", os.path.join(HERE, "one.py"))
"""


def test_each_callback_is_called_by_a_host_and_what_follows_start_runs_there(house: House, tmp_path: Path):
    (tmp_path / "one.py").write_text("print('one')\n")
    found = submitted(house, tmp_path, ALL)
    assert (found["status"], found["reason"]) == ("completed", "")
    steps = house.steps(found["id"])
    assert {name: step["status"] for name, step in steps.items()} == {
        "changed": "completed",
        "spared": "skipped",
        "child of spared": "skipped",
        "edited": "completed",
        "flaky": "completed",
        "made": "completed",
    }
    assert (steps["spared"]["reason"], steps["flaky"]["retries"]) == ("pre_execute_callback returned False", 1)
    log = log_of(house, found["id"])
    assert [line for line in log.splitlines() if line.startswith("status:")] == [
        "status: pending queued",
        "status: queued running",
        "status: running completed",
    ]
    stored = artifacts(house, found["id"])
    changed = {"status": "completed", "executed": steps["changed"]["task_id"], "x": 41}
    assert stored["after changed"].get() == changed
    assert stored["from the step flaky"].get() == {"attempt": "2"}
    assert stored["who"].get() == {"task": found["id"], "pipeline": found["id"], "settings": {"depth": 2}}
    record = house.client.tasks.get(found["id"])
    assert record["hyperparameters"]["General"]["depth"]["value"] == 2
    assert [model["name"] for model in record["models"]["output"]] == ["weights"]
    assert stored["after the end"].get() == [True, {"n": 3}, ["changed", "edited", "flaky", "made"]]
    returned = house.client.tasks.get(steps["edited"]["task_id"])["hyperparameters"]["return"]["y"]["value"]
    assert returned == 10
    assert house.client.tasks.get(steps["made"]["task_id"])["name"] == "made"
    check(house, found)


def test_a_clone_is_hosted_like_the_run_itself(house: House, tmp_path: Path):
    (tmp_path / "one.py").write_text("print('one')\n")
    first = submitted(house, tmp_path, ALL)
    from foldline import PipelineController

    again = PipelineController.clone(first["id"], name="again")
    assert PipelineController.enqueue(again)["status"] in ("running", "queued")
    assert again.wait(timeout=2)
    assert again.is_successful()
    assert artifacts(house, str(again.id))["after changed"].get()["x"] == 41


@pytest.mark.parametrize(
    ("callback", "step", "outcome", "reason"),
    [
        ("def before(*_): raise ValueError('no good')", "failed", "failed", "raised ValueError: no good"),
        ("def before(pipeline, *_): pipeline.stop()", "skipped", "stopped", "stopped by its author"),
        ("def before(pipeline, *_): pipeline.stop(mark_failed=True)", "skipped", "failed", "stopped by its author"),
    ],
)
def test_a_callback_that_fails_or_stops_the_run(
    house: House, tmp_path: Path, callback: str, step: str, outcome: str, reason: str
):
    text = f"""
from foldline import PipelineController
def work(): pass
{callback}
pipe = PipelineController("p", "callbacks")
pipe.add_function_step("a", work, pre_execute_callback=before, execution_queue="default")
pipe.start()
"""
    found = submitted(house, tmp_path, text)
    assert found["status"] == outcome
    steps = house.steps(found["id"])
    assert steps["a"]["status"] == step
    assert reason in found["reason"]
    if step == "failed":
        assert "ValueError: no good" in log_of(house, found["id"])
    check(house, found)


KILLED = """
import os, pathlib, time
from foldline import PipelineController
HERE = pathlib.Path("FOLDER")
def work(x): return x
def before(pipeline, node, parameters):
    attempt = os.environ["FOLDLINE_ATTEMPT"]
    (HERE / f"host {attempt} was asked about {node.name}").touch()
    if node.name == "b" and attempt == "1":
        time.sleep(600)
pipe = PipelineController("killed", "callbacks")
pipe.set_default_execution_queue("default")
pipe.add_function_step("a", work, {"x": 1}, ["y"], pre_execute_callback=before)
pipe.add_function_step("b", work, {"x": "${a.y}"}, ["y"], pre_execute_callback=before)
pipe.start(queue="hosts")
pipe.upload_artifact("after", os.environ["FOLDLINE_ATTEMPT"])
"""


def test_a_host_whose_machine_is_gone_is_replaced_and_asked_what_is_open(house: House, tmp_path: Path):
    house.client.queues.create("hosts")
    (tmp_path / "pipeline.py").write_text(KILLED.replace("FOLDER", str(tmp_path)))
    agent = house.agent("-q", "hosts", "--name", "for hosts")
    done = run(house, tmp_path / "pipeline.py")
    assert done.returncode == 0, done.stderr
    run_id = run_id_in(done.stdout)
    wait_until((tmp_path / "host 1 was asked about b").exists, "the first host is asked about b", 60)
    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait()
    # An agent of the same name: what its predecessor held is lost at once, not when the lease is over.
    house.agent("-q", "hosts", "--name", "for hosts")
    found = house.wait(run_id, 120)
    assert (found["status"], found["reason"]) == ("completed", "")
    assert host_of(house, run_id)["attempt"] == 2
    asked = sorted(mark.name for mark in tmp_path.glob("host *"))
    assert asked == ["host 1 was asked about a", "host 1 was asked about b", "host 2 was asked about b"]
    assert artifacts(house, run_id)["after"].get() == "2"
    check(house, found)


LOCAL = """
import sys
from foldline import PipelineController
def work(x): return x + 1
def before(pipeline, node, parameters):
    print("before", node.name, flush=True)
    parameters["kwargs/x"] = 10
pipe = PipelineController("local", "callbacks")
pipe.set_default_execution_queue("default")
pipe.add_function_step("a", work, {"x": 1}, ["y"], pre_execute_callback=before)
pipe.start_locally()
print("ended", pipe.is_successful(), pipe.get_pipeline_dag()["a"].job.task.get_parameters()["return/y"])
"""


def test_start_locally_hosts_the_run_in_the_calling_process(house: House, tmp_path: Path):
    (tmp_path / "pipeline.py").write_text(LOCAL)
    done = run(house, tmp_path / "pipeline.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[-2], lines[-1]) == ("before a", "ended True 11")
    found = house.client.runs.get(run_id_in(done.stdout))
    assert host_of(house, found["id"])["agent"] is None
    assert "before a" in house.client.tasks.logs(found["id"])[0].decode()
    check(house, found)


def test_ctrl_c_stops_a_run_that_is_hosted_here(house: House, tmp_path: Path):
    text = LOCAL.replace('print("before", node.name, flush=True)', "import time; time.sleep(600)")
    (tmp_path / "pipeline.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "pipeline.py"], cwd=tmp_path, env=house.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    run_id = run_id_in(process.stdout.readline().decode())
    wait_until(lambda: house.client.runs.get(run_id)["open_hooks"], "the callback is asked for", 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    process.stdout.close()
    assert house.wait(run_id, 30)["status"] == "stopped"


CODEC = """
import json
from foldline import PipelineController
class Point:
    def __init__(self, x): self.x = x
def to_bytes(value): return json.dumps({"x": value.x}).encode()
def from_bytes(data): return Point(json.loads(data)["x"])
def make(start): return Point(start.x + 1)
def use(point): return point.x
pipe = PipelineController(
    "codec", "callbacks", artifact_serialization_function=to_bytes, artifact_deserialization_function=from_bytes
)
pipe.set_default_execution_queue("default")
pipe.add_function_step("make", make, {"start": Point(4)}, ["point"])
pipe.add_function_step("use", use, {"point": "${make.point}"}, ["x"])
pipe.start()
"""


def test_values_pass_between_steps_in_the_pipelines_own_bytes(house: House, tmp_path: Path):
    found = submitted(house, tmp_path, CODEC)
    assert (found["status"], found["reason"]) == ("completed", "")
    steps = house.steps(found["id"])
    stored = artifacts(house, steps["make"]["task_id"])["point"]
    assert stored.format == "custom"
    local = stored.get_local_copy()
    assert local is not None
    assert json.loads(Path(local).read_text()) == {"x": 5}
    assert house.client.tasks.get(steps["use"]["task_id"])["hyperparameters"]["return"]["x"]["value"] == 5


def test_a_pipeline_made_from_a_script_runs_it_elsewhere(house: House, tmp_path: Path):
    from foldline import PipelineController

    (tmp_path / "pipeline.py").write_text(CODEC)
    made = PipelineController.create("callbacks", "from a script", script=str(tmp_path / "pipeline.py"))
    made.start(queue="services")
    assert made.wait(timeout=2)
    assert made.is_successful(), made.task.get_status_message()  # pyright: ignore
    [inner] = house.client.runs.list(origin=made.id)
    assert (inner["name"].split(" #")[0], inner["status"]) == ("codec", "completed")


# The examples, on the data that they are about.


def test_example_hyperparameters(house: House):
    found = ended(house, EXAMPLES / "hyperparameters" / "pipeline.py")
    assert (found["status"], found["reason"]) == ("completed", "")
    steps = house.steps(found["id"])
    trained = [name for name, step in steps.items() if name not in ("split", "pick best")]
    assert len(trained) >= 12
    best = artifacts(house, found["id"])["best"].get()
    results = [artifacts(house, steps[name]["task_id"])["result"].get() for name in trained]
    assert best["folds"] == max(result["folds"] for result in results)
    assert best["accuracy"] > 0.9
    copied = house.client.tasks.scalars(found["id"])["last"]["test accuracy"]
    assert {name: series["last"] for name, series in copied.items()} == {
        name: result["accuracy"] for name, result in zip(trained, results, strict=True)
    }


def test_example_callbacks(house: House):
    found = ended(house, EXAMPLES / "callbacks" / "pipeline.py")
    assert (found["status"], found["reason"]) == ("completed", "")
    statuses = {name: step["status"] for name, step in house.steps(found["id"]).items()}
    assert statuses == {
        "load": "completed",
        "depth 1": "completed",
        "depth 2": "completed",
        "depth 3": "skipped",
        "depth 4": "skipped",
    }
    log = log_of(house, found["id"])
    assert "depth 3 is not needed" in log
    assert log.splitlines()[-1] == "trained: depth 1, depth 2"
    accuracy = house.client.tasks.scalars(found["id"], title="trees", series="accuracy")["points"]
    assert [iteration for iteration, _ in accuracy] == [1, 2]
    assert accuracy[0][1] < 0.9 <= accuracy[1][1]


def test_example_nested(house: House):
    inner = run(house, EXAMPLES / "nested" / "inner.py")
    assert inner.returncode == 0, inner.stderr
    found = ended(house, EXAMPLES / "nested" / "outer.py")
    assert (found["status"], found["reason"]) == ("completed", "")
    steps = house.steps(found["id"])
    assert [steps[name]["kind"] for name in ("logistic", "bayes", "compare")] == ["pipeline", "pipeline", "task"]
    reports = {name: artifacts(house, steps[name]["run_id"])["report"].get() for name in ("logistic", "bayes")}
    assert {name: (report["family"], report["of"]) for name, report in reports.items()} == {
        "logistic": ("logistic", 60),
        "bayes": ("bayes", 60),
    }
    best = artifacts(house, found["id"])["best"].get()
    assert best["right"] == max(report["right"] for report in reports.values())
    check(house, found)


def test_example_approval(house: House):
    done = run(house, EXAMPLES / "approval" / "pipeline.py")
    assert done.returncode == 0, done.stderr
    run_id = run_id_in(done.stdout)
    runs = house.client.runs

    def asked() -> bool:
        waiting = runs.step(run_id, "release")["waiting_for"]
        return bool(waiting) and waiting["kind"] == "approval"

    wait_until(asked, "the approval is asked for", 60)
    runs.approve(run_id, "release", "good enough")
    assert house.wait(run_id, 60)["status"] == "completed"
    released = artifacts(house, run_id)["released"].get()
    assert (released["neighbours"], len(released["answers"])) == (5, 150)
    assert released["accuracy"] > 0.9
