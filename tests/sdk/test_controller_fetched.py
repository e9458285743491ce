"""Pipelines found on the server, copied, and made from scripts: what they ask of the server, and what they can do."""

from pathlib import Path
from typing import Any

import pytest

from foldline import PipelineController, Task
from foldline.errors import FoldlineError
from tests.sdk.canned import Answer, Canned

RUN_ID, CLONE_ID, TASK_ID = "a" * 32, "c" * 32, "d" * 32
RUN: dict[str, Any] = {
    "id": RUN_ID,
    "name": "iris #3",
    "project": "examples",
    "version": 7,
    "status": "created",
    "reason": "",
    "started_at": None,
    "ended_at": None,
    "parameters": {"lr": 0.5},
    "pipeline_version": "1.0.2",
    "tags": ["good"],
    "warnings": [],
    "step_counts": {"completed": 0, "failed": 0, "stopped": 0},
}
DEFINITION: dict[str, Any] = {
    "name": "iris",
    "project": "examples",
    "version": "1.0.2",
    "default_queue": "default",
    "parameters": [{"name": "lr", "default": 0.1, "type": "float", "description": None}],
    "steps": [{"name": "train", "base_task_id": "b" * 32, "parents": []}],
}
TASK: dict[str, Any] = {
    "id": TASK_ID,
    "name": "nightly",
    "project": "examples",
    "type": "controller",
    "status": "created",
    "reason": "",
    "started_at": None,
    "ended_at": None,
    "tags": [],
    "hyperparameters": {
        "Args": {"lr": {"value": 0.2, "type": "float"}},
        "properties": {"version": {"value": "2.0", "type": "str"}},
    },
}


def knows(canned: Canned, **changes: Any) -> None:
    """The run is on the server."""
    run = {**RUN, **changes}
    canned.on("GET", f"runs/{run['id']}", Answer(200, run))
    canned.on("GET", f"runs/{run['id']}/definition", Answer(200, DEFINITION))


def lists(canned: Canned, *runs: dict[str, Any]) -> None:
    canned.on("GET", "runs", Answer(200, {"items": [{**RUN, **run} for run in runs], "next_cursor": None}))


def test_a_run_is_found_by_its_id_with_all_that_was_said_of_it(canned: Canned):
    knows(canned)
    step = {"name": "train", "status": "pending", "reason": "", "task_id": None, "attempts": 0, "parents": []}
    items = {"items": [{**step, "started_at": None, "ended_at": None}], "next_cursor": None}
    canned.on("GET", f"runs/{RUN_ID}/steps", Answer(200, items))
    found = PipelineController.get(pipeline_id=RUN_ID)
    assert (found.id, found.version, found.tags) == (RUN_ID, "1.0.2", ["good"])
    assert found.get_parameters() == {"lr": 0.5}
    assert (found.is_running(), found.is_successful(), found.elapsed()) == (False, False, -1)
    assert list(found.get_pipeline_dag()) == ["train"]
    assert isinstance(found.task, Task)
    with pytest.raises(FoldlineError, match="submitted already"):
        found.add_step("more", base_task_id="b" * 32)


def test_by_name_the_highest_version_counts_then_the_newest(canned: Canned):
    rows = [("iris #4", "1.0.9", "1"), ("iris #3", "1.0.10", "2"), ("iris #2", "1.0.10", "3"), ("iris two", "9.0", "4")]
    lists(canned, *({"name": name, "pipeline_version": version, "id": number * 32} for name, version, number in rows))
    knows(canned, id="2" * 32)
    assert PipelineController.get(pipeline_project="examples", pipeline_name="iris").id == "2" * 32
    assert "project=examples" in canned.to("GET", "runs")[0].query


def test_by_name_and_version(canned: Canned):
    lists(canned, {"id": "1" * 32, "pipeline_version": "1.0.9"}, {"id": "2" * 32, "pipeline_version": "1.0.10"})
    knows(canned, id="1" * 32)
    found = PipelineController.get(pipeline_project="examples", pipeline_name="iris", pipeline_version="1.0.9")
    assert found.id == "1" * 32


