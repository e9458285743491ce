"""Which code this process runs, as a task's `script`: its snapshot, entry point and arguments."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from foldline import process
from foldline.errors import DefinitionError
from foldline.running import MAIN
from foldline.sources import Snapshot, snapshot

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")

_snapshots: dict[Path, Snapshot] = {}


def main_file() -> Path | None:
    """The script that this process was started with; None in an interactive session."""
    main = sys.modules.get(MAIN) or sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    return Path(path).resolve() if path and Path(path).is_file() else None


def script_of_main() -> tuple[dict[str, Any], Snapshot | None]:
    """What would run this process's script again, and the sources it needs."""
    path = main_file()
    if path is None:
        log.warning("an interactive session has no script: the task can be looked at, but not run again")
        return {"entry_point": "", "arguments": []}, None
    script, sources = script_of_file(path)
    script["arguments"] = [str(argument) for argument in sys.argv[1:]]
    script["working_dir"] = _inside(Path.cwd(), sources.root) or "."
    return script, sources


def script_of_file(path: Path) -> tuple[dict[str, Any], Snapshot]:
    """Raises DefinitionError when there is no such file."""
    if not path.is_file():
        raise DefinitionError(f"there is no script {path}")
    sources = snapshot_of(path)
    entry_point = path.resolve().relative_to(sources.root).as_posix()
    return {"entry_point": entry_point, "working_dir": ".", "source": sources.sha256, "arguments": []}, sources


def script_of_function(function: Callable[..., Any], returns: Sequence[str]) -> tuple[dict[str, Any], Snapshot | None]:
    """What would call `function` elsewhere. Raises DefinitionError when it cannot be imported there."""
    name = getattr(function, "__qualname__", "")
    if not name or "." in name or name == "<lambda>" or getattr(function, "__module__", None) is None:
        raise DefinitionError(
            f"{name or function!r} cannot be a step: it has to be a function defined at the top level of a file"
        )
    script: dict[str, Any] = {"function": name, "returns": list(returns), "working_dir": "."}
    module = sys.modules[function.__module__]
    if function.__module__ in ("__main__", MAIN):
        return _in_main(script, module, name)
    return _in_module(script, module)


def upload(client: "Client", sources: Snapshot | None) -> None:
    """Store the sources; what the server has already is not sent again."""
    if sources is not None:
        client.blobs.put_bytes(sources.data)


def snapshot_of(path: Path) -> Snapshot:
    """The snapshot of the project of `path`, made once in the life of a process."""
    path = path.resolve()
    if path not in _snapshots:
        _snapshots[path] = snapshot(path, _root_given_by_agent(path))
    return _snapshots[path]


def _root_given_by_agent(path: Path) -> Path | None:
    """Where an agent unpacked the sources of the script that runs here: no git work tree says so there."""
    if not process.given_by_agent() or path != main_file():
        return None
    from foldline.client import shared

    task = shared().tasks.get(str(process.task_id()))
    entry_point = PurePosixPath(task["script"].get("entry_point") or "")
    if not entry_point.parts or path.parts[-len(entry_point.parts) :] != entry_point.parts:
        return None
    return path.parents[len(entry_point.parts) - 1]


def _in_main(script: dict[str, Any], module: Any, name: str) -> tuple[dict[str, Any], Snapshot]:
    path = main_file()
    if path is None or module.__dict__.get("__file__") is None:
        raise DefinitionError(f"{name} is defined in an interactive session: put it into a file to make it a step")
    sources = snapshot_of(path)
    script |= {
        "entry_point": path.relative_to(sources.root).as_posix(),
        "source": sources.sha256,
        # A script that reads its command line as it is imported should find this one.
        "arguments": [str(argument) for argument in sys.argv[1:]],
    }
    return script, sources


def _in_module(script: dict[str, Any], module: Any) -> tuple[dict[str, Any], Snapshot | None]:
    """An importable module: it travels too, when it is one of the project's rather than an installed one."""
    path = Path(module.__file__).resolve() if getattr(module, "__file__", None) else None
    script["module"] = module.__name__
    main = main_file()
    if path is None or _is_installed(path):
        return script, None
    sources = snapshot_of(main if main is not None and _same_project(main, path) else path)
    if (base := _import_base(path, module.__name__)) is not None:
        script["working_dir"] = _inside(base, sources.root) or "."
    entry = main if main is not None and main.is_relative_to(sources.root) else path
    script |= {"entry_point": entry.relative_to(sources.root).as_posix(), "source": sources.sha256}
    return script, sources


def _same_project(main: Path, path: Path) -> bool:
    return not _is_installed(main) and path.is_relative_to(snapshot_of(main).root)


def _is_installed(path: Path) -> bool:
    return any(part in ("site-packages", "dist-packages") for part in path.parts) or path.is_relative_to(
        Path(os.__file__).resolve().parent
    )


def _import_base(path: Path, module: str) -> Path | None:
    """The folder from which `module` was imported: what has to be on sys.path for it to be found again."""
    depth = module.count(".") + (path.name == "__init__.py")
    return path.parents[depth] if depth < len(path.parents) else None


def _inside(folder: Path, root: Path) -> str | None:
    folder = folder.resolve()
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else None


def requirements(packages: bool | str | Sequence[str] | None, file: str | None = None) -> dict[str, Any]:
    """`script.requirements` from a list of packages or the path of a requirements file; {} asks for none."""
    if isinstance(packages, str):
        packages, file = None, packages
    if packages and not isinstance(packages, bool):
        return {"pip": "\n".join(packages)}
    if file:
        path = Path(file)
        if not path.is_file():
            raise DefinitionError(f"there is no requirements file {file}")
        return {"pip": path.read_text("utf-8")}
    return {}
