"""What the host of a run makes of the run's questions: which function is called with what, and what is answered."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foldline import PipelineController, Task
from foldline.automation import following
from foldline.automation.nodes import Node
from foldline.errors import DefinitionError, FoldlineError, NotSupported
from tests.sdk.canned import Answer, Canned

RUN_ID, SESSION = "a" * 32, "5e" * 16
RUN: dict[str, Any] = {
    "id": RUN_ID,
    "name": "iris #3",
    "project": "examples",
    "version": 7,
    "status": "running",
    "reason": "",
    "started_at": "2026-11-22T15:00:00.000000Z",
    "ended_at": None,
    "parameters": {"lr": 0.5},
    "pipeline_version": "1.0.0",
    "tags": [],
    "warnings": [],
    "step_counts": {},
}
STEP: dict[str, Any] = {
    "status": "waiting",
    "reason": "",
    "task_id": None,
    "attempts": 0,
    "parents": [],
    "started_at": None,
    "ended_at": None,
}
TEMPLATE = "b" * 32


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch, canned: Canned) -> Iterator[None]:
    """This process as an agent starts it to host the run, which is asked for the first time."""
    monkeypatch.setattr(following, "_taken", None)
    monkeypatch.setenv("FOLDLINE_TASK_ID", RUN_ID)
    monkeypatch.setenv("FOLDLINE_RUN_ID", RUN_ID)
    monkeypatch.setenv("FOLDLINE_SESSION", SESSION)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "2")
    canned.on("GET", f"runs/{RUN_ID}", Answer(200, RUN))
    canned.on("GET", f"tasks/{RUN_ID}", Answer(200, {"id": RUN_ID, "script": {}}))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def question(kind: str, step: str = "train", number: int = 1, **more: Any) -> dict[str, Any]:
    asked = {"id": f"{number:032x}", "kind": kind, "step": step, "attempt": 1, "parameters": None}
    return {**asked, "status": "", "previous": "", "retries": 0, **more}


def asks(canned: Canned, *rounds: list[dict[str, Any]], **steps: dict[str, Any]) -> None:
    """The run asks one round after the other; as everything is answered it has ended."""
    answers = [Answer(200, {"items": items, "status": "running", "version": 8}) for items in rounds]
    canned.on("GET", f"runs/{RUN_ID}/hooks", *answers, Answer(200, {"items": [], "status": "completed", "version": 9}))
    for item in [item for items in rounds for item in items]:
        canned.on("POST", f"runs/{RUN_ID}/hooks/{item['id']}", Answer(200, {"id": item["id"], "accepted": True}))
        if not canned.has("GET", f"runs/{RUN_ID}/steps/{item['step']}"):
            stands = {"name": item["step"], **STEP, **steps.get(item["step"], {})}
            canned.on("GET", f"runs/{RUN_ID}/steps/{item['step']}", Answer(200, stands))


def answer(canned: Canned, number: int = 1) -> dict[str, Any]:
    """What was answered; it is the answer of this host's attempt."""
    [asked] = canned.to("POST", f"runs/{RUN_ID}/hooks/{number:032x}")
    said = asked.json()
    assert (said.pop("session"), said.pop("attempt")) == (SESSION, 2)
    return said


def host(canned: Canned, pipe: PipelineController, **start: Any) -> None:
    canned.on(
        "GET", f"runs/{RUN_ID}/definition", Answer(200, {**pipe.definition(), "steps": pipe.definition()["steps"]})
    )
    assert pipe.start(**start) is True


def pipeline(name: str = "train", **step: Any) -> PipelineController:
    pipe = PipelineController("iris", "examples")
    pipe.add_parameter("lr", 0.1)
    pipe.set_default_execution_queue("default")
    pipe.add_step(
        name, base_task_id=TEMPLATE, parameter_override={"General/lr": "${pipeline.lr}", "General/n": 3}, **step
    )
    return pipe


RESOLVED = {"General/lr": 0.5, "General/n": 3}


