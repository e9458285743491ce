"""Cached environments for tasks that ask for packages: made by uv, once for the same packages, the oldest dropped.

An environment sees the agent's own packages after its own, through a .pth file: so the SDK is there as the agent has
it, and whatever the task asks for comes before it. `--system-site-packages` would show the packages of the Python that
the agent's environment was made from, among which the SDK need not be.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast

from foldline.agent import indexes
from foldline.agent.tools import Tools, try_lock
from foldline.agent.workspace import CannotRun, Workspace, inside
from foldline.version import VERSION

KEPT: Final = 10
PATIENCE: Final = 3600.0  # seconds: some packages are compiled
READY: Final = "foldline.ready"  # written last: an environment without it is half built

_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:==\s*([A-Za-z0-9.+!-]+))?")
_COMMENT: Final = re.compile(r"(^|\s)#.*")
_INCLUDED: Final = re.compile(r"(?:-r|--requirement)[\s=]\s*(.+)")
_LOCAL: Final = re.compile(r"(?:-e\s+|--editable[\s=]|[\w.\[\],-]+\s*@\s*)?(?:file://)?(\.{0,2}/.*|\.{1,2})")


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment, kept until it is released."""

    folder: Path
    lock: int

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def variables(self, shared: Mapping[str, str]) -> dict[str, str]:
        """What programs find it by."""
        path = os.pathsep.join(filter(None, [str(self.folder / "bin"), shared.get("PATH", os.defpath)]))
        return {"VIRTUAL_ENV": str(self.folder), "PATH": path}

    def release(self) -> None:
        os.close(self.lock)


def wanted(requirements: Mapping[str, Any], space: Workspace) -> list[str]:
    """The lines of `script.requirements`, sorted, with those of the files they include."""
    said: Any = requirements.get("pip") or ()
    text = said if isinstance(said, str) else "\n".join(map(str, cast(Sequence[object], said)))
    return sorted(set(_lines(text, space, frozenset())))


def write(lines: Sequence[str], file: Path) -> Path:
    """The lines as a requirements file."""
    file.write_text("".join(f"{_installable(line)}\n" for line in lines), encoding="utf-8")
    return file


def satisfied(lines: Sequence[str]) -> bool:
    """Whether this very Python has all of them; asked again when something was installed or removed."""
    return _satisfied(tuple(lines), tuple(_changed_at(folder) for folder in _site_folders()))


@functools.lru_cache(maxsize=256)
def _satisfied(lines: tuple[str, ...], state: tuple[int, ...]) -> bool:
    return has_all(lines)


def has_all(lines: Sequence[str]) -> bool:
    """The same, looked up. What is not easily told is not there."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return all(_has_simple(line) for line in lines)

    def has(line: str) -> bool:
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            return False
        if asked.marker is not None and not asked.marker.evaluate():
            return True
        found = _version(asked.name)
        return found is not None and not asked.url and not asked.extras and asked.specifier.contains(found, True)

    return all(has(line) for line in lines)


def get(cache: Path, lines: Sequence[str], space: Workspace, tools: Tools) -> Environment:
    """The environment with these packages; made first if need be, while others that want it wait.

    Raises CannotRun with the end of what uv said, and Stopped.
    """
    digest = _digest(lines, space)
    folder, lock_file = cache / digest, cache / f"{digest}.lock"
    while True:
        lock = tools.lock(lock_file, fcntl.LOCK_SH)
        if (folder / READY).is_file():
            os.utime(folder / READY)
            return Environment(folder, lock)
        os.close(lock)
        lock = tools.lock(lock_file, fcntl.LOCK_EX)
        try:
            if not (folder / READY).is_file():
                _build(folder, lines, space, tools, lock)
        finally:
            os.close(lock)
        evict(cache, keep=folder)


def evict(cache: Path, most: int = KEPT, keep: Path | None = None) -> None:
    """Drop what was left half built, and of more than `most` environments those that were longest not used."""
    folders = [path for path in cache.iterdir() if path.is_dir()]
    by_use = sorted(folders, key=_last_use, reverse=True)
    for number, folder in enumerate(by_use):
        if folder != keep and (number >= most or not (folder / READY).is_file()):
            # The lock's file stays: two could each hold one of the same name otherwise.
            with contextlib.closing(_Lock(cache / f"{folder.name}.lock")) as lock:
                if lock.taken:
                    (folder / READY).unlink(missing_ok=True)
                    shutil.rmtree(folder, ignore_errors=True)


def uv() -> str:
    """The path of uv. Raises CannotRun when it is not installed."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return str(find_uv_bin())
    if found := shutil.which("uv"):
        return found
    raise CannotRun(
        "the task asks for packages, and uv, which makes its environment, is not here: "
        "pip install 'foldline[agent]' where the agent runs"
    )


