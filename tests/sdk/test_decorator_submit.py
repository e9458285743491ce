"""A call of a pipeline function that runs elsewhere: what is submitted, and what the host makes of the script."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from foldline.automation.instances import Instances
from foldline.errors import FoldlineError
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import run

RUN: dict[str, Any] = {
    "id": "a" * 32,
    "name": "p #1",
    "status": "running",
    "reason": "",
    "version": 3,
    "parameters": {"depth": 7, "names": ["x", "y"], "note": None},
    "warnings": ["no agent listens to queue 'brains'"],
    "step_counts": dict.fromkeys(("pending", "waiting", "queued", "running", "completed"), 0),
    "open_hooks": 0,
}

SCRIPT = """
import sys
from foldline import PipelineDecorator

@PipelineDecorator.component
def step(x): return x

@PipelineDecorator.pipeline(
    name="p", project="t", version="1.2", default_queue="gpu", pipeline_execution_queue="brains",
    args_map={"M": ["depth"]}, abort_on_failure=True, retry_on_failure=2, add_pipeline_tags=True, packages=["numpy"],
    multi_instance_support=MULTI
)
def pipeline(depth: int, names=("a",), note: "str | None" = None):
    print("in the function:", depth, names, note)

print("before")
print("returned", pipeline(3, note=NOTE))
print("returned", pipeline(4))
"""


@pytest.fixture
def server(canned: Canned) -> Canned:
    canned.on("HEAD", "blobs/*", Answer(404, {}))
    canned.on("PUT", "blobs/*", Answer(201, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    canned.on("PATCH", f"runs/{RUN['id']}", Answer(200, RUN))
    canned.on("POST", f"runs/{RUN['id']}/start", Answer(200, RUN))
    return canned


def script(folder: Path, multi: Any = False, note: Any = None) -> str:
    (folder / "pipeline.py").write_text(SCRIPT.replace("MULTI", repr(multi)).replace("NOTE", note or "None"))
    return "pipeline.py"


def test_where_the_runs_own_files_go_is_said_before_it_starts(server: Canned, tmp_path: Path):
    server.on("PATCH", f"tasks/{RUN['id']}", Answer(200, {}))
    (tmp_path / "pipeline.py").write_text(
        "from foldline import PipelineDecorator\n"
        "@PipelineDecorator.pipeline(name='p', project='t', default_queue='q', output_uri='s3://b')\n"
        "def pipeline(): pass\n"
        "pipeline()\n"
    )
    done = run("pipeline.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = [(one.method, one.path) for one in server.asked if "blobs" not in one.path]
    assert [(method, path.rpartition("/")[2]) for method, path in asked[-3:]] == [
        ("POST", "runs"),
        ("PATCH", RUN["id"]),
        ("POST", "start"),
    ]
    assert server.to("POST", "runs")[0].json()["draft"] is True
    assert server.to("PATCH", f"tasks/{RUN['id']}")[0].json() == {"output_destination": "s3://b"}


def test_a_call_submits_the_script_and_ends_it_with_0(server: Canned, tmp_path: Path):
    done = run(script(tmp_path), "--fast", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["before", f"Run 'p #1' ({RUN['id']}) was submitted."]
    assert "in the function" not in done.stdout
    assert "no agent listens to queue 'brains'" in done.stderr
    [asked] = server.to("POST", "runs")
    body = asked.json()
    definition = body["definition"]
    host = definition.pop("host")
    assert definition == {
        "name": "p",
        "project": "t",
        "version": "1.2",
        "abort_on_failure": True,
        "add_run_number": True,
        "add_pipeline_tags": True,
        "target_project": True,
        "tags": [],
        "retry": {"times": 2},
        "default_queue": "gpu",
        "parameters": [
            {"name": "depth", "default": None, "type": "int", "description": None},
            {"name": "names", "default": ["a"], "type": None, "description": None},
            {"name": "note", "default": None, "type": None, "description": None},
        ],
        "steps": [],
        "dynamic": True,
    }
    assert (body["parameters"], "host" in body, "draft" in body) == (
        {"depth": 3, "names": ["a"], "note": None},
        False,
        False,
    )
    task = host["task"]
    assert (host["queue"], task["type"], task["script"]["entry_point"]) == ("brains", "controller", "pipeline.py")
    assert task["script"]["arguments"] == ["--fast"]
    assert task["script"]["requirements"] == {"pip": "numpy"}
    stored = {asked.path: asked.content for asked in server.asked if asked.method == "PUT"}
    with tarfile.open(fileobj=io.BytesIO(stored[f"blobs/{task['script']['source']}"])) as archive:
        assert "pipeline.py" in archive.getnames()


@pytest.mark.parametrize("multi", [True, "parallel"])
def test_several_calls_are_several_runs_told_apart_by_their_number(server: Canned, tmp_path: Path, multi: Any):
    done = run(script(tmp_path, multi), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("returned None") == 2
    first, second = (asked.json() for asked in server.to("POST", "runs"))
    assert (first["parameters"]["depth"], second["parameters"]["depth"]) == (3, 4)
    # The second is a draft until its number is on it: its host must not start without.
    assert ("draft" in first, second["draft"]) == (False, True)
    steps = [(one.method, one.path) for one in server.asked if one.path.startswith(f"runs/{RUN['id']}")]
    assert steps == [("PATCH", f"runs/{RUN['id']}"), ("POST", f"runs/{RUN['id']}/start")]
    assert server.to("PATCH", f"runs/{RUN['id']}")[0].json() == {"runtime": {"multi_pipeline_counter": "1"}}


def test_an_argument_that_is_no_json_is_refused(server: Canned, tmp_path: Path):
    done = run(script(tmp_path, note="{1, 2}"), cwd=tmp_path)
    assert done.returncode == 1
    assert "parameter 'note': a pipeline that runs elsewhere takes numbers, texts, lists and dicts" in done.stderr
    assert server.to("POST", "runs") == []


def host(canned: Canned, folder: Path, *, name: str = "p", number: str | None = None) -> Any:
    """The script as an agent starts it to be the host of a run of pipeline `name`."""
    identifier = RUN["id"]
    runtime = {} if number is None else {"multi_pipeline_counter": number}
    record = {"id": identifier, "runtime": runtime, "hyperparameters": {"M": {"depth": {"value": 9, "type": "int"}}}}
    canned.on("GET", f"runs/{identifier}", Answer(200, RUN))
    canned.on("GET", f"runs/{identifier}/steps", Answer(200, {"items": [], "next_cursor": None}))
    canned.on("GET", f"runs/{identifier}/definition", Answer(200, {"name": name, "project": "t"}))
    canned.on("GET", f"tasks/{identifier}", Answer(200, record))
    canned.on("PATCH", f"tasks/{identifier}", Answer(200, record))
    canned.on("POST", f"tasks/{identifier}/fail", Answer(200, record))
    more = {"FOLDLINE_RUN_ID": identifier, "FOLDLINE_TASK_ID": identifier, "FOLDLINE_ATTEMPT": "1"}
    return run(script(folder, multi=True), cwd=folder, FOLDLINE_SESSION="5" * 32, **more)


@pytest.mark.parametrize("number", [None, "1"])
def test_the_host_makes_the_call_with_the_runs_parameters(canned: Canned, tmp_path: Path, number: str | None):
    done = host(canned, tmp_path, number=number)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "function" in line]
    # What stands in the section of args_map wins; a list is the tuple that the default is.
    assert said == ["in the function: 9 ('x', 'y') None"]
    assert done.stdout.count("returned None") == 2
    assert canned.to("POST", "runs") == []
    assert canned.to("POST", f"tasks/{RUN['id']}/fail") == []


@pytest.mark.parametrize(("name", "number"), [("another", None), ("p", "2")])
def test_a_script_that_never_makes_the_call_fails_the_run(canned: Canned, tmp_path: Path, name: str, number: Any):
    done = host(canned, tmp_path, name=name, number=number)
    assert "in the function" not in done.stdout
    [failed] = canned.to("POST", f"tasks/{RUN['id']}/fail")
    assert failed.json()["reason"].startswith("the script ended without the call of the pipeline function")


def test_results_of_runs_elsewhere_come_in_order(canned: Canned):
    ids = ["b" * 32, "c" * 32]
    for number, identifier in enumerate(ids):
        body = json.dumps({"n": number}).encode()
        sha256 = hashlib.sha256(body).hexdigest()
        record = {"name": "result", "format": "json", "type": "dict", "url": f"foldline://blobs/{sha256}/result.json"}
        canned.on("GET", f"runs/{identifier}", Answer(200, RUN), Answer(200, {**RUN, "status": "completed"}))
        canned.on("GET", f"tasks/{identifier}", Answer(200, {"artifacts": {"result": record}}))
        canned.on("GET", f"blobs/{sha256}", Answer(200, body))
        Instances.submitted(identifier, "result")
    assert Instances.results() == [{"n": 0}, {"n": 1}]
    assert Instances.results() == []


def test_a_run_elsewhere_that_failed_is_an_error(canned: Canned):
    canned.on("GET", f"runs/{RUN['id']}", Answer(200, {**RUN, "status": "failed", "reason": "no data"}))
    Instances.submitted(RUN["id"], None)
    with pytest.raises(FoldlineError, match=r"run 'p #1' .* is failed: no data"):
        Instances.results()
