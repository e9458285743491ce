"""docs/errors.md, row by row, with real processes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foldline.errors import ApiError
from tests.support.house import ROOT, House, free_port, step
from tests.support.waiting import wait_until

ROWS: set[str] = set()


def row(*numbers: str) -> Callable[[Any], Any]:
    """Marks the test of these rows of docs/errors.md."""

    def marked(test: Any) -> Any:
        ROWS.update(numbers)
        return test

    return marked


def test_every_row_has_its_test():
    documented = re.findall(r"^\| (E\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert set(documented) == ROWS
    assert len(documented) == len(set(documented))


def refused(house: House, *steps: dict[str, Any], **more: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        house.submit(*steps, **more)
    assert list(house.client.runs.list()) == [], "a refused submit leaves no run"
    return error.value


def by_name(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


@row("E1")
@pytest.mark.parametrize(
    "template",
    [
        pytest.param({"base_task_id": "ab" * 16}, id="by id"),
        pytest.param({"base_task_project": "nowhere", "base_task_name": "nothing"}, id="by name"),
    ],
)
def test_an_unknown_template(house: House, template: dict[str, str]):
    error = refused(house, by_name(**template))
    assert (error.status, error.code) == (422, "invalid")
    assert "Step 'a'" in str(error)
    assert "template" in str(error)
    assert error.errors[0]["location"].startswith("steps/0")


@row("E2")
def test_a_circle(house: House):
    error = refused(house, step("a", parents=["b"]), step("b", parents=["a"]))
    assert error.status == 422
    assert re.search(r"in a circle: \w+ -> \w+ -> \w+", str(error))


@row("E3")
def test_an_unknown_parent(house: House):
    error = refused(house, step("a"), step("b", parents=["nobody"]))
    assert error.status == 422
    assert "waits for 'nobody', which is no step" in str(error)
    assert error.errors[0]["location"] == "steps/1/parents"


@row("E4")
def test_an_override_without_a_section(house: House):
    error = refused(house, step("a", parameter_override={"lr": 1}))
    assert error.status == 422
    assert "write it as 'General/lr'" in str(error)


@row("E5")
@pytest.mark.parametrize(
    ("reference", "said"),
    [("${nobody.id}", "neither a step nor a parameter"), ("${pipeline.lr}", "the pipeline has no parameter 'lr'")],
)
def test_a_reference_to_nothing(house: House, reference: str, said: str):
    error = refused(house, step("a", parameter_override={"General/lr": reference}))
    assert error.status == 422
    assert said in str(error)


@row("E6")
def test_a_reference_to_an_artifact_that_was_not_made(house: House):
    house.agent("-q", "default")
    uses = step("b", parameter_override={"General/url": "${a.artifacts.x.url}"})
    run = house.wait(house.submit(step("a"), uses)["id"])
    assert run["status"] == "failed"
    assert "step 'a' has no artifact 'x'; its artifacts are: none" in run["reason"]
    assert house.steps(run["id"])["b"]["status"] == "failed"


@row("E7")
def test_a_queue_that_does_not_exist(house: House):
    error = refused(house, step("a", queue="nowhere"))
    assert error.status == 422
    assert "There is no queue 'nowhere'" in str(error)
    assert "default, services" in str(error)


@row("E8")
def test_a_queue_that_no_agent_listens_to(house: House):
    run = house.submit(step("a"))
    said = "no agent listens to queue 'default'"
    assert house.client.runs.get(run["id"])["warnings"] == [said]
    assert house.steps(run["id"])["a"]["reason"] == said
    house.agent("-q", "default")
    assert house.wait(run["id"])["status"] == "completed"


@row("E9", "E10", "E11")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("raise ValueError('no data')", "ValueError: no data", id="raises"),
        pytest.param("import sys; sys.exit(3)", "exit code 3", id="exits with 3"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL", id="killed"),
    ],
)
def test_a_step_that_fails(house: House, code: str, reason: str):
    house.agent("-q", "default")
    run = house.wait(house.submit(step("a", code), step("b", parents=["a"]))["id"])
    assert (run["status"], run["reason"]) == ("failed", f"step 'a' failed: {reason}")
    steps = house.steps(run["id"])
    assert (steps["a"]["status"], steps["a"]["reason"]) == ("failed", reason)
    assert (steps["b"]["status"], steps["b"]["reason"]) == ("skipped", "step 'a' failed")


@row("E12", "E13")
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(b"x" * 1_048_576 + b"\n", id="a megabyte on one line"),
        pytest.param(b"\xff\xfe\x00 \xc3(\n", id="no UTF-8"),
    ],
)
def test_a_step_that_writes_what_it_likes(house: House, written: bytes):
    house.agent("-q", "default")
    code = f"import sys; sys.stdout.buffer.write({written!r})"
    if len(written) > 1000:
        code = f"import sys; sys.stdout.buffer.write(b'x' * {len(written) - 1} + b'\\n')"
    run = house.wait(house.submit(step("a", code))["id"])
    assert run["status"] == "completed", run["reason"]
    assert whole_log(house, house.steps(run["id"])["a"]["task_id"]) == written


def whole_log(house: House, task_id: str) -> bytes:
    log, offset = b"", 0
    while True:
        piece, offset = house.client.tasks.logs(task_id, offset=offset)
        if not piece:
            return log
        log += piece


@row("E14")
@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 200_000_000])
def test_an_artifact_of_any_size(house: House, tmp_path: Path, size: int):
    house.agent("-q", "default")
    code = (
        "from foldline import Task\n"
        "task = Task.init(project_name='x', task_name='y')\n"
        f"open('big.bin', 'wb').write(bytes({size}))\n"
        "task.upload_artifact('big', 'big.bin')\n"
    )
    run = house.wait(house.submit(step("a", code))["id"])
    assert run["status"] == "completed", run["reason"]
    artifact = house.client.tasks.get(house.steps(run["id"])["a"]["task_id"])["artifacts"]["big"]
    assert artifact["size"] == size
    target = tmp_path / "back.bin"
    house.client.blobs.get(artifact["sha256"], target)
    assert target.stat().st_size == size


NAMES = ["naïve 樹 🌲", 'it\'s "quoted"', "a/b/c", "../../etc/passwd", "..", "a\\b", "x" * 200]


@row("E15")
def test_names_of_any_kind(house: House, tmp_path: Path):
    house.agent("-q", "default", "--slots", "4")
    before = {path for path in tmp_path.parent.rglob("*") if "data" not in path.parts}
    code = (
        "from foldline import Task\n"
        "task = Task.init(project_name='x', task_name='y')\n"
        f"for name in {NAMES!r}: task.upload_artifact(name, {{'name': name}})\n"
    )
    steps = [step(name, code if number == 0 else "pass") for number, name in enumerate(NAMES)]
    run = house.wait(house.submit(*steps, name="../" + NAMES[0])["id"])
    assert run["status"] == "completed", run["reason"]
    assert list(house.steps(run["id"])) == NAMES
    first = house.client.tasks.get(house.steps(run["id"])[NAMES[0]]["task_id"])
    assert set(first["artifacts"]) == set(NAMES)
    after = {path for path in tmp_path.parent.rglob("*") if "data" not in path.parts and "home" not in path.parts}
    assert not [path for path in after - before if "passwd" in path.name]
    house.client.queues.create("../träume/1")
    assert house.client.queues.get("../träume/1")["name"] == "../träume/1"


@row("E16")
def test_a_stale_version(house: House):
    run = house.submit(step("a"))
    with pytest.raises(ApiError) as error:
        house.client.request("POST", f"runs/{run['id']}/stop", json={}, headers={"If-Match": '"1"'})
    assert (error.value.status, error.value.code) == (412, "stale-version")
    assert "was meant for version 1" in str(error.value)
    assert house.client.runs.get(run["id"])["status"] == "running"


@row("E17", "E18")
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b'{"definition": ', 400, "malformed"), (b'{"definitoin": {}}', 422, "invalid")],
)
def test_a_body_that_makes_no_sense(house: House, body: bytes, status: int, code: str):
    with pytest.raises(ApiError) as error:
        house.client.request("POST", "runs", content=body, headers={"Content-Type": "application/json"})
    assert (error.value.status, error.value.code) == (status, code)


def server(house: House, *arguments: str, timeout: float = 30) -> tuple[int, str]:
    done = house.run_python("-m", "api", *arguments, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


@row("E19")
def test_a_port_in_use(house: House, tmp_path: Path):
    other = tmp_path / "other"
    code, said = server(
        house, "serve", "--db", f"sqlite:///{other}/x.db", "--data", str(other), "--port", str(house.port)
    )
    assert code == 1
    assert f"{house.port}" in said
    assert "in use" in said
    assert "Traceback" not in said


@row("E20")
def test_a_server_that_dies_while_an_agent_reports(house: House, tmp_path: Path):
    gate = tmp_path / "gate"
    house.agent("-q", "default")
    code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    run = house.submit(step("a", code))
    wait_until(lambda: house.steps(run["id"])["a"]["status"] == "running", "the step to run")
    gate.touch()
    house.kill_server()
    house.serve()
    assert house.wait(run["id"])["status"] == "completed"
    ends = [event for event in house.client.runs.history(run["id"]) if event["type"] == "TaskCompleted"]
    assert len(ends) == 1


@row("E21")
def test_a_second_server_on_the_same_file(house: House):
    code, said = server(house, "serve", "--db", house.database, "--data", str(house.data), "--port", str(free_port()))
    assert code == 1
    assert house.server is not None
    assert f"in use by process {house.server.pid}" in said
    assert "Traceback" not in said
    assert house.client.ready()


@row("E22")
def test_beyond_loopback_without_a_token(house: House, tmp_path: Path):
    other = tmp_path / "other"
    arguments = ("--db", f"sqlite:///{other}/x.db", "--data", str(other), "--port", str(free_port()))
    code, said = server(house, "serve", *arguments, "--host", "0.0.0.0")
    assert code == 1
    assert "foldline-server token create" in said


@row("E23")
def test_a_missing_or_wrong_token(house: House):
    arguments = ("--db", house.database, "--data", str(house.data))
    code, said = server(house, "token", "create", "ana", *arguments)
    assert code == 0, said
    for token in (None, "wrong"):
        env = {**house.env, **({"FOLDLINE_TOKEN": token} if token else {})}
        house.env = env
        done = house.run_python("-m", "foldline", "run", "ls")
        assert done.returncode == 3, done.stderr
        assert "needs a token" in done.stderr
    found = re.search(r"fl_[\w-]+", said)
    assert found, said
    house.env = {**house.env, "FOLDLINE_TOKEN": found[0]}
    done = house.run_python("-m", "foldline", "run", "ls")
    assert done.returncode == 0, done.stderr


@row("E24")
def test_a_body_that_is_too_large(tmp_path: Path):
    with House(tmp_path, env={"FOLDLINE_SERVER_MOST_JSON_BYTES": "1000"}) as house:
        house.serve()
        with pytest.raises(ApiError) as error:
            house.client.request("POST", "runs", json={"name": "x" * 2000})
    assert (error.value.status, error.value.code) == (413, "too-large")


@row("E25")
def test_a_key_used_twice(house: House):
    definition = {"name": "p", "project": "x", "default_queue": "default", "steps": [step("a")]}
    first = house.client.runs.submit(definition, key="once")
    assert house.client.runs.submit(definition, key="once") == first
    with pytest.raises(ApiError) as error:
        house.client.runs.submit({**definition, "name": "q"}, key="once")
    assert (error.value.status, error.value.code) == (422, "key-reused")
    assert len(list(house.client.runs.list())) == 1


@row("E26")
def test_what_does_not_exist(house: House):
    done = house.run_python("-m", "foldline", "run", "show", "ab" * 16)
    assert done.returncode == 4
    assert done.stderr == f"foldline: There is no run {'ab' * 16}.\n"


@row("E27")
def test_what_the_state_does_not_allow(house: House):
    house.agent("-q", "default")
    run = house.wait(house.submit(step("a"))["id"])
    done = house.run_python("-m", "foldline", "run", "stop", run["id"])
    assert done.returncode == 5
    assert "it is completed already" in done.stderr


@row("E28")
def test_a_server_that_is_not_there(tmp_path: Path):
    with House(tmp_path) as house:
        code = "from foldline.client import Client\nfrom foldline.cli import main\nimport sys\n"
        done = house.run_python("-c", code + "sys.exit(main.run(['run', 'ls']))", timeout=90)
    assert done.returncode == 1
    assert house.url in done.stderr
    assert "Traceback" not in done.stderr


def test_a_definition_from_a_file(house: House, tmp_path: Path):
    house.agent("-q", "default")
    path = tmp_path / "pipeline.json"
    path.write_text(
        json.dumps({"name": "p", "project": "x", "default_queue": "default", "steps": [step("a", "print(1)")]})
    )
    done = house.run_python("-m", "foldline", "run", "submit", str(path), "--watch")
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