class _Lock:
    """An attempt at the lock of an environment that nobody uses."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.taken = try_lock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        os.close(self._descriptor)


def _build(folder: Path, lines: Sequence[str], space: Workspace, tools: Tools, lock: int) -> None:
    program = uv()
    shutil.rmtree(folder, ignore_errors=True)
    settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", **indexes.settings(tools.environment)}
    said = tools.run(
        [program, "venv", "--quiet", "--python", sys.executable, str(folder)],
        cwd=folder.parent,
        patience=PATIENCE,
        environment=settings,
        lock=lock,
    )
    if said.code == 0:
        file = write(lines, folder / "requirements.txt")
        command = [program, "pip", "install", "--python", str(folder / "bin" / "python"), "-r", str(file)]
        command += ["--no-index"] if indexes.is_off(tools.environment) else []
        said = tools.run(command, cwd=space.cwd, patience=PATIENCE, environment=settings, lock=lock)
    if said.code != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotRun(f"the packages it asks for could not be installed: {said.in_short()}")
    _show_agents_packages(folder)
    (folder / READY).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _show_agents_packages(folder: Path) -> None:
    [packages] = (folder / "lib").glob("python*/site-packages")
    # addsitedir rather than a line for each: it heeds the .pth files there, which editable installations consist of.
    line = f"import site; list(map(site.addsitedir, {_site_folders()!r}))\n"
    (packages / "zz_foldline_agent.pth").write_text(line, encoding="utf-8")


def _site_folders() -> list[str]:
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _digest(lines: Sequence[str], space: Workspace) -> str:
    """All that the environment depends on."""
    local = [_content(space.cwd / match[1]) for line in lines if (match := _LOCAL.fullmatch(line))]
    python = [sys.version, sys.base_prefix, platform.machine(), sys.platform, VERSION, _site_folders()]
    return hashlib.sha256(json.dumps([list(lines), local, python]).encode()).hexdigest()[:32]


def _content(path: Path) -> str:
    """What a package of this machine consists of: the same path may hold another one tomorrow."""
    hashed = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
            hashed.update(f"{file.relative_to(path)}\0".encode())
            hashed.update(file.read_bytes())
    return hashed.hexdigest()


def _lines(text: str, space: Workspace, seen: frozenset[Path]) -> Iterator[str]:
    for raw in text.replace("\\\n", " ").splitlines():
        line = _COMMENT.sub("", raw).strip()
        if match := _INCLUDED.fullmatch(line):
            path = inside(space.work, os.path.relpath(space.cwd / match[1], space.work))
            if not path.is_file():
                raise CannotRun(f"the requirements name {match[1]!r}, which is not among the task's sources")
            if path not in seen:
                yield from _lines(path.read_text("utf-8"), space, seen | {path})
        elif line and not _is_sdk(line):
            yield line


def _is_sdk(line: str) -> bool:
    """The SDK is there as the agent has it, which is the one that fits."""
    match = _NAME.match(line)
    return match is not None and match[1].lower() == "foldline"


def _installable(line: str) -> str:
    """An editable package would be the attempt's own copy of it, which goes when the attempt ends."""
    return re.sub(r"^(?:-e\s+|--editable[\s=])", "", line)


def _has_simple(line: str) -> bool:
    match = _NAME.fullmatch(line)
    found = None if match is None else _version(match[1])
    return found is not None and match is not None and match[2] in (None, found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _last_use(folder: Path) -> float:
    try:
        return (folder / READY).stat().st_mtime
    except OSError:
        return 0.0
