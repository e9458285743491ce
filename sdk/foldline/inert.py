"""What Task gives while a step's file is imported: a task that does nothing yet, and is the step's own once it runs."""

from collections.abc import Callable
from typing import Any

from foldline.definition import defining, end_definition


class LaterTask:
    """Stands for `Task.current_task()` of the step that will call the functions of this file."""

    def __init__(self, resolve: Callable[[], Any]) -> None:
        self._resolve = resolve

    def connect(self, mutable: Any, *args: Any, **kwargs: Any) -> Any:
        return mutable if defining() else self._resolve().connect(mutable, *args, **kwargs)

    def connect_configuration(self, configuration: Any, *args: Any, **kwargs: Any) -> Any:
        if defining():
            return configuration
        return self._resolve().connect_configuration(configuration, *args, **kwargs)

    def get_logger(self) -> "LaterTask":
        return LaterTask(lambda: self._resolve().get_logger())

    def connect_label_enumeration(self, enumeration: Any, *args: Any, **kwargs: Any) -> Any:
        return enumeration if defining() else self._resolve().connect_label_enumeration(enumeration, *args, **kwargs)

    @property
    def logger(self) -> "LaterTask":
        return self.get_logger()

    def execute_remotely(self, *args: Any, **kwargs: Any) -> Any:
        end_definition()
        return self._resolve().execute_remotely(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing() if defining() else getattr(self._resolve(), name)


class Nothing:
    """What every other attribute and call of such a task gives: something that changes nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Nothing":
        return self

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, name: object) -> "Nothing":
        return self

    def __str__(self) -> str:
        return ""

    def __bool__(self) -> bool:
        return False
