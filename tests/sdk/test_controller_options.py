"""Each option of a pipeline and of a step, as the definition that the server gets says it."""

import json
from pathlib import Path
from typing import Any

import pytest

from foldline import PipelineController, Task, scripts
from foldline.automation import Retry
from foldline.errors import DefinitionError, FoldlineError
from tests.sdk.canned import Answer, Canned

TEMPLATE = "b" * 32
RUN: dict[str, Any] = {"id": "a" * 32, "name": "iris #3", "status": "running", "reason": "", "warnings": []}


def work(x: int = 1) -> int:
    return x


def to_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def from_bytes(data: bytes) -> Any:
    return json.loads(data)


def callback(*args: Any) -> bool:
    return True


def pipeline(**options: Any) -> PipelineController:
    made = PipelineController(name="iris", project="examples", **options)
    made.set_default_execution_queue("default")
    return made


def only_step(made: PipelineController) -> dict[str, Any]:
    return made.definition()["steps"][0]


METRICS = [
    ([("t", "s")], [["t", "s", "t", "s"]]),
    ([["t", "s"], ("u", "v")], [["t", "s", "t", "s"], ["u", "v", "u", "v"]]),
    ([(("t", "s"), ("t2", "s2"))], [["t", "s", "t2", "s2"]]),
    ([[("t", "s"), ("t2", "s2")]], [["t", "s", "t2", "s2"]]),
]


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"retry_on_failure": 2}, "retry", {"times": 2}),
        ({"retry_on_failure": 0}, "retry", {"times": 0}),
        (
            {"retry_on_failure": Retry(times=3, delay=1, factor=2, jitter=0.1, max_delay=9)},
            "retry",
            {"times": 3, "delay": 1, "factor": 2, "jitter": 0.1, "max_delay": 9},
        ),
        ({"retry_on_failure": callback}, "hooks", ["retry"]),
        ({"pre_execute_callback": callback}, "hooks", ["pre"]),
        (
            {"post_execute_callback": callback, "pre_execute_callback": callback, "status_change_callback": callback},
            "hooks",
            ["pre", "post", "status"],
        ),
        ({"time_limit": 5}, "time_limit", 5.0),
        ({"cache_executed_step": True}, "cache", True),
        *(({"monitor_metrics": given}, "monitor_metrics", said) for given, said in METRICS),
        ({"monitor_artifacts": ["a", ("b", "c")]}, "monitor_artifacts", [["a", "a"], ["b", "c"]]),
        ({"monitor_models": [("m", "n"), "model_*"]}, "monitor_models", [["m", "n"], ["model_*", "model_*"]]),
        ({"stage": "training"}, "stage", "training"),
    ],
)
@pytest.mark.parametrize("kind", ["template", "function"])
def test_an_option_of_a_step(kind: str, options: dict[str, Any], field: str, said: Any):
    made = pipeline()
    if kind == "template":
        made.add_step("a", base_task_id=TEMPLATE, **options)
    else:
        made.add_function_step("a", work, **options)
    assert only_step(made)[field] == said


def test_what_is_not_said_of_a_step_is_not_sent():
    made = pipeline()
    made.add_step("a", base_task_id=TEMPLATE)
    assert set(only_step(made)) == {"name", "base_task_id", "parents", "recursively_parse_parameters"}


def test_a_template_that_is_not_to_be_cloned():
    made = pipeline()
    made.add_step("a", base_task_id=TEMPLATE, clone_base_task=False)
    assert only_step(made)["clone"] is False


def test_a_factory_stands_for_a_template():
    made = pipeline()
    made.add_step("a", base_task_factory=callback)
    step = only_step(made)
    assert step["hooks"] == ["factory"]
    assert "base_task_id" not in step
    assert made.get_pipeline_dag()["a"].task_factory_func is callback


def test_a_draft_waits_for_somebody_to_enqueue_it():
    made = pipeline()
    made.add_function_step("a", work, draft=True)
    assert only_step(made)["draft"] is True