def test_what_there_is_not_is_a_value_error(canned: Canned):
    lists(canned)
    with pytest.raises(ValueError, match="no run of pipeline 'iris' version 3 in project 'examples'"):
        PipelineController.get(pipeline_project="examples", pipeline_name="iris", pipeline_version="3")
    with pytest.raises(ValueError, match="no pipeline run"):
        PipelineController.get(pipeline_id="e" * 32)
    with pytest.raises(ValueError, match="needs a pipeline_id"):
        PipelineController.get()


def test_a_pipelines_id_is_its_newest_run(canned: Canned):
    lists(canned, {"id": RUN_ID})
    knows(canned)
    assert PipelineController.get(pipeline_id="9" * 32).id == RUN_ID


def test_a_clone_is_a_draft_that_can_be_started_and_waited_for(canned: Canned):
    clone = {**RUN, "id": CLONE_ID}
    canned.on("POST", f"runs/{RUN_ID}/clone", Answer(201, clone))
    canned.on("GET", f"runs/{CLONE_ID}/definition", Answer(200, DEFINITION))
    canned.on("POST", f"runs/{CLONE_ID}/start", Answer(200, {**clone, "status": "running"}))
    canned.on("GET", f"runs/{CLONE_ID}", Answer(200, clone), Answer(200, {**clone, "status": "completed"}))
    made = PipelineController.clone(RUN_ID, name="again", comment="better")
    assert made.start() is True
    assert made.wait() is True
    assert made.is_successful()
    assert canned.to("POST", f"runs/{RUN_ID}/clone")[0].json() == {"name": "again", "comment": "better"}


def test_a_draft_is_started_by_enqueue_and_one_that_ran_by_force(canned: Canned):
    knows(canned)
    canned.on("POST", f"runs/{RUN_ID}/start", Answer(200, {**RUN, "status": "running"}))
    assert PipelineController.enqueue(RUN_ID, queue_name="services")["status"] == "running"
    knows(canned, id="e" * 32, status="failed")
    with pytest.raises(FoldlineError, match="clone it"):
        PipelineController.enqueue("e" * 32, queue_name="services")
    canned.on("POST", f"runs/{'e' * 32}/clone", Answer(201, {**RUN, "id": CLONE_ID}))
    knows(canned, id=CLONE_ID)
    canned.on("POST", f"runs/{CLONE_ID}/start", Answer(200, {**RUN, "id": CLONE_ID, "status": "running"}))
    assert PipelineController.enqueue("e" * 32, queue_name="services", force=True)["id"] == CLONE_ID


def test_a_script_that_is_not_run_here_is_a_task_that_can_do_what_a_pipeline_can(canned: Canned, tmp_path: Path):
    (tmp_path / "nightly.py").write_text("print('hello')\n")
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", "tasks", Answer(201, TASK))
    canned.on("PATCH", f"tasks/{TASK_ID}", Answer(200, TASK))
    running, ended = {**TASK, "status": "in_progress"}, {**TASK, "status": "completed"}
    canned.on("GET", f"tasks/{TASK_ID}", Answer(200, TASK), Answer(200, TASK), Answer(200, running), Answer(200, ended))
    canned.on("POST", f"tasks/{TASK_ID}/enqueue", Answer(200, {**TASK, "status": "queued"}))
    made = PipelineController.create("examples", "nightly", script=str(tmp_path / "nightly.py"), version="2.0")
    assert canned.to("POST", "tasks")[0].json()["type"] == "controller"
    assert (made.id, made.version, made.get_parameters()) == (TASK_ID, "2.0", {"lr": 0.2})
    assert not made.is_running()
    assert made.start("hosts") is True
    assert canned.to("POST", f"tasks/{TASK_ID}/enqueue")[0].json()["queue"] == "hosts"
    assert made.wait() is True
    assert made.is_successful()
    assert made.get_pipeline_dag() == {}


def test_a_host_is_wanted_in_the_queue_that_is_named(canned: Canned):
    canned.on("GET", f"runs/{RUN_ID}", Answer(200, RUN))
    hosted = {**DEFINITION, "host": {"queue": "services", "task": {}}}
    canned.on("GET", f"runs/{RUN_ID}/definition", Answer(200, hosted))
    canned.on("POST", f"runs/{RUN_ID}/start", Answer(200, {**RUN, "status": "running"}))
    assert PipelineController.enqueue(RUN_ID, queue_name="elsewhere")["status"] == "running"
    assert canned.to("POST", f"runs/{RUN_ID}/start")[0].json() == {"queue": "elsewhere"}
