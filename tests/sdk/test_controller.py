"""What a PipelineController says to the server, and what it refuses before."""

import json
from pathlib import Path
from typing import Any

import pytest

from foldline import PipelineController
from foldline.errors import DefinitionError, FoldlineError, Invalid
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import run

RUN: dict[str, Any] = {
    "id": "a" * 32,
    "name": "iris #3",
    "status": "running",
    "reason": "",
    "started_at": "2026-11-22T15:00:00.000000Z",
    "ended_at": None,
    "parameters": {"lr": 0.2},
    "pipeline_version": "1.0.2",
    "tags": [],
    "warnings": [],
    "step_counts": {"completed": 1, "failed": 0, "stopped": 0, "skipped": 1},
}


def load(path: str, size: int = 10) -> list[int]:
    return [size]


def train(data: list[int], lr: float = 0.1, note: str = "") -> float:
    return lr


def pipeline(**options: Any) -> PipelineController:
    made = PipelineController(name="iris", project="examples", **options)
    made.set_default_execution_queue("default")
    return made


def step_of(made: PipelineController, name: str) -> dict[str, Any]:
    return next(step for step in made.definition()["steps"] if step["name"] == name)


def test_a_pipeline_of_templates_is_the_documented_definition():
    made = pipeline()
    made.add_parameter("test_size", 0.2, description="share", param_type="float")
    made.add_step("stage_data", base_task_project="examples", base_task_name="stage data")
    made.add_step(
        "train",
        base_task_id="b" * 32,
        parameter_override={
            "General/test_size": "${pipeline.test_size}",
            "General/url": "${stage_data.artifacts.data.url}",
        },
        configuration_overrides={"model": {"layers": 2}},
        task_overrides={"script": {"branch": "main"}, "container.image": "python:3.13"},
        execution_queue="gpu",
        stage="training",
    )
    assert made.definition() == {
        "name": "iris",
        "project": "examples",
        "version": None,
        "abort_on_failure": False,
        "add_run_number": True,
        "target_project": True,
        "tags": [],
        "default_queue": "default",
        "parameters": [{"name": "test_size", "default": 0.2, "type": "float", "description": "share"}],
        "steps": [
            {
                "name": "stage_data",
                "base_task_project": "examples",
                "base_task_name": "stage data",
                "parents": [],
                "recursively_parse_parameters": False,
            },
            {
                "name": "train",
                "base_task_id": "b" * 32,
                "parents": ["stage_data"],
                "parameter_override": {
                    "General/test_size": "${pipeline.test_size}",
                    "General/url": "${stage_data.artifacts.data.url}",
                },
                "configuration_overrides": {"model": {"layers": 2}},
                "task_overrides": {"script.branch": "main", "container.image": "python:3.13"},
                "queue": "gpu",
                "stage": "training",
                "recursively_parse_parameters": False,
            },
        ],
    }


def test_a_return_value_becomes_an_artifact_reference_and_an_edge():
    made = pipeline()
    made.add_parameter("lr", 0.1)
    made.add_function_step("load", load, function_kwargs={"path": "x.csv"}, function_return=["data"])
    made.add_function_step(
        "train",
        train,
        function_kwargs={"data": "${load.data}", "lr": "${pipeline.lr}", "note": "by ${load.id}"},
        function_return=["accuracy"],
    )
    step = step_of(made, "train")
    assert step["parents"] == ["load"]
    assert step["parameter_override"] == {
        "kwargs_artifacts/data": "${load.id}.data",
        "kwargs/lr": "${pipeline.lr}",
        "kwargs/note": "by ${load.id}",
    }
    assert step["task"]["hyperparameters"] == {"kwargs": {}}
    assert step["task"]["script"]["returns"] == ["accuracy"]


def test_plain_arguments_and_defaults_are_parameters_with_their_types():
    made = pipeline()
    made.add_function_step("load", load, function_kwargs={"path": "x.csv"})
    assert step_of(made, "load")["task"]["hyperparameters"]["kwargs"] == {
        "path": {"value": "x.csv", "type": "str", "description": None},
        "size": {"value": 10, "type": "int", "description": None},
    }