def test_where_results_go_is_the_pipelines_word_unless_the_step_has_its_own():
    made = pipeline(output_uri="s3://bucket")
    made.add_step("a", base_task_id=TEMPLATE)
    made.add_function_step("b", work)
    made.add_function_step("c", work, output_uri="file:///data")
    made.add_function_step("d", work, output_uri=True)
    made.add_step("e", base_task_id=TEMPLATE, output_uri=True)
    a, b, c, d, e = made.definition()["steps"]
    assert a["task_overrides"] == {"output_destination": "s3://bucket"}
    assert e["task_overrides"] == {"output_destination": ""}, "the server, whatever its template says"
    assert b["task"]["output_destination"] == "s3://bucket"
    assert c["task"]["output_destination"] == "file:///data"
    assert "output_destination" not in d["task"]


def test_where_the_runs_own_files_go_is_said_before_it_starts(canned: Canned):
    run_id = RUN["id"]
    canned.on("POST", "runs", Answer(201, RUN))
    canned.on("PATCH", f"tasks/{run_id}", Answer(200, {}))
    canned.on("POST", f"runs/{run_id}/start", Answer(200, RUN))
    made = pipeline(output_uri="s3://bucket")
    made.add_step("a", base_task_id=TEMPLATE)
    with pytest.raises(SystemExit):
        made.start()
    said = [(one.method, one.path.rpartition("/")[2]) for one in canned.asked][:3]
    assert said == [("POST", "runs"), ("PATCH", run_id), ("POST", "start")]
    assert canned.to("POST", "runs")[0].json()["draft"] is True
    assert canned.to("PATCH", f"tasks/{run_id}")[0].json() == {"output_destination": "s3://bucket"}


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"retry_on_failure": 2}, "retry", {"times": 2}),
        (
            {"retry_on_failure": Retry(1)},
            "retry",
            {"times": 1, "delay": 0, "factor": 1, "jitter": 0, "max_delay": None},
        ),
        ({"add_pipeline_tags": True}, "add_pipeline_tags", True),
        ({"abort_on_failure": True}, "abort_on_failure", True),
        ({"target_project": "elsewhere"}, "target_project", "elsewhere"),
        ({"target_project": None}, "target_project", False),
        ({"version": "v2.0"}, "version", "v2.0"),
        ({"add_run_number": False}, "add_run_number", False),
    ],
)
def test_an_option_of_the_pipeline(options: dict[str, Any], field: str, said: Any):
    assert pipeline(**options).definition()[field] == said


def test_a_function_that_decides_on_retries_is_asked_about_each_step_that_has_no_word_of_its_own():
    made = pipeline(retry_on_failure=callback)
    made.add_step("a", base_task_id=TEMPLATE)
    made.add_step("b", base_task_id=TEMPLATE, retry_on_failure=1)
    made.add_approval_step("c")
    a, b, c = made.definition()["steps"]
    assert a["hooks"] == ["retry"]
    assert "hooks" not in b
    assert "hooks" not in c


@pytest.mark.parametrize("given", ["twice", 1.5, [1]])
def test_a_retry_that_is_none_is_refused(given: Any):
    with pytest.raises(TypeError, match="a number, a Retry, or a function"):
        pipeline(retry_on_failure=given)


def test_the_runs_time_limit_is_given_in_minutes():
    made = pipeline()
    made.set_pipeline_execution_time_limit(1.5)
    assert made.definition()["time_limit"] == 90
    made.set_pipeline_execution_time_limit(None)
    assert "time_limit" not in made.definition()


def test_an_approval_is_a_step_without_a_template_and_without_retries():
    made = PipelineController("p", "t")
    made.add_approval_step("release", message="Is it good?", deadline=60, stage="last")
    assert only_step(made) == {
        "name": "release",
        "approval": {"message": "Is it good?", "deadline": 60.0},
        "parents": [],
        "stage": "last",
        "recursively_parse_parameters": False,
        "retry": {"times": 0},
    }


