"""Functions of a running script as tasks of their own: Task.create_function_task.

Such a task is a clone of the script's. Where an agent runs it, the script is begun again, and the call that made the
task calls the function instead, and ends the process.
"""

import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

from foldline import process
from foldline.connected import plain_dict
from foldline.errors import FoldlineError
from foldline.formats import is_exact_json
from foldline.handle import TaskHandle

SECTION: Final = "Function"
MARKER: Final = "__func_readonly__"
TAG: Final = "func"


class WithFunctions(TaskHandle):
    """Task's method that makes tasks of functions."""

    _functions: ClassVar[set[tuple[str, str]]] = set()

    def create_function_task(
        self, func: Callable[..., Any], func_name: str | None = None, task_name: str | None = None, **kwargs: Any
    ) -> Self | None:
        """A draft that calls `func(**kwargs)` after running this script up to this line; enqueue it yourself.

        Arguments that are plain values are its parameters, in section Function. Each function needs a name of its
        own. None where such a task is being run, for another function than this one.
        """
        if not self._is_mine():
            raise ValueError("create_function_task() is for the task of this process: call Task.init first")
        if not callable(func):
            raise ValueError("create_function_task() needs a function")
        name = str(func_name or func.__name__).strip()
        if (self.id, name) in self._functions:
            raise ValueError(f"there is a task of a function {name!r} already: give this one another func_name")
        self._functions.add((self.id, name))
        plain = {key: value for key, value in kwargs.items() if is_exact_json(value)}
        running = self._parameter(MARKER) if process.given_by_agent() else None
        if running is None:
            return self._draft(name, task_name, plain)
        if running != name:
            return None
        func(**{**kwargs, **self._given(plain)})
        sys.exit(0)

    def _draft(self, name: str, task_name: str | None, plain: dict[str, Any]) -> Self:
        task = type(self).clone(self, name=task_name or f"{self.data['name']} <{name}>", parent=self.id)  # pyright: ignore
        task.set_system_tags([*task.get_system_tags(), TAG])  # pyright: ignore
        task.connect({**plain, MARKER: name}, name=SECTION)  # pyright: ignore
        return task  # pyright: ignore

    def _given(self, plain: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = plain_dict(self.connect(dict(plain), name=SECTION))  # pyright: ignore
        unknown = set(values) - set(plain) - {MARKER}
        if unknown:
            raise FoldlineError(f"the function's task has arguments that its call does not have: {', '.join(unknown)}")
        return {key: value for key, value in values.items() if key != MARKER}

    def _parameter(self, name: str) -> Any:
        self.reload()
        found = self.data["hyperparameters"].get(SECTION, {}).get(name)
        return None if found is None else found["value"]

    def _is_mine(self) -> bool:
        raise NotImplementedError