def test_before_a_step_its_parameters_are_known_and_it_has_no_task(canned: Canned):
    seen: list[Any] = []

    def before(pipe: PipelineController, node: Node, parameters: dict[str, Any]) -> None:
        seen.append((pipe.id, node.name, node.job, node.status, dict(parameters), dict(node.parameters)))

    asks(canned, [question("pre", parameters=RESOLVED)])
    host(canned, pipeline(pre_execute_callback=before))
    unresolved = {"General/lr": "${pipeline.lr}", "General/n": 3}
    assert seen == [(RUN_ID, "train", None, "pending", RESOLVED, unresolved)]
    assert answer(canned) == {"verdict": True}


def by_parameters(pipe: Any, node: Node, parameters: dict[str, Any]) -> None:
    parameters["General/lr"] = 0.9
    del parameters["General/n"]


def by_node(pipe: Any, node: Node, parameters: dict[str, Any]) -> bool:
    node.parameters["General/lr"] = 0.9
    del node.parameters["General/n"]
    node.queue = "gpu"
    return True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (by_parameters, {"verdict": True, "parameters": {"General/lr": 0.9}}),
        (by_node, {"verdict": True, "parameters": {"General/lr": 0.9}, "queue": "gpu"}),
        (lambda *_: False, {"verdict": False}),
        (lambda *_: 0, {"verdict": True}),
        (lambda pipe, node, parameters: setattr(node, "skip_job", True), {"verdict": False}),
    ],
)
def test_what_it_changes_is_answered(canned: Canned, change: Any, said: dict[str, Any]):
    asks(canned, [question("pre", parameters=RESOLVED)])
    host(canned, pipeline(pre_execute_callback=change))
    assert answer(canned) == said


def test_a_function_step_shows_all_its_arguments(canned: Canned):
    seen: list[dict[str, Any]] = []
    pipe = PipelineController("iris", "examples")
    pipe.set_default_execution_queue("default")
    pipe.add_step("load", base_task_id=TEMPLATE)
    pipe.add_function_step(
        "train",
        fit,
        {"data": "${load.id}", "lr": 0.1},
        pre_execute_callback=lambda p, n, parameters: seen.append(parameters),
    )
    asks(canned, [question("pre", parameters={"kwargs/data": "t1"})])
    host(canned, pipe)
    assert seen == [{"kwargs/lr": 0.1, "kwargs/data": "t1"}]
    assert answer(canned) == {"verdict": True}


def fit(data: str, lr: float) -> None:
    pass


def test_what_is_settled_by_then_cannot_be_changed(canned: Canned, capsys: pytest.CaptureFixture[str]):
    def before(pipe: Any, node: Node, parameters: Any) -> None:
        node.task_overrides["script.branch"] = "main"

    asks(canned, [question("pre", parameters=RESOLVED)])
    host(canned, pipeline(pre_execute_callback=before))
    assert "has changed node.task_overrides" in answer(canned)["error"]


def test_an_exception_is_answered_with_its_traceback_and_printed(canned: Canned, capsys: pytest.CaptureFixture[str]):
    def before(*_: Any) -> None:
        raise ValueError("no good")

    asks(canned, [question("pre", parameters=RESOLVED)])
    host(canned, pipeline(pre_execute_callback=before))
    error = answer(canned)["error"]
    assert error.splitlines()[-1] == "ValueError: no good"
    assert "in before" in error
    assert 'callbacks.py", line' not in error.replace("test_callbacks.py", "")
    assert "ValueError: no good" in capsys.readouterr().err


def test_a_task_that_was_created_can_be_edited_or_skipped(canned: Canned):
    task = {"id": "c" * 32, "name": "train", "hyperparameters": {}}
    canned.on("GET", f"tasks/{'c' * 32}", Answer(200, task))
    canned.on("PATCH", f"tasks/{'c' * 32}", Answer(200, task))

    def created(pipe: Any, node: Node, parameters: dict[str, Any]) -> bool:
        assert parameters == RESOLVED
        assert node.job is not None
        node.job.task.set_parameter("General/extra", 1)
        with pytest.raises(NotSupported, match="enqueues its steps by itself"):
            node.job.launch("gpu")
        return False

    asks(canned, [question("created", parameters=RESOLVED)], train={"task_id": "c" * 32})
    host(canned, pipeline(), step_task_created_callback=created)
    assert answer(canned) == {"verdict": False}
    assert canned.to("PATCH", f"tasks/{'c' * 32}")[0].json()["hyperparameters"]["General"]["extra"]["value"] == 1


