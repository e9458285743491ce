"""What Task.create makes a task of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldline import scripts
from foldline.client import Client
from foldline.errors import DefinitionError
from foldline.parameters import Sections, entry
from foldline.projects import AS_MODULE

ARGUMENTS = "Args"


def script_of(
    client: Client,
    *,
    repo: str | None,
    branch: str | None,
    commit: str | None,
    script: str | None,
    working_directory: str | None,
    module: str | None,
    binary: str | None,
) -> dict[str, Any]:
    """The task's `script`: local files travel now, a repository is checked out where the task runs; {} for neither."""
    if (branch or commit) and not repo:
        raise DefinitionError("branch and commit belong to a repository: give repo as well")
    said: dict[str, Any] = {}
    if repo:
        said = scripts.script_of_repository(repo, branch, commit, script, working_directory, module)
    elif script or module:
        said, sources = scripts.script_of_file(Path(script)) if script else _module(str(module), working_directory)
        scripts.upload(client, sources)
        if working_directory and script:
            said["working_dir"] = working_directory
    elif working_directory:
        said["working_dir"] = working_directory
    if binary:
        said["binary"] = binary
    return said


def command_line(script: str | None, argparse_args: Sequence[tuple[str, Any]] | None) -> list[str]:
    """The arguments as words of a command line, for a script that would not get them by Task.init."""
    if not argparse_args:
        return []
    path = Path(script or "")
    if path.is_file() and "Task.init" in path.read_text("utf-8", "replace"):
        return []
    return [word for name, value in argparse_args for word in (f"--{name.lstrip('-')}", str(value))]


def arguments(argparse_args: Sequence[tuple[str, Any]] | Mapping[str, Any]) -> Sections:
    """The section Args."""
    pairs = argparse_args.items() if isinstance(argparse_args, Mapping) else argparse_args
    return {ARGUMENTS: {str(name).lstrip("-"): entry(value) for name, value in pairs}}


def _module(module: str, working_directory: str | None) -> tuple[dict[str, Any], scripts.Snapshot]:
    """What `python -m module` runs, beside the working directory. Raises DefinitionError when there is no such file."""
    base = Path(working_directory or ".").resolve()
    name = module.removeprefix(AS_MODULE).split()[0]
    stem = base.joinpath(*name.split("."))
    path = next((one for one in (stem.with_suffix(".py"), stem / "__main__.py") if one.is_file()), None)
    if path is None:
        raise DefinitionError(f"there is no module {name} in {base}: give its script, or a working_directory")
    sources = scripts.snapshot_of(path, base)
    folder = base.relative_to(sources.root).as_posix() if base.is_relative_to(sources.root) else "."
    return {"entry_point": f"{AS_MODULE}{name}", "working_dir": folder, "source": sources.sha256}, sources
