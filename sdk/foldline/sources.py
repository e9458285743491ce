"""Snapshots: a project's files as one deterministic archive under its own hash, and back into a folder."""

import contextlib
import gzip
import hashlib
import io
import logging
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from foldline.caching import cache_dir
from foldline.errors import DefinitionError, FoldlineError

if TYPE_CHECKING:
    from foldline.client import Client

MEGABYTE: Final = 1 << 20
LARGEST_FILE: Final = MEGABYTE
LARGEST_SNAPSHOT: Final = 50 * MEGABYTE
MOST_FILES: Final = 20_000
LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

log = logging.getLogger("foldline")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`data` is the `.tar.gz` of the files under `root`."""

    root: Path
    sha256: str
    data: bytes


def snapshot(script: Path, root: Path | None = None) -> Snapshot:
    """The project that `script` belongs to. Raises DefinitionError when it is too large to travel."""
    script = script.resolve()
    root = project_root(script) if root is None else root.resolve()
    files = _chosen(root, script)
    data = _archive(root, files)
    return Snapshot(root, hashlib.sha256(data).hexdigest(), data)


def project_root(script: Path) -> Path:
    """The git work tree that `script` lies in, else its folder."""
    return _work_tree(script.parent) or script.parent


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


def _work_tree(folder: Path) -> Path | None:
    answer = _git(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(answer.rstrip(b"\n"))).resolve() if answer else None


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


def _chosen(root: Path, script: Path) -> list[Path]:
    """The files that travel, `script` among them whatever git thinks of it."""
    total, chosen, large = 0, {script}, list[str]()
    for path in _candidates(root):
        try:
            status = path.stat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
            continue
        if status.st_size > LARGEST_FILE:
            large.append(str(path.relative_to(root)))
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
    return sorted(chosen, key=lambda path: path.relative_to(root).as_posix())


def _candidates(root: Path) -> Iterator[Path]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        yield from _walk(root)
        return
    environments = {PurePosixPath(os.fsdecode(name)).parent for name in listed.split(b"\0") if _is_environment(name)}
    for name in sorted(set(listed.split(b"\0")) - {b""}):
        relative = PurePosixPath(os.fsdecode(name))
        if _is_noise(relative.parts) or environments.intersection(relative.parents):
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
        folders[:] = sorted(name for name in folders if not _is_noise((name,)))
        yield from (Path(folder, name) for name in sorted(names) if not _is_noise((name,)))


def _is_noise(parts: Iterable[str]) -> bool:
    """Hidden files hold settings and secrets of one machine, caches what can be made again."""
    return any(part.startswith(".") or part in LEFT_OUT or part.endswith((".pyc", ".egg-info")) for part in parts)


def _archive(root: Path, files: list[Path]) -> bytes:
    """The same bytes for the same files: no times, no owners, one order."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in files:
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(root).as_posix())
            member.size = len(content)
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


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