@pytest.mark.parametrize(
    ("ended", "status", "executed"),
    [
        ("completed", "completed", "c" * 32),
        ("cached", "cached", "c" * 32),
        ("failed", "failed", False),
        ("stopped", "aborted", False),
    ],
)
def test_after_a_step_both_callbacks_know_how_its_task_ended(canned: Canned, ended: str, status: str, executed: Any):
    seen: list[Any] = []

    def after(who: str) -> Any:
        return lambda pipe, node: seen.append((who, node.status, node.executed, node.job.task_id()))

    asks(canned, [question("post", status=ended)], train={"task_id": "c" * 32})
    pipe = pipeline(post_execute_callback=after("its own"))
    host(canned, pipe, step_task_completed_callback=after("of all"))
    assert seen == [(who, status, executed, "c" * 32) for who in ("of all", "its own")]
    assert answer(canned) == {}


def test_a_change_of_status_is_told_in_clearmls_words(canned: Canned):
    seen: list[Any] = []
    asks(canned, [question("status", status="stopped", previous="waiting")], train={"task_id": "c" * 32})
    host(canned, pipeline(status_change_callback=lambda pipe, node, previous: seen.append((node.status, previous))))
    assert seen == [("aborted", "pending")]


def test_retries_are_decided_by_a_function(canned: Canned):
    asks(
        canned,
        [question("retry", status="failed", retries=0, number=1)],
        [question("retry", status="failed", retries=1, number=2)],
    )
    host(canned, pipeline(retry_on_failure=lambda pipe, node, retries: retries < 1))
    assert (answer(canned, 1), answer(canned, 2)) == ({"verdict": True}, {"verdict": False})


def test_a_factory_gives_the_task(canned: Canned):
    pipe = PipelineController("iris", "examples")
    pipe.set_default_execution_queue("default")
    pipe.add_step("train", base_task_factory=lambda node: Task("f" * 32))
    asks(canned, [question("factory")])
    host(canned, pipe)
    assert answer(canned) == {"task_id": "f" * 32}


def test_a_factory_that_gives_no_task_is_named(canned: Canned, capsys: pytest.CaptureFixture[str]):
    pipe = PipelineController("iris", "examples")
    pipe.set_default_execution_queue("default")
    pipe.add_step("train", base_task_factory=lambda node: None)
    asks(canned, [question("factory")])
    host(canned, pipe)
    assert "base_task_factory of step 'train' returned None" in answer(canned)["error"]


def test_callbacks_of_different_steps_run_side_by_side(canned: Canned):
    both = threading.Barrier(2, timeout=20)
    pipe = pipeline("a", pre_execute_callback=lambda *_: both.wait() < 2)
    pipe.add_step("b", base_task_id=TEMPLATE, pre_execute_callback=lambda *_: both.wait() < 2)
    asks(canned, [question("pre", "a", 1, parameters={}), question("pre", "b", 2, parameters={})])
    host(canned, pipe)
    assert (answer(canned, 1), answer(canned, 2)) == ({"verdict": True}, {"verdict": True})


def test_callbacks_of_one_step_run_in_order_and_each_once(canned: Canned):
    order: list[str] = []
    asks(
        canned,
        [question("status", number=1, status="queued", previous="pending")],
        [
            question("status", number=1, status="queued", previous="pending"),
            question("status", number=2, status="running"),
        ],
        train={"task_id": "c" * 32},
    )
    host(canned, pipeline(status_change_callback=lambda pipe, node, previous: order.append(node.status)))
    assert order == ["queued", "running"]


def test_a_callback_may_stop_the_run_and_does_not_wait_for_itself(canned: Canned):
    canned.on("POST", f"runs/{RUN_ID}/stop", Answer(200, RUN))

    def before(pipe: PipelineController, *_: Any) -> None:
        pipe.stop(mark_failed=True)
        assert pipe.wait() is False

    asks(canned, [question("pre", parameters={})])
    host(canned, pipeline(pre_execute_callback=before))
    assert answer(canned) == {"verdict": True}
    assert canned.to("POST", f"runs/{RUN_ID}/stop")[0].json()["outcome"] == "failed"


