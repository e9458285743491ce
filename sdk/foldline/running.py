"""Function steps: import what defines the function, call it with the task's arguments, keep what it returns."""

import contextlib
import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Generator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from foldline import sources
from foldline.definition import EndOfDefinition, definition_mode
from foldline.errors import FoldlineError
from foldline.projects import AS_MODULE, entry_files

if TYPE_CHECKING:
    from foldline.client import Client

MAIN: Final = "__foldline_main__"
# A process that the function starts (a pool of workers) finds the same module by these.
MAIN_FILE: Final = "FOLDLINE_MAIN_FILE"
MAIN_MODULE: Final = "FOLDLINE_MAIN_MODULE"
SHIM: Final = str(Path(__file__).parent / "shim")


def import_paths(root: Path, script: Mapping[str, Any]) -> list[str]:
    """What stands first on sys.path for a script or function of the snapshot unpacked at `root`."""
    folders = [*_own_folder(root, script), root / (script.get("working_dir") or ".")]
    folders += [root / path for path in sources.about(root, "paths")]
    return list(dict.fromkeys(os.path.normpath(folder) for folder in [*folders, root]))


def load_function(root: Path | None, script: Mapping[str, Any]) -> Callable[..., Any]:
    """Import the file or module that defines the script's function; nothing in it is started.

    `root` is the unpacked snapshot, None when there is none and the module is installed. A process loads one main
    file in its life. Raises FoldlineError when the function is not there; the file's own errors pass through.
    """
    name = str(script["function"])
    if root is not None:
        known = set(paths := import_paths(root, script))
        sys.path[:] = paths + [path for path in sys.path if path not in known]
    if script.get("pickle"):
        return _load_pickled(str(script["pickle"]))
    with _command_line(root, script):
        if script.get("module"):
            with definition_mode():
                module = importlib.import_module(str(script["module"]))
        elif root is not None and script.get("entry_point"):
            module = _import_main(_main_file(root, script), _package(script))
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
    from foldline import calling, capture, logger

    capture.watch(client, str(task["id"]), True)
    try:
        value = function(**calling.arguments(task, client))
        calling.store(value, task, client)
    finally:
        capture.unwatch()
        # A forked child ends without the interpreter's exit, and its reports would end with it.
        logger.flush_all()


def execute_main(module: ModuleType) -> None:
    """Run the file named by FOLDLINE_MAIN_FILE as the body of `module`, up to what would start the pipeline."""
    path = os.environ[MAIN_FILE]
    module.__file__ = path
    if name := os.environ.get(MAIN_MODULE):
        # As under `python -m`: its relative imports begin at its package.
        module.__spec__ = ModuleSpec(name, None, origin=path)
        module.__package__ = module.__spec__.parent
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    try:
        with definition_mode():
            exec(code, module.__dict__)
    except EndOfDefinition:
        pass
    except SystemExit as left:
        raise FoldlineError(f"{path} ended with exit code {left.code!r} while it was imported for its steps") from left


def _own_folder(root: Path, script: Mapping[str, Any]) -> list[Path]:
    """The folder that Python would search first: the script's own, or the one its module is imported from."""
    entry = str(script.get("entry_point") or "")
    if not entry or entry.startswith(AS_MODULE):
        return []
    path = root / entry
    parts = str(script.get("module") or "").split(".")
    if parts[-1] and path.with_suffix("").parts[-len(parts) :] == tuple(parts):
        return [path.parents[len(parts) - 1]]
    if parts[-1] and path.name == "__init__.py" and path.parent.parts[-len(parts) :] == tuple(parts):
        return [path.parents[len(parts)]]
    return [path.parent]


def _main_file(root: Path, script: Mapping[str, Any]) -> Path:
    files = [Path(os.path.normpath(root / file)) for file in entry_files(script)]
    return next((file for file in files if file.is_file()), files[0])


def _package(script: Mapping[str, Any]) -> str:
    """The module that a main script was for `python -m`; "" for one that was started by its path."""
    entry = str(script.get("entry_point") or "")
    return entry.removeprefix(AS_MODULE).strip() if entry.startswith(AS_MODULE) else ""


@contextlib.contextmanager
def _command_line(root: Path | None, script: Mapping[str, Any]) -> Generator[None, None, None]:
    """A script that reads its command line while it is imported finds the one its author gave."""
    before = sys.argv
    path = str(_main_file(root, script)) if root is not None and script.get("entry_point") else ""
    sys.argv = [path, *(str(argument) for argument in script.get("arguments") or ())]
    try:
        yield
    finally:
        sys.argv = before


def _import_main(path: Path, name: str) -> ModuleType:
    loaded = sys.modules.get(MAIN)
    if loaded is not None:
        if loaded.__file__ != str(path):
            raise FoldlineError(f"this process has loaded {loaded.__file__}; {path} needs one of its own")
        return loaded
    os.environ[MAIN_FILE] = str(path)
    os.environ[MAIN_MODULE] = f"{name}.__main__" if name and path.name == "__main__.py" else name
    if SHIM not in sys.path:
        sys.path.append(SHIM)
    if package := name if path.name == "__main__.py" else name.rpartition(".")[0]:
        # Python imports a module's package before it.
        with definition_mode():
            importlib.import_module(package)
    return importlib.import_module(MAIN)


@functools.cache
def _load_pickled(sha256: str) -> Callable[..., Any]:
    """The function that travelled as bytes; its blob is read by this process, which is nobody but the user's code."""
    from foldline import pickled
    from foldline.client import Client

    with Client() as client:
        data = client.blobs.read(sha256)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FoldlineError(f"what came for the pickled function {sha256} has another hash; check the server's disk")
    return pickled.load(data)
