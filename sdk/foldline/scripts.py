"""Which code this process runs, as a task's `script`: its snapshot, entry point and arguments."""

import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from foldline import fingerprint, pickled, process
from foldline.errors import DefinitionError
from foldline.placing import check_helpers, main_file, main_module, module_of_main, place_of
from foldline.projects import AS_MODULE, entry_files, import_base, is_installed, loaded_from
from foldline.sources import Snapshot, git, project_root, snapshot

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")

_snapshots: dict[Path, Snapshot] = {}


def script_of_main() -> tuple[dict[str, Any], Snapshot | None]:
    """What would run this process's script again, and the sources it needs."""
    path = main_file()
    if path is None:
        log.warning("an interactive session has no script: the task can be looked at, but not run again")
        return {"entry_point": "", "arguments": []}, None
    script, sources = _entry(path)
    # A module of `python -m` is found from its own base, whatever folder the process was started in.
    if not script["entry_point"].startswith(AS_MODULE):
        script["working_dir"] = _inside(Path.cwd(), sources.root) or "."
    return script, sources


def script_of_file(path: Path) -> tuple[dict[str, Any], Snapshot]:
    """Raises DefinitionError when there is no such file."""
    if not path.is_file():
        raise DefinitionError(f"there is no script {path}")
    sources = snapshot_of(path)
    entry_point = path.resolve().relative_to(sources.root).as_posix()
    return {"entry_point": entry_point, "working_dir": ".", "source": sources.sha256, "arguments": []}, sources


def script_of_function(
    function: Callable[..., Any],
    returns: Sequence[str],
    *,
    helper_functions: Sequence[Callable[..., Any]] | None = None,
    working_dir: str | None = None,
    repo: str | None = None,
    repo_branch: str | None = None,
    repo_commit: str | None = None,
) -> tuple[dict[str, Any], Snapshot | None]:
    """What would call `function` elsewhere, and the sources it needs.

    With `repo` the step runs inside a checkout of it, and `working_dir` is a folder of that. Raises DefinitionError
    when the function, or a helper that it calls, cannot be found there.
    """
    name = str(getattr(function, "__qualname__", "") or repr(function))
    check_helpers(name, function, helper_functions or ())
    script: dict[str, Any] = {"returns": list(returns), "working_dir": "."}
    if repo:
        script |= repository(repo, repo_branch, repo_commit)
    place = place_of(function)
    if place is None:
        sources = _pickled(script, function, name)
    else:
        module, script["function"] = place
        sources = _in_main(script) if module is main_module() else _in_module(script, module)
        arguments = [str(each) for each in script.get("arguments", ())]
        script["code"] = fingerprint.code_of(function, sources, place, helper_functions or (), arguments)
    if working_dir:
        script["code"] = fingerprint.of_words(script["code"], working_dir)
        _run_in(script, working_dir, place and place[0], sources)
    return script, sources


def script_of_repository(
    repo: str,
    branch: str | None = None,
    commit: str | None = None,
    script: str | None = None,
    working_directory: str | None = None,
    module: str | None = None,
) -> dict[str, Any]:
    """What runs the file `script`, or `python -m module`, inside a checkout of `repo`; no sources travel."""
    if not (script or module):
        raise DefinitionError(f"nothing of {repo} is named to run: give script, a path inside it, or module")
    return {
        **repository(repo, branch, commit),
        "entry_point": script or f"{AS_MODULE}{module}",
        "working_dir": working_directory or ".",
        "arguments": [],
    }


def repository(repo: str, branch: str | None = None, commit: str | None = None) -> dict[str, Any]:
    """`script.repository`, `branch` and `commit`. A local work tree becomes its remote and what is checked out there.

    Raises DefinitionError for a folder that is no work tree of git.
    """
    folder = Path(repo).expanduser()
    if folder.is_dir():
        top = git(folder, "rev-parse", "--show-toplevel")
        if top is None and git(folder, "rev-parse", "--git-dir") is None:
            raise DefinitionError(f"{repo} is no git repository: give the path of one, or a url")
        remote = git(folder, "remote", "get-url", "origin") if top is not None else None
        repo = remote or str(folder.resolve())
        if not (branch or commit):
            branch, commit = git(folder, "branch", "--show-current"), git(folder, "rev-parse", "HEAD")
    return {"repository": repo, "branch": branch or "", "commit": commit or ""}


def upload(client: "Client", sources: Snapshot | None) -> None:
    """Store the sources; what the server has already is not sent again."""
    if sources is not None:
        for data in filter(None, (sources.data, sources.pickled)):
            client.blobs.put_bytes(data)


def snapshot_of(path: Path, base: Path | None = None) -> Snapshot:
    """The snapshot of the project of `path`, made once in the life of a process.

    Without a work tree of git that is the folder `base`, else the one of `path`.
    """
    path = path.resolve()
    if path not in _snapshots:
        root = _root_given_by_agent(path)
        if root is None and base is not None:
            root = project_root(path.parent, base)
        _snapshots[path] = snapshot(path, root)
    return _snapshots[path]


