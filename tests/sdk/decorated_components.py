"""Components for test_decorator.py, which copies this file out of the repository: a small project travels fast."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldline import PipelineDecorator, Task

component = PipelineDecorator.component


@dataclass
class Pair:
    left: Any
    right: Any


@component(return_values=["sum"])
def add(a: int, b: int = 1) -> int:
    return a + b


@component(return_values=["low", "high"])
def bounds(values: list[int]) -> tuple[int, int]:
    return min(values), max(values)


@component(return_values=["seen"])
def describe(given: Any, **more: Any) -> str:
    return f"{given!r} {sorted(more.items())!r}"


@component
def boom(why: str) -> None:
    raise ValueError(why)


@component(name="boom, but go on", continue_behaviour={"continue_on_fail": True})
def harmless_boom(why: str) -> None:
    raise ValueError(why)


@component(return_values=["met"])
def meet(folder: str, mine: str, other: str) -> bool:
    Path(folder, mine).touch()
    deadline = time.monotonic() + 60
    while not Path(folder, other).exists():
        assert time.monotonic() < deadline, f"{other} did not come"
        time.sleep(0.01)
    return True


@component(return_values=[])
def wait_for_ever(file: str) -> None:
    Path(file).touch()
    time.sleep(600)


def silent_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) + 100

    return inner


@component(return_values=["x"])
@silent_decorator
def decorated_below(x: int) -> int:
    return x


@silent_decorator
@component(return_values=["x"])
def decorated_above(x: int) -> int:
    return x


@component(return_values=["sum"])
def calls_others(n: int) -> int:
    task = Task.current_task()
    assert task is not None
    assert task.data["step"] == "calls_others"
    return add(add(n), 10)


asked: list[Any] = []


@component(return_values=["x"], pre_execute_callback=lambda pipe, node, parameters: parameters["kwargs/x"] > 1)
def only_large(x: int) -> int:
    return x


@component(
    return_values=["x"],
    retry_on_failure=lambda pipe, node, retries: retries < 1,
    post_execute_callback=lambda pipe, node: asked.append((node.name, node.status)),
    status_change_callback=lambda pipe, node, before: asked.append((before, node.status)),
)
def fails_once(file: str) -> int:
    path = Path(file)
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    return len(path.read_text()) // (len(path.read_text()) - 1)


@component(return_values=["x"], cache=True, stage="numbers", tags=["t"], task_type=Task.TaskTypes.testing)
def cached(x: int) -> int:
    return x + 10


@component(return_values=["sum"], execution_queue="a queue that is not there")
def elsewhere(n: int) -> int:
    return n + 1


@PipelineDecorator.pipeline(name="p", project="inside a step", default_queue="decorated")
def inner(n: int) -> Any:
    return add(n)


@component(return_values=["sum"])
def runs_a_pipeline(n: int) -> int:
    return inner(n) + 10
