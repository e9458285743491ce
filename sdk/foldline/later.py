"""What a class of ours gives while a step's file is imported: an object that is looked up once the step uses it."""

from collections.abc import Callable
from typing import Any

from foldline.definition import defining
from foldline.inert import Nothing


class Later:
    """Stands for what `resolve` finds. It is asked once, and not before the import is over."""

    def __init__(self, resolve: Callable[[], Any]) -> None:
        self._resolve = resolve
        self._found: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if defining():
            return Nothing()
        if self._found is None:
            self._found = self._resolve()
        return getattr(self._found, name)
