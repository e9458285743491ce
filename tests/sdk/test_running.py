"""A step's process: the caller's script is imported for its function, and nothing in it begins anything.

Each case is a real process, as a step is: one main file in a process's life.
"""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from foldline.client import Client
from foldline.errors import FoldlineError
from foldline.running import call_function, import_paths
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import python, run

LOAD = """
import json, sys
from pathlib import Path
from foldline.running import load_function
function = load_function(Path(sys.argv[1]), json.loads(sys.argv[2]))
print("result", json.dumps(function(**json.loads(sys.argv[3]))))
"""


def result_of(root: Path, script: dict[str, Any], **kwargs: Any) -> Any:
    """What the function returns when a process of its own loads and calls it; no server can be reached from there."""
    said = python("-c", LOAD, str(root), json.dumps(script), json.dumps(kwargs), FOLDLINE_URL="http://127.0.0.1:9")
    lines = said.splitlines()
    assert "must not be printed" not in said
    return json.loads(lines[-1].removeprefix("result "))


def write(root: Path, name: str, text: str) -> dict[str, Any]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return {"entry_point": name, "function": "step"}


PIPELINE = """
    from foldline import Task
    from foldline.automation import PipelineController

    def step(x):
        return helper(x)

    def helper(x):
        return x * FACTOR

    FACTOR = 3
    {begin}
    pipe = PipelineController(name="p", project="t")
    pipe.add_parameter("n", 1)
    pipe.add_function_step("one", step, function_kwargs={{"x": "${{pipeline.n}}"}})
    pipe.add_step("two", base_task_id="0" * 32, parents=["one"])
    {end}
    print("must not be printed")
    FACTOR = 0
"""


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param("", "pipe.start()", id="start"),
        pytest.param("", "pipe.start_locally(run_pipeline_steps_locally=True)", id="start_locally"),
        pytest.param("", "pipe.create_draft()", id="create_draft"),
        pytest.param("task = Task.init('p', 't')", "task.execute_remotely('q')", id="execute_remotely"),
        pytest.param("", "try: pipe.start()\n    except Exception: pass", id="in a try"),
    ],
)
def test_a_script_without_a_guard_ends_where_its_pipeline_would_start(tmp_path: Path, begin: str, end: str):
    script = write(tmp_path, "pipeline.py", PIPELINE.format(begin=begin, end=end))
    assert result_of(tmp_path, script, x=2) == 6


def test_the_guard_of_a_script_stays_closed(tmp_path: Path):
    script = write(
        tmp_path,
        "pipeline.py",
        """
        def step(): return __name__
        if __name__ == "__main__":
            raise RuntimeError("the guard was opened")
        """,
    )
    assert result_of(tmp_path, script) == "__foldline_main__"


def test_a_task_at_the_top_is_inert_while_the_step_is_loaded(tmp_path: Path):
    script = write(
        tmp_path,
        "train.py",
        """
        from foldline import Task
        task = Task.init(project_name="p", task_name="t")
        params = task.connect({"lr": 0.1})
        config = task.connect_configuration({"layers": 2}, name="model")
        task.add_tags(["x"]); task.upload_artifact("a", 1)
        task.get_logger().report_scalar("t", "s", 1, 0)
        clone = Task.clone("0" * 32)
        Task.enqueue(clone, "default")
        made = Task.create("p", "other")
        current = Task.current_task()
        def step(): return [params, config, bool(made.id)]
        """,
    )
    assert result_of(tmp_path, script) == [{"lr": 0.1}, {"layers": 2}, False]


def test_a_script_reads_the_command_line_of_its_author(tmp_path: Path):
    script = write(
        tmp_path,
        "train.py",
        """
        import argparse
        from foldline import Task
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int, required=True)
        Task.init("p", "t")
        options = parser.parse_args()
        def step(): return options.epochs
        """,
    )
    assert result_of(tmp_path, {**script, "arguments": ["--epochs", "7"]}) == 7


def test_modules_beside_the_script_and_at_the_root_are_found(tmp_path: Path):
    write(tmp_path, "common/tools.py", "def double(x): return 2 * x\n")
    write(tmp_path, "jobs/neighbour.py", "OFFSET = 1\n")
    script = write(
        tmp_path,
        "jobs/pipeline.py",
        """
        from common.tools import double
        from neighbour import OFFSET
        def step(x): return double(x) + OFFSET
        """,
    )
    assert result_of(tmp_path, script, x=5) == 11
    module = {"module": "common.tools", "entry_point": "jobs/pipeline.py", "function": "double"}
    assert result_of(tmp_path, module, x=5) == 10


def test_a_module_is_found_from_where_it_was_imported(tmp_path: Path):
    write(tmp_path, "src/shop/__init__.py", "")
    write(tmp_path, "src/shop/steps.py", "def step(): return __name__\n")
    script = {"module": "shop.steps", "entry_point": "jobs/run.py", "working_dir": "src", "function": "step"}
    assert result_of(tmp_path, script) == "shop.steps"


def test_processes_that_the_step_starts_find_its_functions(tmp_path: Path):
    script = write(
        tmp_path,
        "pipeline.py",
        """
        import multiprocessing
        from foldline.automation import PipelineController
        def square(x): return x * x
        def step(numbers):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.map(square, numbers)
        PipelineController(name="p", project="t").start()
        """,
    )
    assert result_of(tmp_path, script, numbers=[1, 2, 3]) == [1, 4, 9]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("def other(): pass\n", "there is no function 'step'", id="not there"),
        pytest.param("import sys; sys.exit(3)\ndef step(): pass\n", "ended with exit code 3", id="exits"),
        pytest.param("raise KeyError('why')\n", "KeyError: 'why'", id="raises"),
    ],
)
def test_what_is_wrong_with_a_script_is_said(tmp_path: Path, text: str, sentence: str):
    script = write(tmp_path, "bad.py", text)
    done = run("-c", LOAD, str(tmp_path), json.dumps(script), "{}")
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]


