"""Pipeline functions hosted by this process, their steps run by an agent of this machine: server and agent are real."""

import importlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from foldline import Logger, PipelineController, PipelineDecorator, Task, scripts
from foldline.automation.local_agent import LocalAgent
from foldline.client import Client
from foldline.errors import FoldlineError
from tests.sdk.processes import run
from tests.support.waiting import wait_until

QUEUE = "decorated"
_snapshots: dict[Path, Any] = {}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """decorated_components.py, imported from a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(Path(__file__).with_name("decorated_components.py"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("decorated_components")
        patch.delitem(sys.modules, "decorated_components")


@pytest.fixture(scope="module")
def _agent(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An agent for the steps. Others find their names in its home, and take others than its own."""
    with pytest.MonkeyPatch.context() as patch, Client(server_url) as client:
        patch.setenv("FOLDLINE_HOME", str(tmp_path_factory.mktemp("home")))
        client.queues.create(QUEUE)
        with LocalAgent(QUEUE, server_url):
            yield


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Decorating is said once in a process; each test begins as if it were the first."""
    # All these pipelines travel with one snapshot of this repository.
    monkeypatch.setattr(scripts, "_snapshots", _snapshots)
    monkeypatch.setattr(PipelineDecorator, "mode", "")
    if "project" in request.fixturenames:
        request.getfixturevalue("_agent")


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return f"{request.node.name}-{uuid4().hex[:8]}"


def pipeline(project: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    options = {"default_queue": QUEUE, "start_controller_locally": True, **options}
    return PipelineDecorator.pipeline(name="p", project=project, **options)


class Made:
    """The runs that this process has submitted, as they stand now."""

    def __init__(self, server: Client, capsys: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._capsys = capsys
        self._ids: list[str] = []

    def run(self, number: int = 0) -> dict[str, Any]:
        self._ids += re.findall(r"\((\w{32})\) was submitted", self._capsys.readouterr().out)
        return self._server.runs.get(self._ids[number])

    def steps(self, number: int = 0) -> dict[str, dict[str, Any]]:
        return {step["name"]: step for step in self._server.runs.steps(self.run(number)["id"])}


@pytest.fixture
def made(server: Client, capsys: pytest.CaptureFixture[str]) -> Made:
    return Made(server, capsys)


def test_a_function_branches_loops_and_gathers(parts: Any, server: Client, project: str, made: Made):
    @pipeline(project, return_value="result")
    def function(start: int, names: list[str], scale: float = 2, note: str | None = None) -> Any:
        first = parts.add(start)
        total = parts.add(first, 10) if first > 5 else parts.add(first, b=20)
        many = [parts.add(total, number) for number in range(3)]
        low, high = parts.bounds(many)
        return {"low": low, "high": high, "given": [names, scale, note]}

    assert function(3, names=["a"]) == {"low": 24, "high": 26, "given": [["a"], 2, None]}
    run = made.run()
    assert (run["status"], run["name"]) == ("completed", "p #1")
    assert run["parameters"] == {"start": 3, "names": ["a"], "scale": 2, "note": None}
    assert {name: step["parents"] for name, step in made.steps().items()} == {
        "add": [],
        "add_1": ["add"],
        "add_2": ["add_1"],
        "add_3": ["add_1"],
        "add_4": ["add_1"],
        "bounds": ["add_2", "add_3", "add_4"],
    }
    assert Task(run["id"]).artifacts["result"].get()["low"] == 24
    assert server.runs.verify(run["id"])["ok"] is True


def test_independent_calls_start_at_once(parts: Any, server: Client, project: str, tmp_path: Path):
    @pipeline(project)
    def function(folder: str) -> bool:
        first = parts.meet(folder, "first", "third")
        second = parts.describe(first)
        third = parts.meet(folder, "third", "first")
        return bool(third) and second == "True []"

    assert function(str(tmp_path)) is True


def test_arguments_are_what_they_were(parts: Any, project: str):
    values: dict[str, Any] = {
        "none": None,
        "bool": True,
        "int": 3,
        "float": 3.0,
        "text": "${not.a.reference}",
        "tuple": (1, "a"),
        "keys": {1: [2.0]},
        "data": parts.Pair(1, {2}),
        "set": {1},
    }

    @pipeline(project)
    def function() -> list[str]:
        one = parts.add(1)
        nested = [parts.Pair(one, (one, "plain")), {"deep": [one, None]}]
        return [str(text) for text in (parts.describe(1, **values), parts.describe(nested, note=one))]

    nested = [parts.Pair(2, (2, "plain")), {"deep": [2, None]}]
    assert function() == [f"1 {sorted(values.items())!r}", f"{nested!r} [('note', 2)]"]


def test_looking_at_a_failed_step_is_a_value_error(parts: Any, project: str, made: Made):
    @pipeline(project)
    def function() -> Any:
        result = parts.boom("no data")
        try:
            return str(result)
        except ValueError as why:
            return str(why)

    with pytest.raises(ValueError, match="step 'boom' failed: ValueError: no data"):
        function()
    run = made.run()
    assert (run["status"], run["step_counts"]["failed"]) == ("failed", 1)


def test_a_failure_that_nobody_looks_at_fails_the_run(parts: Any, project: str, made: Made):
    @pipeline(project)
    def function() -> None:
        parts.boom("no data")

    with pytest.raises(ValueError, match="step 'boom' failed: ValueError: no data"):
        function()
    run = made.run()
    assert run["status"] == "failed"
    assert "no data" in run["reason"]


def test_a_failure_to_be_passed_over_is_none_and_the_run_completes(parts: Any, project: str, made: Made):
    @pipeline(project)
    def function() -> Any:
        result = parts.harmless_boom("no data")
        return parts.add(1) if result == None else None  # noqa: E711 - a stand-in is no None

    assert function() == 2
    assert made.run()["status"] == "completed"
    assert made.steps()["boom, but go on"]["status"] == "failed"


def test_a_function_that_raises_fails_the_run_and_stops_its_steps(parts: Any, project: str, made: Made, tmp_path: Path):
    begun = tmp_path / "begun"

    @pipeline(project)
    def function() -> None:
        parts.wait_for_ever(str(begun))
        wait_until(begun.exists, "the step to begin", 60)
        raise KeyError("what now")

    with pytest.raises(KeyError, match="what now"):
        function()
    run = made.run()
    assert run["status"] == "failed"
    assert "KeyError: 'what now'" in run["reason"]
    assert made.steps()["wait_for_ever"]["status"] == "stopped"


def test_a_run_that_is_stopped_interrupts_its_function(server: Client, project: str, made: Made):
    @pipeline(project)
    def function() -> None:
        current = PipelineDecorator.get_current_pipeline()
        assert current is not None
        server.runs.stop(str(current.id), "enough")
        time.sleep(600)

    with pytest.raises(KeyboardInterrupt):
        function()
    assert (made.run()["status"], made.run()["reason"]) == ("stopped", "enough")


def test_the_pipeline_stops_itself(parts: Any, project: str, made: Made):
    @pipeline(project)
    def function() -> None:
        current = PipelineDecorator.get_current_pipeline()
        assert current is not None
        current.stop(mark_failed=True)
        with pytest.raises(FoldlineError, match="adds no more steps"):
            parts.add(1)

    with pytest.raises(FoldlineError, match="is failed: stopped by its author"):
        function()
    assert made.run()["status"] == "failed"


def test_what_the_function_reports_is_the_runs(project: str, made: Made):
    @pipeline(project)
    def function() -> None:
        current = PipelineDecorator.get_current_pipeline()
        task = Task.current_task()
        assert current is not None
        assert task is not None
        assert task.id == current.id
        PipelineDecorator.upload_artifact("mine", {"a": 1})
        PipelineDecorator.get_logger().report_scalar("t", "s", 3, 0)
        logger = Logger.current_logger()
        assert logger is not None
        logger.report_scalar("t", "s", 4, 1)

    function()
    assert PipelineDecorator.get_current_pipeline() is None
    task = Task(made.run()["id"])
    assert task.artifacts["mine"].get() == {"a": 1}
    assert task.get_last_scalar_metrics()["t"]["s"]["last"] == 4


def test_arguments_are_shown_in_their_sections(server: Client, project: str, made: Made):
    @pipeline(project, args_map={"Data": ["url"], "Model": ["depth"]})
    def function(url: str, depth: int = 3, other: bool = False) -> None:
        pass

    function("http://x")
    sections = server.tasks.get(made.run()["id"])["hyperparameters"]
    shown = {name: {key: one["value"] for key, one in sections[name].items()} for name in ("Data", "Model")}
    assert shown == {"Data": {"url": "http://x"}, "Model": {"depth": 3}}
    assert sections["Args"]["other"]["value"] is False


def test_a_value_of_another_type_than_the_annotations_is_refused(server: Client, project: str, made: Made):
    @pipeline(project)
    def function(depth: int = 3) -> int:
        return depth

    assert function() == 3
    with pytest.raises(ValueError, match="'depth' takes int, not 'deep'"):
        server.runs.clone(made.run()["id"], parameters={"depth": "deep"})


def test_debugging_calls_the_functions_and_makes_no_steps(parts: Any, project: str, made: Made):
    PipelineDecorator.debug_pipeline()

    @pipeline(project, return_value="sum")
    def function(start: int) -> int:
        found = parts.add(start)
        assert type(found) is int
        low, _ = parts.bounds([found, 9])
        PipelineController.upload_artifact("seen", low)
        return low

    assert function(4) == 5
    run = made.run()
    assert (run["status"], made.steps()) == ("completed", {})
    assert {name: one.get() for name, one in Task(run["id"]).artifacts.items()} == {"sum": 5, "seen": 5}


def test_each_call_is_a_run(parts: Any, project: str, made: Made):
    @pipeline(project, multi_instance_support=True)
    def function(n: int) -> Any:
        return parts.add(n)

    assert [function(n) for n in (1, 2)] == [2, 3]
    assert [made.run(number)["name"] for number in (0, 1)] == ["p #1", "p #2"]


def test_calls_in_parallel_are_processes_whose_results_come_in_order(
    parts: Any, server: Client, project: str, tmp_path: Path
):
    @pipeline(project, multi_instance_support="parallel")
    def function(mine: str, other: str) -> Any:
        return f"{mine} met {other}" if parts.meet(str(tmp_path), mine, other) else ""

    assert function("a", "b") is None
    assert function("b", "a") is None
    assert PipelineDecorator.wait_for_multi_pipelines() == ["a met b", "b met a"]
    assert PipelineDecorator.wait_for_multi_pipelines() == []
    assert {run["status"] for run in server.runs.list(project=project)} == {"completed"}


def test_a_parallel_pipeline_that_fails_is_an_error(server: Client, project: str):
    @pipeline(project, multi_instance_support="parallel")
    def function() -> Any:
        raise KeyError("what now")

    function()
    with pytest.raises(FoldlineError, match="KeyError: 'what now'"):
        PipelineDecorator.wait_for_multi_pipelines()


def test_a_pipeline_in_a_pipeline_is_a_run_of_its_own(parts: Any, server: Client, project: str, made: Made):
    @pipeline(f"{project}-inner")
    def inner(n: int) -> Any:
        return parts.add(n)

    @pipeline(project)
    def outer(n: int) -> Any:
        first = parts.add(n)
        second = inner(first)
        return parts.add(second)

    assert outer(1) == 4
    assert made.run(1)["parameters"] == {"n": 2}
    assert server.tasks.get(made.run(1)["id"])["origin"] == made.run()["id"]


def test_a_step_may_run_a_pipeline_of_its_own(parts: Any, server: Client, project: str, made: Made):
    @pipeline(project)
    def function() -> Any:
        return parts.runs_a_pipeline(1)

    assert function() == 12
    step = made.steps()["runs_a_pipeline"]
    [inner] = server.runs.list(origin=step["task_id"])
    assert (inner["status"], inner["project"]) == ("completed", "inside a step")


def test_inside_a_step_components_are_plain_functions(parts: Any, project: str, made: Made):
    @pipeline(project)
    def function() -> Any:
        return parts.calls_others(1)

    assert function() == 12
    assert list(made.steps()) == ["calls_others"]


def test_outside_of_a_pipeline_components_are_plain_functions(parts: Any):
    assert parts.add(1, b=2) == 3
    assert parts.bounds([1, 2]) == (1, 2)


def test_decorators_below_and_above_a_component_count(parts: Any, server: Client, project: str):
    @pipeline(project)
    def function() -> list[int]:
        return [parts.decorated_below(1) + 0, parts.decorated_above(2) + 0]

    # What stands above is called where the component is called, and in the step, which imports its name.
    assert function() == [101, 202]


def test_callbacks_are_asked_by_the_host(parts: Any, project: str, made: Made, tmp_path: Path):
    parts.asked.clear()

    @pipeline(project)
    def function() -> Any:
        skipped, kept = parts.only_large(1), parts.only_large(2)
        again = parts.fails_once(str(tmp_path / "tries"))
        return [skipped == None, kept + 0, again + 0]  # noqa: E711

    assert function() == [True, 2, 2]
    steps = made.steps()
    assert [steps[name]["status"] for name in ("only_large", "only_large_1", "fails_once")] == [
        "skipped",
        "completed",
        "completed",
    ]
    assert ("fails_once", "completed") in parts.asked
    assert parts.asked[-1] != ("running", "failed")
    assert made.run()["status"] == "completed"


def test_a_step_reuses_the_result_of_an_equal_one(parts: Any, project: str, made: Made):
    @pipeline(project, multi_instance_support=True)
    def function() -> list[Any]:
        return [parts.cached(n) for n in (1, 2)]

    assert function() == [11, 12]
    assert function() == [11, 12]
    assert [step["status"] for step in made.steps(1).values()] == ["cached", "cached"]


def test_run_locally_brings_its_own_agent_also_for_what_is_inside(parts: Any, project: str, made: Made):
    PipelineDecorator.run_locally()

    @pipeline(project, start_controller_locally=False, default_queue="nobody listens here")
    def inner(n: int) -> Any:
        return parts.elsewhere(n)

    @pipeline(project, start_controller_locally=False, default_queue=None)
    def outer(n: int) -> Any:
        return inner(parts.elsewhere(n))

    assert outer(1) == 3
    assert [made.run(number)["status"] for number in (0, 1)] == ["completed", "completed"]
    [queue] = {step["queue"] for number in (0, 1) for step in made.steps(number).values()}
    assert queue.startswith("local-p-")


SESSION = """
from foldline import PipelineDecorator

@PipelineDecorator.component
def double(n):
    return 2 * n

@PipelineDecorator.pipeline(name="p", project="t", default_queue=QUEUE, pipeline_execution_queue=None)
def pipeline(n):
    return double(double(n))

print("returned", pipeline(3))
"""


def test_an_interactive_session_is_a_host_too(project: str, tmp_path: Path):
    done = run("-c", SESSION.replace("QUEUE", repr(QUEUE)), cwd=tmp_path, FOLDLINE_PICKLE="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "returned 12"
