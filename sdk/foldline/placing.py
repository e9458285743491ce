"""Where a function of this process is found again when its file is imported elsewhere."""

import builtins
import dis
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from foldline.errors import DefinitionError
from foldline.running import MAIN

_OURS: Final = Path(__file__).resolve().parent


def main_file() -> Path | None:
    """The script that this process was started with; None in an interactive session, or one of this package's own."""
    path = getattr(main_module(), "__file__", None)
    if not path or not Path(path).is_file() or (found := Path(path).resolve()).is_relative_to(_OURS):
        return None
    return found


def main_module() -> ModuleType | None:
    """The caller's script: under its other name where this process is a step of it."""
    return sys.modules.get(MAIN) or sys.modules.get("__main__")


def module_of_main() -> str:
    """The module that `python -m` was asked for; "" for a script started by its path."""
    spec = getattr(main_module(), "__spec__", None)
    name = str(spec.name) if spec is not None else ""
    return "" if name in ("", MAIN, "__main__") else name


def place_of(function: Callable[..., Any]) -> tuple[ModuleType, str] | None:
    """The module and the top-level name that give `function` when they are imported; None when none do."""
    home = sys.modules.get(str(getattr(function, "__module__", None)))
    main = main_module()
    if home is not None and home.__name__ in ("__main__", MAIN):
        home = main
    name = str(getattr(function, "__qualname__", ""))
    if home is not None and name.isidentifier() and _gives(home, name, function):
        return _if_in_file(home, name)
    for module in filter(None, (home, main)):
        for known, value in vars(module).items():
            if value is function:
                return _if_in_file(module, known)
    return None


def _gives(module: ModuleType, name: str, function: Callable[..., Any]) -> bool:
    """Whether `name` will be `function`, or what a decorator makes of it."""
    found = vars(module).get(name, function)  # while it is being decorated, its name is still to come
    if found is function:
        return True
    if any(each is found for each in _wrapped_by(function)):
        return False
    return not isinstance(found, FunctionType) or any(each is function for each in _wrapped_by(found))


def _wrapped_by(function: Any) -> Iterator[Any]:
    """What `function` was made of by decorators that tell, one after another."""
    seen = {id(function)}
    while (function := getattr(function, "__wrapped__", None)) is not None and id(function) not in seen:
        seen.add(id(function))
        yield function


def _if_in_file(module: ModuleType, name: str) -> tuple[ModuleType, str] | None:
    """An interactive session is no module that could be imported elsewhere."""
    is_main = module is main_module()
    return None if is_main and main_file() is None else (module, name)


def _looked_up(function: FunctionType) -> set[str]:
    """The names that it takes from its module, not those of attributes and imports."""
    return {one.argval for one in dis.get_instructions(function) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def check_helpers(name: str, function: Callable[..., Any], helpers: Sequence[Callable[..., Any]]) -> None:
    """A step imports its module whole: a helper is found there under the name that the function calls it by."""
    plain = inspect.unwrap(function)
    if not isinstance(plain, FunctionType):
        return
    for helper in helpers:
        called = str(getattr(helper, "__name__", ""))
        if called in _looked_up(plain) and called not in plain.__globals__ and not hasattr(builtins, called):
            raise DefinitionError(
                f"{name} calls {called}, which is not known where it is defined: "
                f"write `from {getattr(helper, '__module__', '...')} import {called}` in its file"
            )