def test_one_process_loads_one_main_file(tmp_path: Path):
    write(tmp_path, "a.py", "def step(): return 'a'\n")
    write(tmp_path, "b.py", "def step(): return 'b'\n")
    code = """
    import sys
    from pathlib import Path
    from foldline.errors import FoldlineError
    from foldline.running import load_function
    root = Path(sys.argv[1])
    a = load_function(root, {"entry_point": "a.py", "function": "step"})
    assert load_function(root, {"entry_point": "a.py", "function": "step"}) is a
    try:
        load_function(root, {"entry_point": "b.py", "function": "step"})
    except FoldlineError as no:
        print(no)
    """
    assert "one of its own" in python("-c", textwrap.dedent(code), str(tmp_path))


def test_paths_stand_in_the_order_that_python_gives_a_script(tmp_path: Path):
    script = {"entry_point": "jobs/run.py", "working_dir": "src"}
    assert import_paths(tmp_path, script) == [str(tmp_path / "jobs"), str(tmp_path / "src"), str(tmp_path)]
    assert import_paths(tmp_path, {"entry_point": "run.py"}) == [str(tmp_path)]


def task(identifier: str = "me", returns: list[str] | None = None, **sections: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": identifier,
        "status": "completed",
        "script": {"returns": returns or []},
        "artifacts": {},
        "hyperparameters": {
            section: {name: {"value": value} for name, value in values.items()} for section, values in sections.items()
        },
    }


def test_arguments_come_from_parameters_returns_and_artifacts(canned: Canned, client: Client):
    url = "foldline://blobs/" + "a" * 64 + "/data.json"
    producer = task("up") | {
        "hyperparameters": {"return": {"best": {"value": None}}},
        "artifacts": {"data.v1": {"name": "data.v1", "url": url, "type": "tuple", "format": "json"}},
    }
    canned.on("GET", "tasks/up", Answer(200, producer))
    canned.on("GET", "blobs/" + "a" * 64, Answer(200, b"[1, 2]"))
    seen: list[dict[str, Any]] = []

    def function(**kwargs: Any) -> None:
        seen.append(kwargs)

    given = task(kwargs={"lr": 0.5}, kwargs_artifacts={"data": "up.data.v1", "best": "up.best"})
    with pytest.raises(FoldlineError, match="another hash"):
        call_function(function, given, client)
    cached = Path(os.environ["FOLDLINE_CACHE"]) / "blobs" / ("a" * 64)
    (cached / "data.json").write_text("[1, 2]")
    call_function(function, given, client)
    assert seen == [{"lr": 0.5, "data": (1, 2), "best": None}]
    assert len(canned.to("GET", "tasks/up")) == 2


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("up.absent", "neither an artifact nor a return value 'absent'"),
        ("nobody.x", "there is no task nobody"),
        ("up", "should read '<task id>.<name>'"),
    ],
)
def test_an_argument_from_nowhere_fails_with_its_name(canned: Canned, client: Client, source: str, sentence: str):
    canned.on("GET", "tasks/up", Answer(200, task("up")))
    canned.on("GET", "tasks/nobody", Answer(404, {"detail": "no task"}))
    with pytest.raises(FoldlineError, match=f"argument 'x': .*{sentence}"):
        call_function(lambda x: x, task(kwargs_artifacts={"x": source}), client)


def stored(canned: Canned, client: Client, value: Any, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the artifacts that a function returning `value` leaves."""
    canned.on("PATCH", "tasks/me", Answer(200, {}))
    canned.on("POST", "tasks/me/artifacts", Answer(201, {}))
    canned.on("HEAD", "blobs/*", Answer(404, {}))
    canned.on("PUT", "blobs/*", Answer(201, {}))
    call_function(lambda: value, task(returns=list(names)), client)
    edits = canned.to("PATCH", "tasks/me")
    parameters = edits[0].json()["hyperparameters"]["return"] if edits else {}
    artifacts = {asked.json()["name"]: asked.json() for asked in canned.to("POST", "tasks/me/artifacts")}
    return parameters, artifacts


def test_plain_values_become_parameters_and_others_artifacts(canned: Canned, client: Client):
    parameters, artifacts = stored(canned, client, (0.5, None, [1, 2], {1: 2}), "accuracy", "note", "list", "odd")
    assert parameters == {
        "accuracy": {"value": 0.5, "type": "float"},
        "note": {"value": None, "type": "NoneType"},
    }
    assert {name: artifact["format"] for name, artifact in artifacts.items()} == {"list": "json", "odd": "pickle"}
    sent = {asked.path.removeprefix("blobs/"): asked.content for asked in canned.asked if asked.method == "PUT"}
    assert json.loads(sent[artifacts["list"]["sha256"]]) == [1, 2]


def test_one_name_takes_the_value_whole(canned: Canned, client: Client):
    parameters, artifacts = stored(canned, client, (1, 2), "pair")
    assert parameters == {}
    assert artifacts["pair"]["type"] == "tuple"


def test_without_names_nothing_is_stored(canned: Canned, client: Client):
    assert stored(canned, client, 1) == ({}, {})


@pytest.mark.parametrize(("value", "sentence"), [((1, 2, 3), "returned 3 values"), (1, "returned one int")])
def test_names_and_values_have_to_match(canned: Canned, client: Client, value: Any, sentence: str):
    with pytest.raises(FoldlineError, match=sentence):
        stored(canned, client, value, "a", "b")
