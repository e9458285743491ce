"""Function steps: import what defines the function, call it with the task's arguments, keep what it returns."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from foldline.definition import EndOfDefinition, definition_mode
from foldline.errors import FoldlineError

if TYPE_CHECKING:
    from foldline.client import Client

MAIN: Final = "__foldline_main__"
# A process that the function starts (a pool of workers) finds the same module by these.
MAIN_FILE: Final = "FOLDLINE_MAIN_FILE"
SHIM: Final = str(Path(__file__).parent / "shim")


def import_paths(root: Path, script: Mapping[str, Any]) -> list[str]:
    """What stands first on sys.path for a script or function of the snapshot unpacked at `root`."""
    entry = script.get("entry_point") or ""
    folders = [(root / entry).parent if entry else root, root / (script.get("working_dir") or "."), root]
    return list(dict.fromkeys(os.path.normpath(folder) for folder in folders))


def load_function(root: Path | None, script: Mapping[str, Any]) -> Callable[..., Any]:
    """Import the file or module that defines the script's function; nothing in it is started.

    `root` is the unpacked snapshot, None when there is none and the module is installed. A process loads one main
    file in its life. Raises FoldlineError when the function is not there; the file's own errors pass through.
    """
    name = str(script["function"])
    if root is not None:
        known = set(paths := import_paths(root, script))
        sys.path[:] = paths + [path for path in sys.path if path not in known]
    if script.get("module"):
        with definition_mode():
            module = importlib.import_module(str(script["module"]))
    elif root is not None and script.get("entry_point"):
        module = _import_main(root / str(script["entry_point"]), [str(a) for a in script.get("arguments") or ()])
    else:
        raise FoldlineError(f"the task does not say where function {name!r} is defined: neither module nor sources")
    function = getattr(module, name, None)
    if not callable(function):
        raise FoldlineError(
            f"there is no function {name!r} in {script.get('module') or script['entry_point']}: "
            "define it at the top level, above what starts the pipeline"
        )
    return function


def call_function(function: Callable[..., Any], task: Mapping[str, Any], client: "Client") -> None:
    """Call `function` with the arguments that `task` holds; its returned values are stored when this returns."""
    from foldline import calling, logger

    try:
        value = function(**calling.arguments(task, client))
        calling.store(value, task, client)
    finally:
        # A forked child ends without the interpreter's exit, and its reports would end with it.
        logger.flush_all()


def execute_main(module: ModuleType) -> None:
    """Run the file named by FOLDLINE_MAIN_FILE as the body of `module`, up to what would start the pipeline."""
    path = os.environ[MAIN_FILE]
    module.__file__ = path
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    try:
        with definition_mode():
            exec(code, module.__dict__)
    except EndOfDefinition:
        pass
    except SystemExit as left:
        raise FoldlineError(f"{path} ended with exit code {left.code!r} while it was imported for its steps") from left


def _import_main(path: Path, arguments: list[str]) -> ModuleType:
    loaded = sys.modules.get(MAIN)
    if loaded is not None:
        if loaded.__file__ != str(path):
            raise FoldlineError(f"this process has loaded {loaded.__file__}; {path} needs one of its own")
        return loaded
    os.environ[MAIN_FILE] = str(path)
    if SHIM not in sys.path:
        sys.path.append(SHIM)
    before = sys.argv
    # A script that reads its command line while it is imported finds the one its author gave.
    sys.argv = [str(path), *arguments]
    try:
        return importlib.import_module(MAIN)
    finally:
        sys.argv = before
