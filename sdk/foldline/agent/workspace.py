"""What an attempt finds around itself: its sources, a folder of its own, its environment and its command."""

import functools
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import foldline
from foldline import process, sources
from foldline.agent import copies
from foldline.errors import FoldlineError
from foldline.projects import AS_MODULE

Json = dict[str, Any]

SDK: Final = Path(foldline.__file__).resolve().parent.parent
# What an attempt's process is told by, beside PYTHONPATH: by its agent, and for itself.
SHARED: Final = ("FOLDLINE_URL", "FOLDLINE_TOKEN", "FOLDLINE_SESSION", "PYTHONUNBUFFERED")
OWN: Final = ("FOLDLINE_TASK_ID", "FOLDLINE_ATTEMPT", "FOLDLINE_RUN_ID", "FOLDLINE_STEP")


class CannotRun(FoldlineError):
    """The attempt cannot begin, and trying again would not help: it fails with this sentence as its reason."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one attempt."""

    work: Path  # its own copy of the sources
    cwd: Path  # the script's working_dir in that copy


def prepare(folder: Path, script: Json, unpacked: Path | None) -> Workspace:
    """Give the attempt its own copy of the sources, so that steps side by side never overwrite each other's files.

    Without sources it is an empty folder. Raises CannotRun for a working_dir that is not there.
    """
    work = folder / "work"
    if unpacked is None:
        work.mkdir()
    else:
        copies.copy(unpacked, work)
    return in_folder(work, script)


def in_folder(work: Path, script: Json) -> Workspace:
    """The attempt's own folder as it is. Raises CannotRun for a working_dir that is not there."""
    working_dir = str(script.get("working_dir") or ".")
    if working_dir == ".":
        return Workspace(work, work)
    cwd = inside(work, working_dir)
    if not cwd.is_dir():
        raise CannotRun(f"the working_dir {working_dir!r} is not a folder of the task's sources; correct the script")
    return Workspace(work, cwd)


def inside(root: Path, path: str) -> Path:
    """`path` under `root`. Raises CannotRun when it leads out."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise CannotRun(f"{path!r} leads out of the task's sources; use a path inside them")
    return found


def script_command(space: Workspace, script: Json, python: str = sys.executable) -> list[str]:
    """What to start for a script, with the interpreter `python`."""
    arguments: list[Any] = script.get("arguments") or []
    name = str(script.get("entry_point") or "")
    if name.startswith(AS_MODULE):
        return [python, "-m", name.removeprefix(AS_MODULE).strip(), *map(str, arguments)]
    return [python, str(entry_point(space, script)), *map(str, arguments)]


def import_folders(space: Workspace) -> list[Path]:
    """What Python searches for a script's modules, after the script's own folder."""
    named = [space.work / path for path in sources.about(space.work, "paths")]
    return list(dict.fromkeys([space.cwd, *named, space.work]))


def entry_point(space: Workspace, script: Json) -> Path:
    """The file to run, in the attempt's own copy. One that no snapshot holds is written from the inline `diff`."""
    name = str(script.get("entry_point") or "")
    if not name:
        raise CannotRun("the task has no entry_point to run; give its script one")
    # The second is ClearML's way to say it: relative to the working_dir.
    places = [inside(space.work, name), inside(space.work, os.path.relpath(space.cwd / name, space.work))]
    for place in places:
        if place.is_file():
            return place
    # In a checkout the diff is a patch, which has been applied.
    if not script.get("diff") or script.get("repository"):
        raise CannotRun(f"the entry point {name!r} is not among the task's sources; correct the path, or send it along")
    places[0].parent.mkdir(parents=True, exist_ok=True)
    places[0].write_text(str(script["diff"]), encoding="utf-8")
    return places[0]


def shared_environment(url: str, token: str | None, session: str) -> dict[str, str]:
    """What all processes of this agent have in common."""
    shared = process.environment_of_another() | {
        "FOLDLINE_URL": url,
        "FOLDLINE_SESSION": session,
        "PYTHONUNBUFFERED": "1",
    }
    if token is not None:
        shared["FOLDLINE_TOKEN"] = token
    return shared | {"PYTHONPATH": python_path(shared)}


def own_environment(shared: Mapping[str, str], claim: Json, paths: Sequence[Path]) -> dict[str, str]:
    """What one attempt's process has beside `shared`, with `paths` first among those that Python searches."""
    own = {"FOLDLINE_TASK_ID": str(claim["task_id"]), "FOLDLINE_ATTEMPT": str(claim["attempt"])}
    if claim.get("run_id"):
        own["FOLDLINE_RUN_ID"] = str(claim["run_id"])
    if claim.get("step"):
        own["FOLDLINE_STEP"] = str(claim["step"])
    return own | {"PYTHONPATH": python_path(shared, paths)}


def python_path(environment: Mapping[str, str], first: Sequence[Path] = ()) -> str:
    """PYTHONPATH with `first` in front, and with this package where a plain interpreter would not find it."""
    entries = [str(path) for path in first]
    entries += [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    if not _is_installed() and str(SDK) not in entries:
        entries.append(str(SDK))
    return os.pathsep.join(entries)


@functools.cache
def _is_installed() -> bool:
    """Whether any interpreter finds this package. Named in PYTHONPATH it would come before the standard library."""
    return str(SDK) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
