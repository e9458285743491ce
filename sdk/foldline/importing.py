"""Told of a module once it has been imported, now or later, without importing it."""

import importlib.abc
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls `callbacks[name]` with each module of these names: at once when it is there, else when it has been run."""

    def __init__(self, callbacks: Mapping[str, Callback]) -> None:
        self._callbacks = callbacks

    def install(self) -> None:
        sys.meta_path.insert(0, self)
        for name, callback in self._callbacks.items():
            if module := sys.modules.get(name):
                callback(module)

    def remove(self) -> None:
        """Modules that are imported from now on are nobody's business."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        callback = self._callbacks.get(fullname)
        if callback is None:
            return None
        spec = self._found_by_others(fullname, path, target)
        if spec is not None and spec.loader is not None:
            _call_after(spec.loader, callback)
        return spec

    def _found_by_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(fullname, path, target)
            if spec is not None:
                return spec
        return None


def _call_after(loader: Any, callback: Callback) -> None:
    """Have this one loader, which is made anew for each import, call back once it has run its module."""
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        loader.exec_module = run
        run(module)
        callback(module)

    loader.exec_module = exec_module
