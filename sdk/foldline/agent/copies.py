"""Copies of unpacked snapshots: looked through once, since they never change, then made by the fewest calls."""

import functools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SMALL: Final = 32 * 1024  # bytes of a file up to which its content is remembered
REMEMBERED: Final = 1024 * 1024  # bytes for one snapshot, at most

_COMPILED: Final = "__pycache__"


@dataclass(slots=True)
class File:
    path: str
    mode: int
    content: bytes | None  # None when it has to be read again


def copy(snapshot: Path, target: Path) -> None:
    """Make `target` a copy of `snapshot`, without what was compiled there. Raises OSError."""
    folders, files, links = _look_through(snapshot)
    os.mkdir(target)
    for path in folders:
        os.mkdir(f"{target}/{path}")
    for path, leads_to in links:
        os.symlink(leads_to, f"{target}/{path}")
    for file in files:
        if file.content is None:
            shutil.copy(f"{snapshot}/{file.path}", f"{target}/{file.path}")
        else:
            _write(f"{target}/{file.path}", file.mode, file.content)


@functools.lru_cache(maxsize=16)
def _look_through(snapshot: Path) -> tuple[list[str], list[File], list[tuple[str, str]]]:
    """Its folders, parents first, its files, and its links with where they lead."""
    folders: list[str] = []
    files: list[File] = []
    links: list[tuple[str, str]] = []
    left = REMEMBERED
    for folder, inner, names in os.walk(snapshot):
        inner[:] = sorted(name for name in inner if name != _COMPILED)
        for name in (*inner, *sorted(names)):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, snapshot)
            if os.path.islink(path):
                links.append((relative, os.readlink(path)))
            elif name in inner:
                folders.append(relative)
            else:
                stat = os.stat(path)
                content = Path(path).read_bytes() if stat.st_size <= min(SMALL, left) else None
                left -= len(content or b"")
                files.append(File(relative, stat.st_mode & 0o777, content))
    return folders, files, links


def _write(path: str, mode: int, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