@pytest.mark.parametrize(
    ("default", "kind", "said"),
    [
        (0.1, None, None),
        ("0.1", "float", "float"),
        (3, int, "int"),
        ("3", int, "int"),
        ([1, 2], "list", "list"),
        ("[1, 2]", "list", "list"),
        ("true", "bool", "bool"),
        (None, "dict", "dict"),
        ("x", "str", "str"),
    ],
)
def test_a_parameter_is_of_a_type_when_that_is_said(default: Any, kind: Any, said: str | None):
    made = pipeline()
    made.add_parameter("x", default, param_type=kind)
    parameter = made.definition()["parameters"][0]
    assert parameter["type"] == said
    expected = (
        {"0.1": 0.1, "3": 3, "[1, 2]": [1, 2], "true": True}.get(default, default)
        if said and isinstance(default, str)
        else default
    )
    assert parameter["default"] == expected


def test_a_default_that_is_not_of_the_type_is_refused():
    with pytest.raises(DefinitionError, match="'many' is no int"):
        pipeline().add_parameter("x", "many", param_type="int")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"monitor_metrics": ["loss"]}, "monitor_metrics is a pair, not 'loss'"),
        ({"monitor_metrics": [("a", ("b", "c"))]}, "is a pair, not 'a'"),
        ({"monitor_artifacts": [("a", "b", "c")]}, "monitor_artifacts is a pair"),
        ({"continue_behaviour": {"go_on": True}}, "has no 'go_on'"),
    ],
)
def test_options_that_mean_nothing_are_named(options: dict[str, Any], sentence: str):
    made = pipeline()
    with pytest.raises(ValueError, match=sentence):
        made.add_step("a", base_task_id=TEMPLATE, pre_execute_callback=callback, **options)
    assert made.get_pipeline_dag() == {}


def test_a_callback_is_a_function():
    with pytest.raises(TypeError, match="a callback is a function"):
        pipeline().add_step("a", base_task_id=TEMPLATE, pre_execute_callback="print")  # pyright: ignore


def test_functions_that_make_bytes_travel_by_name_with_the_steps():
    made = pipeline(artifact_serialization_function=to_bytes, artifact_deserialization_function=from_bytes)
    made.add_function_step("a", work)
    said = json.loads(only_step(made)["task"]["configuration"]["artifact serialization"]["value"])
    assert {way: script["function"] for way, script in said.items()} == {
        "serialize": "to_bytes",
        "deserialize": "from_bytes",
    }
    assert all("source" not in script for script in said.values())


def test_what_the_node_says_is_what_was_said():
    made = pipeline()
    made.add_function_step(
        "a",
        work,
        {"x": 2},
        ["y"],
        time_limit=7,
        docker="python:3.13",
        cache_executed_step=True,
        continue_behaviour={"continue_on_abort": False},
        monitor_artifacts=["y"],
        task_type="training",
    )
    node = made.get_pipeline_dag()["a"]
    assert (node.timeout, node.explicit_docker_image, node.cache_executed_step) == (7, "python:3.13", True)
    assert (node.continue_on_fail, node.continue_on_abort, node.skip_children_on_fail) == (True, False, True)
    assert (node.parameters, node.return_artifacts, node.job_type) == ({"kwargs/x": 2}, ["y"], "training")
    assert (node.job_code_section, node.job, node.executed, node.status) == ("a", None, None, "pending")