def _root_given_by_agent(path: Path) -> Path | None:
    """Where an agent unpacked the sources that `path` is one of: no git work tree says so there."""
    if not process.given_by_agent():
        return None
    from foldline.client import shared

    script = shared().tasks.get(str(process.task_id()))["script"]
    if (digest := script.get("source")) and digest in path.parts:
        return Path(*path.parts[: path.parts.index(digest) + 1])
    if path != main_file():
        return None
    for entry in entry_files(script):
        parts = PurePath(entry).parts
        if path.parts[-len(parts) :] == parts:
            return path.parents[len(parts) - 1]
    return None


def _entry(path: Path) -> tuple[dict[str, Any], Snapshot]:
    """The main script of this process as an entry point, with the command line that it got."""
    sources = _snapshot_of_main(path)
    script = {"entry_point": path.relative_to(sources.root).as_posix(), "working_dir": "."}
    if name := module_of_main():
        base = import_base(path, name)
        if base is not None and base.is_relative_to(sources.root):
            script["entry_point"] = AS_MODULE + name.removesuffix(".__main__")
            script["working_dir"] = base.relative_to(sources.root).as_posix()
    # A script that reads its command line as it is imported should find this one.
    return {**script, "source": sources.sha256, "arguments": [str(argument) for argument in sys.argv[1:]]}, sources


def _snapshot_of_main(path: Path) -> Snapshot:
    name = module_of_main()
    return snapshot_of(path, import_base(path, name) if name else None)


def _in_main(script: dict[str, Any]) -> Snapshot:
    path = main_file()
    assert path is not None, "an interactive session defines nothing that can be imported"
    entry, sources = _entry(path)
    script |= entry
    return sources


def _in_module(script: dict[str, Any], module: ModuleType) -> Snapshot | None:
    """An importable module: it travels too, when it is one of the project's rather than an installed one."""
    path = Path(module.__file__).resolve() if module.__file__ else None
    script["module"] = module.__name__
    main = main_file()
    if path is None or is_installed(path):
        return None
    base = import_base(path, module.__name__)
    in_main = main is not None and _same_project(main, path)
    sources = _snapshot_of_main(main) if main is not None and in_main else snapshot_of(path, base)
    if base is not None:
        script["working_dir"] = _inside(base, sources.root) or "."
    entry = main if main is not None and main.is_relative_to(sources.root) else path
    script |= {"entry_point": entry.relative_to(sources.root).as_posix(), "source": sources.sha256}
    return sources


def _same_project(main: Path, path: Path) -> bool:
    return not is_installed(main) and path.is_relative_to(_snapshot_of_main(main).root)


def _run_in(script: dict[str, Any], folder: str, module: ModuleType | None, sources: Snapshot | None) -> None:
    """Let the step run in `folder`; the entry point then says where its module is found."""
    if script.get("module") and sources is not None and module is not None and module.__file__:
        script["entry_point"] = Path(module.__file__).resolve().relative_to(sources.root).as_posix()
    elif str(script.get("entry_point", "")).startswith(AS_MODULE):
        raise DefinitionError("the script was started by python -m: its steps run in its folder, without working_dir")
    if sources is not None and sources.data and not script.get("repository"):
        folder = _folder_of(folder, sources.root)
    script["working_dir"] = folder


def _folder_of(folder: str, root: Path) -> str:
    """A folder of the sources, relative to them, given so or as a path of this machine."""
    for path in (root / folder, Path(folder)):
        if path.is_dir() and (name := _inside(path, root)) is not None:
            return name
    raise DefinitionError(f"working_dir {folder!r} is no folder of {root}, which is what travels with the step")


def _pickled(script: dict[str, Any], function: Callable[..., Any], name: str) -> Snapshot:
    """The function itself, and the modules beside the notebook that it may use."""
    if not pickled.wanted():
        raise DefinitionError(
            f"{name} cannot be a step as it is: it has to be a function defined at the top level of a file; "
            f"set {pickled.OPT_IN}=1 (and pip install 'foldline[pickle]') to send it as a pickle instead"
        )
    data = pickled.dump(function, name)
    script["function"] = str(getattr(function, "__name__", "") or type(function).__name__)
    script["pickle"] = hashlib.sha256(data).hexdigest()
    path = main_file()
    if path is not None and not is_installed(path):
        sources = _snapshot_of_main(path)
    elif any(loaded_from(root := project_root(Path.cwd().resolve()))):
        sources = snapshot(Path.cwd(), root)
    else:
        sources = Snapshot(root, "", b"")
    # Of a module the pickle holds no more than the name: the sources stand for what is in it.
    script["code"] = fingerprint.of_words(script["pickle"], sources.sha256)
    script["source"] = sources.sha256 or None
    return replace(sources, pickled=data)


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
        return {"pip": _requirements_in(Path(file), set())}
    return {}


def _requirements_in(path: Path, seen: set[Path]) -> str:
    """The file's text with the files it includes (`-r other.txt`) in their places: only the text travels."""
    if not path.is_file():
        raise DefinitionError(f"there is no requirements file {path}")
    lines: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        option, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if option not in ("-r", "--requirement"):
            lines.append(line)
        elif (other := (path.parent / rest.strip()).resolve()) not in seen:
            lines.append(_requirements_in(other, seen | {path.resolve(), other}))
    return "\n".join(lines)
