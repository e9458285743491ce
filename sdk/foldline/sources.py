"""Snapshots: a project's files as one deterministic archive under its own hash, and back into a folder."""

import contextlib
import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from foldline.caching import cache_dir
from foldline.errors import DefinitionError, FoldlineError
from foldline.projects import import_folders, is_noise

if TYPE_CHECKING:
    from foldline.client import Client

MEGABYTE: Final = 1 << 20
LARGEST_FILE: Final = MEGABYTE
LARGEST_SNAPSHOT: Final = 50 * MEGABYTE
MOST_FILES: Final = 20_000
# What the sources say about themselves: hidden, so that it is nobody's file.
ABOUT: Final = ".foldline.json"
MOST_NAMED: Final = 100

log = logging.getLogger("foldline")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`data` is the `.tar.gz` of the files under `root`; with it travels a pickled function, where there is one."""

    root: Path
    sha256: str
    data: bytes
    pickled: bytes = b""


def snapshot(start: Path, root: Path | None = None) -> Snapshot:
    """The project that `start`, a script or a folder, belongs to. Raises DefinitionError when it is too large.

    It tells the folders that this process imports from, and the files that are too large to be sources.
    """
    start = start.resolve()
    folder = start if start.is_dir() else start.parent
    root = project_root(folder) if root is None else root.resolve()
    files, large = _chosen(root, start)
    # Sources that an agent has unpacked go on to say what they said.
    paths = dict.fromkeys([*about(root, "paths"), *import_folders(root, folder)])
    left_out = sorted({*large, *about(root, "left_out")})[:MOST_NAMED]
    said = {"paths": list(paths), "left_out": left_out}
    data = _archive(root, files, {name: value for name, value in said.items() if value})
    return Snapshot(root, hashlib.sha256(data).hexdigest(), data)


def project_root(folder: Path, otherwise: Path | None = None) -> Path:
    """The git work tree that `folder` lies in, else `otherwise`, else itself."""
    return _work_tree(folder) or otherwise or folder


def about(root: Path, what: str) -> list[str]:
    """What the unpacked sources at `root` say of themselves: "paths" to import from, or the files "left_out"."""
    try:
        said = json.loads((root / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    names = [PurePosixPath(str(each)) for each in said.get(what, ())]
    return [str(name) for name in names if not name.is_absolute() and ".." not in name.parts]


def missing_file(reason: str, root: Path) -> str:
    """A sentence for who misses a file that did not travel, if that is what `reason` is about; else ""."""
    for name in about(root, "left_out"):
        if reason.startswith("FileNotFoundError") and PurePosixPath(name).name in reason:
            return (
                f"{name} is over {LARGEST_FILE // MEGABYTE} MB and did not travel with the sources: "
                "upload it as an artifact or a dataset, and give the step its url"
            )
    return ""


def unpack(archive: Path, sha256: str, cache: Path | None = None) -> Path:
    """The folder with the archive's files, unpacked once per digest. Raises FoldlineError for paths that lead out."""
    cache = cache_dir("sources") if cache is None else cache
    target = cache / sha256
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{sha256[:12]}.", dir=cache))
    try:
        _extract(archive, folder)
        # A loser of the race finds the same files in place already.
        with contextlib.suppress(OSError):
            folder.rename(target)
        if not target.is_dir():
            raise FoldlineError(f"cannot unpack sources into {cache}: check its permissions")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def fetch(client: "Client", sha256: str, cache: Path | None = None) -> Path:
    """The folder of a snapshot that the server has: from the cache, else downloaded and unpacked."""
    cache = cache_dir("sources") if cache is None else cache
    if (cache / sha256).is_dir():
        return cache / sha256
    cache.mkdir(parents=True, exist_ok=True)
    # A folder of its own: several attempts may want the same sources at once.
    with tempfile.TemporaryDirectory(prefix=f".{sha256[:12]}.", dir=cache) as folder:
        return unpack(client.blobs.get(sha256, Path(folder) / "sources.tar.gz"), sha256, cache)


def git(folder: Path, *arguments: str) -> str | None:
    """The line that git answers about the work tree of `folder`; None when it has no answer."""
    answer = _git(folder, *arguments)
    return os.fsdecode(answer.rstrip(b"\n")) or None if answer else None


def _work_tree(folder: Path) -> Path | None:
    answer = git(folder, "rev-parse", "--show-toplevel")
    return Path(answer).resolve() if answer else None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git answers, None when there is no git, no work tree, or no trust in it."""
    # A repository may name a program for git to run as its file monitor: not on our account.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as why:
        log.debug("git cannot be asked about %s: %s", folder, why)
        return None
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip()
        if "dubious ownership" in complaint:
            log.warning("git does not trust the work tree of %s, so only the script's own folder travels", folder)
        return None
    return done.stdout


def _chosen(root: Path, start: Path) -> tuple[list[Path], list[str]]:
    """The files that travel, a script among them whatever git thinks of it, and the names of those too large to."""
    total, chosen, large = 0, {start} if start.is_file() else set[Path](), list[str]()
    for path in _candidates(root):
        try:
            status = path.stat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
            continue
        if status.st_size > LARGEST_FILE:
            large.append(path.relative_to(root).as_posix())
            continue
        chosen.add(path)
        total += status.st_size
        if total > LARGEST_SNAPSHOT or len(chosen) > MOST_FILES:
            raise DefinitionError(
                f"the sources under {root} are more than {LARGEST_SNAPSHOT // MEGABYTE} MB or {MOST_FILES} files: "
                "put the script into a folder of its own, or name what is no source in .gitignore"
            )
    if large:
        log.info("not part of the sources, being over 1 MB: %s", ", ".join(sorted(large)[:20]))
    return sorted(chosen, key=lambda path: path.relative_to(root).as_posix()), sorted(large)


def _candidates(root: Path) -> Iterator[Path]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        yield from _walk(root)
        return
    environments = {PurePosixPath(os.fsdecode(name)).parent for name in listed.split(b"\0") if _is_environment(name)}
    for name in sorted(set(listed.split(b"\0")) - {b""}):
        relative = PurePosixPath(os.fsdecode(name))
        if is_noise(relative.parts) or environments.intersection(relative.parents):
            continue
        path = root / relative
        # A submodule is listed as the folder it is.
        yield from _walk(path) if path.is_dir() else [path]


def _is_environment(name: bytes) -> bool:
    return name.rpartition(b"/")[2] == b"pyvenv.cfg"


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not is_noise((name,)))
        yield from (Path(folder, name) for name in sorted(names) if not is_noise((name,)))


def _archive(root: Path, files: list[Path], said: dict[str, list[str]]) -> bytes:
    """The same bytes for the same files: no times, no owners, one order."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        if said:
            _add(tar, ABOUT, json.dumps(said, ensure_ascii=False, sort_keys=True).encode(), 0o644)
        for path in files:
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            _add(tar, path.relative_to(root).as_posix(), path.read_bytes(), mode)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or "\\" in member.name or not member.isfile():
                raise FoldlineError(
                    f"the sources hold {member.name!r}, which is no plain file inside them: not unpacked"
                )
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None, "a regular file always has content"
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
            target.chmod(0o755 if member.mode & 0o100 else 0o644)