def test_a_function_travels_with_its_project():
    made = pipeline()
    made.add_function_step("load", load, function_kwargs={"path": "x"})
    script = step_of(made, "load")["task"]["script"]
    assert script["function"] == "load"
    assert script["module"] == load.__module__
    assert len(script["source"]) == 64
    assert not Path(script["entry_point"]).is_absolute()


def test_references_inside_lists_are_resolved_too():
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    made.add_function_step("load", load, function_kwargs={"path": ["${a.artifacts.data.url}", "fixed"]})
    step = step_of(made, "load")
    assert step["recursively_parse_parameters"] is True
    assert step["parents"] == ["a"]
    assert step["parameter_override"] == {"kwargs/path": ["${a.artifacts.data.url}", "fixed"]}


def test_step_names_with_dots_and_spaces():
    made = pipeline()
    made.add_function_step("v1.load all", load, function_kwargs={"path": "x"}, function_return=["data"])
    made.add_function_step("train", train, function_kwargs={"data": "${v1.load all.data}"})
    assert step_of(made, "train")["parameter_override"] == {"kwargs_artifacts/data": "${v1.load all.id}.data"}


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "needs 'data'"),
        ({"data": 1, "speed": 2}, "takes no 'speed'"),
        ({"data": "${load.other}"}, "nothing that step 'load' returns: that is data"),
        ({"data": "see ${load.data}"}, "cannot stand inside text"),
        ({"data": ["${load.data}"]}, "cannot stand inside text"),
    ],
)
def test_wrong_arguments_are_said_at_once(kwargs: dict[str, Any], sentence: str):
    made = pipeline()
    made.add_function_step("load", load, function_kwargs={"path": "x"}, function_return=["data"])
    with pytest.raises(ValueError, match=sentence):
        made.add_function_step("train", train, function_kwargs=kwargs)
    assert list(made.get_pipeline_dag()) == ["load"]


def nested_function() -> Any:
    def inner() -> None:
        pass

    return inner


@pytest.mark.parametrize("function", [nested_function(), lambda: 1])
def test_a_function_that_nobody_can_import_is_refused(function: Any):
    with pytest.raises(ValueError, match="top level of a file"):
        pipeline().add_function_step("s", function)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "a", "base_task_id": "b"}, "there is a step 'a' already"),
        ({"name": "pipeline", "base_task_id": "b"}, "cannot be called 'pipeline'"),
        ({"name": " ", "base_task_id": "b"}, "needs a name"),
        ({"name": "x"}, "no template"),
        ({"name": "x", "base_task_id": "b", "parameter_override": {"lr": 1}}, "'lr' has no section: .*General/lr"),
    ],
)
def test_wrong_steps_are_said_at_once(arguments: dict[str, Any], sentence: str):
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    with pytest.raises(ValueError, match=sentence):
        made.add_step(**arguments)


def test_no_queue_and_no_steps_are_said_before_anything_is_sent(canned: Canned):
    made = PipelineController(name="p", project="t")
    with pytest.raises(ValueError, match="no steps"):
        made.start_locally()
    made.add_step("a", base_task_id="b" * 32)
    made.add_step("b", base_task_id="b" * 32, execution_queue="gpu")
    with pytest.raises(ValueError, match="no queue for 'a'"):
        made.start_locally()
    assert canned.asked == []


@pytest.mark.parametrize("version", ["one", "1..2", "1.0 beta"])
def test_a_version_that_is_none_is_refused(version: str):
    with pytest.raises(ValueError, match=r"like 1\.0\.2"):
        pipeline(version=version)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"continue_on_fail": True}, {"continue_on_fail": True, "continue_on_abort": False}),
        ({"continue_behaviour": {"continue_on_abort": True}}, {"continue_on_abort": True}),
        ({"continue_behaviour": {}}, {}),
        ({}, None),
    ],
)
def test_what_a_failure_means_is_said(options: dict[str, Any], said: dict[str, bool] | None):
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32, **options)
    assert step_of(made, "a").get("continue_behaviour") == said