# What a run with callbacks needs: a process for them.


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file is the script that the process runs, whoever runs the tests."""
    monkeypatch.setattr(scripts, "main_file", lambda: Path(__file__))


@pytest.mark.usefixtures("script")
def test_callbacks_make_a_host_of_this_script_with_what_it_is_to_run_in(canned: Canned):
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    made = pipeline(docker="python:3.13", docker_args="--rm", packages=["numpy"], working_dir="tests")
    made.add_step("a", base_task_id=TEMPLATE)
    with pytest.raises(SystemExit) as end:
        made.start(queue="hosts", step_task_completed_callback=callback)
    assert end.value.code == 0
    sent = canned.to("POST", "runs")[0].json()["definition"]
    assert sent["hooks"] == ["post"]
    host = sent["host"]
    assert host["queue"] == "hosts"
    assert host["task"]["type"] == "controller"
    assert host["task"]["container"] == {"image": "python:3.13", "arguments": "--rm", "setup_script": ""}
    script = host["task"]["script"]
    assert script["requirements"] == {"pip": "numpy"}
    assert script["working_dir"] == "tests"
    assert len(script["source"]) == 64


@pytest.mark.usefixtures("script")
def test_a_repository_of_the_pipeline_is_where_its_host_runs(canned: Canned):
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", "runs", Answer(201, RUN))
    made = pipeline(repo="https://example.org/r.git", repo_branch="main", repo_commit="abc")
    made.add_step("a", base_task_id=TEMPLATE, pre_execute_callback=callback)
    made.create_draft()
    script = canned.to("POST", "runs")[0].json()["definition"]["host"]["task"]["script"]
    assert (script["repository"], script["branch"], script["commit"]) == ("https://example.org/r.git", "main", "abc")


def test_a_session_without_a_script_has_no_host_to_offer(canned: Canned, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scripts, "main_file", lambda: None)
    made = pipeline()
    made.add_step("a", base_task_id=TEMPLATE, pre_execute_callback=callback)
    with pytest.raises(DefinitionError, match="start it locally"):
        made.start()
    assert canned.asked == []


def test_without_callbacks_there_is_no_host(canned: Canned):
    canned.on("POST", "runs", Answer(201, RUN))
    made = pipeline(docker="python:3.13")
    made.add_step("a", base_task_id=TEMPLATE, retry_on_failure=2, cache_executed_step=True)
    made.create_draft()
    assert "host" not in canned.to("POST", "runs")[0].json()["definition"]


# The pipeline as a task.


def test_what_is_said_to_the_pipelines_task_too_early_is_said_as_it_is_submitted(canned: Canned):
    task = {"id": RUN["id"], "hyperparameters": {}, "configuration": {}, "tags": [], "comment": ""}
    canned.on("POST", "runs", Answer(201, RUN))
    canned.on("GET", f"tasks/{RUN['id']}", Answer(200, task))
    canned.on("PATCH", f"tasks/{RUN['id']}", Answer(200, task))
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", f"tasks/{RUN['id']}/artifacts", Answer(201, {}))
    canned.on("POST", f"tasks/{RUN['id']}/scalars", Answer(204))
    made = pipeline()
    made.add_step("a", base_task_id=TEMPLATE)
    made.task.set_comment("the first")
    assert made.connect_configuration({"layers": 2}, name="model") == {"layers": 2}
    assert made.upload_artifact("note", {"a": 1}) is True
    made.get_logger().report_scalar("t", "s", value=1.0, iteration=0)
    with pytest.raises(FoldlineError, match="no task before it is started: ask for get_status"):
        made.task.get_status()
    assert canned.asked == []
    made.create_draft()
    patched = [asked.json() for asked in canned.to("PATCH", f"tasks/{RUN['id']}")]
    assert patched[0] == {"comment": "the first"}
    assert json.loads(patched[1]["configuration"]["model"]["value"]) == {"layers": 2}
    assert canned.to("POST", f"tasks/{RUN['id']}/artifacts")[0].json()["name"] == "note"
    assert canned.to("POST", f"tasks/{RUN['id']}/scalars")[0].json()["points"][0]["value"] == 1.0
    assert isinstance(made.task, Task)


def test_in_a_step_they_speak_for_the_run_it_belongs_to(canned: Canned, monkeypatch: pytest.MonkeyPatch):
    run_id = "e" * 32
    monkeypatch.setenv("FOLDLINE_TASK_ID", "d" * 32)
    canned.on("GET", f"tasks/{run_id}", Answer(200, {"id": run_id, "output_destination": ""}))
    monkeypatch.setenv("FOLDLINE_RUN_ID", run_id)
    canned.on("HEAD", "blobs/*", Answer(200, {}))
    canned.on("POST", f"tasks/{run_id}/artifacts", Answer(201, {}))
    assert PipelineController.upload_artifact("note", {"a": 1}, metadata={"b": 2}) is True
    sent = canned.to("POST", f"tasks/{run_id}/artifacts")[0].json()
    assert (sent["name"], sent["metadata"]) == ("note", {"b": 2})
    assert "attempt" not in sent


def test_where_there_is_no_pipeline_nobody_is_spoken_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foldline.automation.reporting._last", None)
    with pytest.raises(ValueError, match="there is no pipeline here"):
        PipelineController.upload_artifact("note", 1)
