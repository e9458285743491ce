"""A dynamic run as its function sees it: calls, names, parents, values; and the same calls again in another host."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from foldline.automation.component import DECORATED, Arguments, Component
from foldline.automation.dynamic import DynamicRun, StepFailed
from foldline.automation.journal import Diverged
from foldline.errors import DefinitionError, FoldlineError
from tests.sdk.scripted_host import ScriptedHost


class Pipeline:
    """What a pipeline function has at hand: components by name, called with whatever arguments."""

    def __init__(self, host: ScriptedHost, **options: dict[str, Any]) -> None:
        self.host = host
        self.run = DynamicRun(host)  # pyright: ignore[reportArgumentType]
        self._options = options

    def call(self, name: str, **arguments: Any) -> Any:
        DECORATED.add(name)
        options: dict[str, Any] = {"returns": ("x",), **self._options.get(name, {})}
        component = Component(name=name, function=accept, plain=accept, **options)
        return self.run.call(component, [], arguments, make)


def accept(**arguments: Any) -> None: ...


def make(name: str, arguments: Arguments, parents: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "arguments": arguments.fixed | arguments.overrides, "parents": list(parents)}


def parents(host: ScriptedHost) -> dict[str, list[str]]:
    return {name: step["parents"] for name, step in host.added.items()}


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


def test_calls_wait_for_nothing_and_data_makes_the_edges(host: ScriptedHost):
    pipeline = Pipeline(host)
    data = pipeline.call("load")
    first, second = pipeline.call("train", data=data, rate=1), pipeline.call("train", data=data, rate=2)
    pipeline.call("pick", models=[first, second])
    pipeline.call("other")
    assert parents(host) == {
        "load": [],
        "train": ["load"],
        "train_1": ["load"],
        "pick": ["train", "train_1"],
        "other": [],
    }
    assert host.added["train_1"]["arguments"] == {"kwargs_artifacts/data": "${load.id}.x", "rate": 2}


def test_what_was_looked_at_comes_before_what_follows(host: ScriptedHost):
    pipeline = Pipeline(host)
    size, other = pipeline.call("size"), pipeline.call("other")
    host.then("size", x=3)
    host.then("other", x=4)
    assert size == 3
    pipeline.call("small")
    assert other > 3
    pipeline.call("large")
    assert (parents(host)["small"], parents(host)["large"]) == (["size"], ["size", "other"])


def test_only_the_last_on_a_path_is_a_parent(host: ScriptedHost):
    pipeline = Pipeline(host)
    for round_ in range(3):
        value = pipeline.call("step", n=round_)
        host.then("step" if round_ == 0 else f"step_{round_}", x=round_)
        assert value == round_
    pipeline.call("last")
    assert list(parents(host).values()) == [[], ["step"], ["step_1"], ["step_2"]]


def test_a_looked_at_input_is_one_parent(host: ScriptedHost):
    pipeline = Pipeline(host)
    data = pipeline.call("load")
    host.then("load", x=[1])
    pipeline.call("train", data=data, size=len(data))
    assert parents(host)["train"] == ["load"]


def test_explicit_parents_are_steps_of_a_component(host: ScriptedHost):
    pipeline = Pipeline(host, report={"parents": ["train"]}, check={"parents": ["train_1"]})
    pipeline.call("train")
    pipeline.call("train", n=2)
    pipeline.call("report")
    pipeline.call("check")
    assert parents(host)["report"] == ["train", "train_1"]
    assert parents(host)["check"] == ["train_1"]


def test_a_parent_that_was_not_called_holds_nothing_up(host: ScriptedHost):
    DECORATED.add("never called")
    pipeline = Pipeline(host, report={"parents": ["never called"]}, check={"parents": ["no component at all"]})
    pipeline.call("report")
    assert parents(host)["report"] == []
    with pytest.raises(DefinitionError, match="'no component at all' is none of"):
        pipeline.call("check")


def test_several_return_values_are_several_stand_ins(host: ScriptedHost):
    pipeline = Pipeline(host, split={"returns": ("train", "test")})
    train, test = pipeline.call("split")
    host.then("split", train=1, test=2)
    assert (train + 0, test + 0) == (1, 2)


def test_a_component_without_return_values_can_be_waited_for(host: ScriptedHost):
    pipeline = Pipeline(host, clean={"returns": ()})
    done = pipeline.call("clean")
    pipeline.call("load", after=done)
    host.then("clean")
    assert done == None  # noqa: E711 - a stand-in is no None
    assert host.added["load"]["arguments"] == {"after": None}
    assert parents(host)["load"] == ["clean"]


@pytest.mark.parametrize(
    ("status", "continuing", "value"),
    [
        ("skipped", None, None),
        ("cached", None, 7),
        ("failed", {"continue_on_fail": True}, 7),
        ("stopped", {}, 7),
    ],
)
def test_a_step_that_may_end_so_has_its_value(host: ScriptedHost, status: str, continuing: Any, value: Any):
    pipeline = Pipeline(host, train={"continuing": continuing})
    result = pipeline.call("train")
    host.then("train", status, x=7)
    assert result == value


@pytest.mark.parametrize(
    ("status", "continuing", "said"),
    [
        ("failed", None, "step 'train' failed: no data"),
        ("failed", {"continue_on_fail": False}, "step 'train' failed: no data"),
        ("stopped", {"continue_on_abort": False}, "step 'train' was stopped: no data"),
    ],
)
def test_the_value_of_a_failed_step_is_an_error(host: ScriptedHost, status: str, continuing: Any, said: str):
    pipeline = Pipeline(host, train={"continuing": continuing})
    result = pipeline.call("train")
    host.then("train", status, "no data", x=7)
    with pytest.raises(ValueError, match=said) as caught:
        bool(result)
    assert isinstance(caught.value, StepFailed)
    assert str(pipeline.run.failure()) == said


def test_a_failure_that_was_to_be_passed_over_holds_nothing_up(host: ScriptedHost):
    pipeline = Pipeline(host, train={"continuing": {"continue_on_fail": True}})
    result = pipeline.call("train")
    host.then("train", "failed", "no data")
    assert result == None  # noqa: E711
    pipeline.call("report")
    assert parents(host)["report"] == [], "or it would be skipped with what is downstream of the failure"
    assert pipeline.run.failure() is None


def test_a_failed_step_that_was_retried_by_hand_has_a_value(host: ScriptedHost):
    result = Pipeline(host).call("train")
    host.then("train", "failed")
    with pytest.raises(StepFailed):
        bool(result)
    host.end("train", x=3)
    assert result == 3


def test_a_run_that_was_stopped_ends_the_wait(host: ScriptedHost):
    result = Pipeline(host).call("train")
    host.later.append(lambda: setattr(host, "status", "stopped"))
    with pytest.raises(FoldlineError, match="is stopped: stopped by ana"):
        bool(result)


def test_a_step_that_nobody_runs_is_named_once(host: ScriptedHost, capsys: pytest.CaptureFixture[str]):
    result = Pipeline(host).call("train")
    waiting = {"kind": "agent", "text": "no agent listens to queue 'gpu'", "until": None}
    host.later.append(lambda: host.wait_for("train", waiting))
    host.later.append(lambda: host.wait_for("train", waiting))
    host.then("train", x=1)
    assert result == 1
    assert capsys.readouterr().err == "Note: step 'train' waits: no agent listens to queue 'gpu'\n"


def test_an_agent_of_our_own_that_still_starts_is_no_news(host: ScriptedHost, capsys: pytest.CaptureFixture[str]):
    checks = list[None]()
    run = DynamicRun(host, check=lambda: checks.append(None))  # pyright: ignore[reportArgumentType]
    result = run.call(Component(name="train", function=accept, plain=accept, returns=("x",)), [], {}, make)
    waiting = {"kind": "agent", "text": "no agent listens to queue 'local'", "until": None}
    host.later.append(lambda: host.wait_for("train", waiting))
    host.then("train", x=1)
    assert result == 1
    assert checks
    assert capsys.readouterr().err == ""


def test_the_end_waits_for_steps_that_nobody_looked_at(host: ScriptedHost):
    pipeline = Pipeline(host)
    pipeline.call("train")
    pipeline.call("report")
    host.then("train", "failed", "no data")
    host.then("report")
    pipeline.run.finish()
    assert not host.later
    assert str(pipeline.run.failure()) == "step 'train' failed: no data"


def play(host: ScriptedHost, rates: Sequence[float], names: Sequence[str] = ("train",)) -> Pipeline:
    """Load, look, and train once with each rate by each of those components."""
    pipeline = Pipeline(host)
    data = pipeline.call("load")
    if host.attempt == 1:
        host.then("load", x=3)
    assert data == 3
    for name in names:
        for rate in rates:
            pipeline.call(name, data=data, rate=rate)
    return pipeline


def test_another_host_makes_the_same_calls_and_finds_their_steps(host: ScriptedHost):
    play(host, [0.1, 0.2])
    host.end("train", x=1)
    host.end("train_1", x=2)
    again = ScriptedHost(attempt=2, recorded=host)
    pipeline = play(again, [0.1, 0.2])
    pipeline.call("pick")
    assert [name for _, name, _ in again.calls] == ["load", "train", "train_1", "pick"]
    assert parents(again)["pick"] == ["load"]
    again.then("pick")
    pipeline.run.finish()


@pytest.mark.parametrize(
    ("rates", "names", "said"),
    [
        (
            [0.3],
            ["train"],
            "call 2 .* component 'train', as step 'train', .* of component 'train' with other arg",
        ),
        ([0.1], ["validate"], "call 2 .* component 'train', as step 'train', .* a call of component 'validate' now"),
    ],
)
def test_another_call_in_its_place_names_both(host: ScriptedHost, rates: list[float], names: list[str], said: str):
    play(host, [0.1, 0.2])
    with pytest.raises(Diverged, match=said):
        play(ScriptedHost(attempt=2, recorded=host), rates, names)


def test_a_call_that_is_missing_is_named(host: ScriptedHost):
    play(host, [0.1, 0.2])
    pipeline = play(ScriptedHost(attempt=2, recorded=host), [0.1])
    with pytest.raises(Diverged, match="without call 3, of component 'train' as step 'train_1'"):
        pipeline.run.finish()


def test_the_servers_own_word_on_a_diverging_call_is_the_error(host: ScriptedHost):
    pipeline = Pipeline(host)
    host.calls.append((0, "load", "load:something else"))
    with pytest.raises(Diverged, match="call 0 was load"):
        pipeline.call("train")


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_calls_from_threads_are_found_again_in_any_order(host: ScriptedHost):
    pipeline = Pipeline(host)
    pipeline.call("load")
    for rate in (0.1, 0.2):
        in_thread(lambda rate=rate: pipeline.call("train", rate=rate))
    again = ScriptedHost(attempt=2, recorded=host)
    pipeline = Pipeline(again)
    results: dict[float, Any] = {}
    for rate in (0.2, 0.1):
        in_thread(lambda rate=rate: results.update({rate: pipeline.call("train", rate=rate)}))
    in_thread(lambda: pipeline.call("train", rate=0.3))
    pipeline.call("load")
    again.end("train", x="by 0.1")
    again.end("train_1", x="by 0.2")
    assert results == {0.1: "by 0.1", 0.2: "by 0.2"}
    assert [name for _, name, _ in again.calls] == ["load", "train", "train_1", "train_2"]


def test_what_one_thread_looks_at_holds_up_no_other(host: ScriptedHost):
    pipeline = Pipeline(host)
    size = pipeline.call("size")
    host.then("size", x=1)
    in_thread(lambda: bool(size))
    pipeline.call("train")
    assert parents(host)["train"] == []