def test_an_answer_that_nobody_waits_for_is_dropped(canned: Canned):
    canned.on("POST", f"runs/{RUN_ID}/hooks/{1:032x}", Answer(409, {"code": "refused", "detail": "It is not open."}))
    asks(canned, [question("pre", parameters={})])
    host(canned, pipeline(pre_execute_callback=lambda *_: True))
    assert len(canned.to("POST", f"runs/{RUN_ID}/hooks/{1:032x}")) == 1


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("post", "registers no post callback for step 'train'"),
        ("pre", "registers no pre callback for step 'train'"),
        ("moon", "no callback of the kind 'moon'"),
    ],
)
def test_a_question_that_this_script_has_no_answer_to_is_an_error(
    canned: Canned, capsys: pytest.CaptureFixture[str], kind: str, sentence: str
):
    asks(canned, [question(kind, status="completed", parameters={})])
    host(canned, pipeline(status_change_callback=lambda *_: None))
    assert sentence in answer(canned)["error"]


def test_in_the_host_the_runs_own_parameters_are_given_before_it_starts(canned: Canned):
    pipe = pipeline()
    assert pipe.get_parameters() == {"lr": 0.5}
    assert pipe.id == RUN_ID
    assert isinstance(pipe.task, Task)


def test_without_waiting_the_script_goes_on_while_its_callbacks_are_called(canned: Canned):
    went_on, called = threading.Event(), threading.Event()

    def before(*_: Any) -> None:
        assert went_on.wait(20)
        called.set()

    asks(canned, [question("pre", parameters={})])
    pipe = pipeline(pre_execute_callback=before)
    host(canned, pipe, wait=False)
    went_on.set()
    assert called.wait(20)
    ended = {**RUN, "status": "completed"}
    canned.replace("GET", f"runs/{RUN_ID}", Answer(200, ended))
    assert pipe.wait() is True
    assert answer(canned) == {"verdict": True}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["other"], "builds step 'train' where run 'iris #3' has 'other'"),
        (["train", "more"], "builds 1 steps, run 'iris #3' has 2"),
    ],
)
def test_a_script_that_builds_another_pipeline_is_told_the_first_difference(
    canned: Canned, names: list[str], sentence: str
):
    steps = [{"name": name, "parents": [], "hooks": []} for name in names]
    canned.on("GET", f"runs/{RUN_ID}/definition", Answer(200, {"steps": steps}))
    with pytest.raises(DefinitionError, match=sentence):
        pipeline().start()


@pytest.mark.parametrize(("part", "value"), [("parents", ["x"]), ("hooks", ["post"])])
def test_so_is_one_whose_steps_hang_together_otherwise(canned: Canned, part: str, value: list[str]):
    step = {"name": "train", "parents": [], "hooks": [], part: value}
    canned.on("GET", f"runs/{RUN_ID}/definition", Answer(200, {"steps": [step]}))
    with pytest.raises(DefinitionError, match=f"'train' has the {part}"):
        pipeline().start()


def test_a_pipeline_that_is_not_made_from_code_takes_the_runs_steps(canned: Canned):
    step = {"name": "other", "parents": [], "hooks": []}
    canned.on("GET", f"runs/{RUN_ID}/definition", Answer(200, {"steps": [step]}))
    canned.on("GET", f"runs/{RUN_ID}/steps", Answer(200, {"items": [{"name": "other", **STEP}], "next_cursor": None}))
    asks(canned)
    pipe = PipelineController("iris", "examples", always_create_from_code=False)
    pipe.add_step("train", base_task_id=TEMPLATE)
    pipe.start()
    assert list(pipe.get_pipeline_dag()) == ["other"]


def test_a_second_pipeline_of_the_script_is_a_run_of_its_own(canned: Canned):
    asks(canned)
    host(canned, pipeline())
    canned.on("POST", "runs", Answer(201, {**RUN, "id": "d" * 32}))
    canned.on("GET", f"runs/{'d' * 32}", Answer(200, {**RUN, "id": "d" * 32, "status": "failed", "reason": "why"}))
    second = pipeline()
    assert second.id is None
    with pytest.raises(FoldlineError, match="is failed: why"):
        second.start()
    assert canned.to("POST", "runs")[0].json()["origin"] == RUN_ID