def test_start_submits_says_where_and_ends_the_process(canned: Canned, capsys: pytest.CaptureFixture[str]):
    canned.on("POST", "runs", Answer(201, {**RUN, "warnings": ["no agent listens to queue 'gpu'"]}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    with pytest.raises(SystemExit) as end:
        made.start()
    assert end.value.code == 0
    said = capsys.readouterr()
    assert f"Run 'iris #3' ({RUN['id']}) was submitted." in said.out
    assert f"{canned.url}/api/v1/runs/{RUN['id']}" in said.out
    assert "no agent listens to queue 'gpu'" in said.err
    assert canned.asked[0].json()["definition"] == made.definition()
    assert (made.id, made.version) == (RUN["id"], "1.0.2")


def test_without_a_queue_it_is_a_draft_and_the_process_goes_on(canned: Canned):
    canned.on("POST", "runs", Answer(201, {**RUN, "status": "created"}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    assert made.start(queue=None) is True
    assert canned.asked[0].json()["draft"] is True


def test_what_the_server_finds_wrong_is_a_value_error(canned: Canned):
    canned.on("POST", "runs", Answer(422, {"code": "invalid", "detail": "Steps a and b wait for each other."}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32, parents=["b"])
    made.add_step("b", base_task_id="b" * 32, parents=["a"])
    with pytest.raises(ValueError, match="wait for each other") as caught:
        made.start_locally()
    assert isinstance(caught.value, Invalid)
    assert made.id is None


def test_start_locally_returns_when_the_run_has_ended(canned: Canned):
    canned.on("POST", "runs", Answer(201, RUN))
    ended = {**RUN, "status": "completed", "ended_at": "2026-11-22T15:30:00.000000Z"}
    canned.on("GET", f"runs/{RUN['id']}", Answer(200, RUN), Answer(200, ended))
    step = {
        "name": "a",
        "status": "completed",
        "reason": "",
        "task_id": "t1",
        "attempts": 1,
        "parents": [],
        "started_at": None,
        "ended_at": None,
    }
    canned.on("GET", f"runs/{RUN['id']}/steps", Answer(200, {"items": [step], "next_cursor": None}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    assert made.elapsed() == -1
    assert not made.is_running()
    made.start_locally()
    assert made.is_successful()
    assert not made.is_running()
    assert made.elapsed() == 30
    assert made.get_parameters() == {"lr": 0.2}
    assert made.get_processed_nodes()["a"].executed == "t1"
    assert made.get_running_nodes() == {}
    with pytest.raises(FoldlineError, match="submitted already"):
        made.start_locally()


@pytest.mark.parametrize(
    ("status", "failed", "stopped", "condition", "expected"),
    [
        ("completed", 0, 0, "all", True),
        ("completed", 1, 0, "all", False),
        ("completed", 0, 1, "all", False),
        ("completed", 1, 0, "aborted", True),
        ("completed", 0, 1, "failed", True),
        ("failed", 0, 0, "all", False),
        ("stopped", 0, 0, "all", False),
    ],
)
def test_success(canned: Canned, status: str, failed: int, stopped: int, condition: Any, expected: bool):
    canned.on("POST", "runs", Answer(201, RUN))
    counts = {"completed": 1, "failed": failed, "stopped": stopped}
    canned.on("GET", f"runs/{RUN['id']}", Answer(200, {**RUN, "status": status, "step_counts": counts}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    made.start_locally()
    assert made.is_successful(fail_condition=condition) is expected
    assert made.is_successful(fail_on_step_fail=False) is (status == "completed")


def test_waiting_has_an_end(canned: Canned):
    canned.on("POST", "runs", Answer(201, {**RUN, "status": "created"}))
    canned.on("GET", f"runs/{RUN['id']}", Answer(200, RUN))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    made.create_draft()
    assert made.wait(timeout=0.001) is False


def test_objects_wait_on_a_task_of_their_own(canned: Canned):
    canned.on("POST", "tasks", Answer(201, {"id": "c" * 32}))
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", f"tasks/{'c' * 32}/artifacts", Answer(201, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    made = pipeline()
    made.add_function_step("train", train, function_kwargs={"data": {1: 2}, "lr": float("inf")})
    made.create_draft()
    override = step_of(made, "train")["parameter_override"]
    assert override == {
        "kwargs_artifacts/data": f"{'c' * 32}.train.data",
        "kwargs_artifacts/lr": f"{'c' * 32}.train.lr",
    }
    artifacts = [asked.json() for asked in canned.to("POST", f"tasks/{'c' * 32}/artifacts")]
    assert sorted((one["name"], one["format"], one["mode"]) for one in artifacts) == [
        ("train.data", "pickle", "input"),
        ("train.lr", "pickle", "input"),
    ]
    assert canned.to("POST", "runs")[0].json()["definition"] == made.definition()


def test_the_same_objects_are_asked_for_once(canned: Canned):
    """Under one key the server makes one task of them, so that a step's cache key is the same again."""
    canned.on("POST", "tasks", Answer(201, {"id": "c" * 32}))
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", f"tasks/{'c' * 32}/artifacts", Answer(201, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    for value in ({1: 2}, {1: 2}, {1: 3}):
        made = pipeline()
        made.add_function_step("train", train, function_kwargs={"data": value, "lr": 0.1})
        made.create_draft()
    first, again, other = [asked.headers["Idempotency-Key"] for asked in canned.to("POST", "tasks")]
    assert first == again != other


def test_a_parameter_has_to_be_json():
    with pytest.raises(DefinitionError, match=r"'f': its default must be JSON"):
        pipeline().add_parameter("f", default=print)


def test_a_script_ends_with_0_and_its_sources_are_on_the_server(canned: Canned, tmp_path: Path):
    canned.on("HEAD", "blobs/*", Answer(404, {}))
    canned.on("PUT", "blobs/*", Answer(201, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    (tmp_path / "pipeline.py").write_text(
        "from foldline import PipelineController\n"
        "def work(x): return x\n"
        "pipe = PipelineController(name='p', project='t')\n"
        "pipe.set_default_execution_queue('default')\n"
        "pipe.add_function_step('one', work, {'x': 1}, ['y'])\n"
        "pipe.start()\n"
        "raise RuntimeError('start() came back')\n"
    )
    done = run("pipeline.py", "--fast", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    script = canned.to("POST", "runs")[0].json()["definition"]["steps"][0]["task"]["script"]
    assert {name: script[name] for name in ("entry_point", "function", "returns", "arguments")} == {
        "entry_point": "pipeline.py",
        "function": "work",
        "returns": ["y"],
        "arguments": ["--fast"],
    }
    assert [asked.path for asked in canned.asked if asked.method == "PUT"] == [f"blobs/{script['source']}"]
    json.dumps(script)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_in_a_task_of_an_agent_start_waits_and_a_failed_run_fails_the_task(
    canned: Canned, monkeypatch: pytest.MonkeyPatch, status: str
):
    monkeypatch.setenv("FOLDLINE_TASK_ID", "d" * 32)
    canned.on("POST", "runs", Answer(201, RUN))
    canned.on("GET", f"runs/{RUN['id']}", Answer(200, RUN), Answer(200, {**RUN, "status": status, "reason": "why"}))
    made = pipeline()
    made.add_step("a", base_task_id="b" * 32)
    if status == "completed":
        assert made.start() is True
    else:
        with pytest.raises(FoldlineError, match=r"'iris #3' .* is failed: why"):
            made.start()
    assert canned.to("POST", "runs")[0].json()["origin"] == "d" * 32
