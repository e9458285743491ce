"""The files beside the database: artifacts under their hashes, and what attempts have printed, copied and checked."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

PIECE = 1024 * 1024  # bytes
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Copied:
    """How many files and bytes; and the artifacts whose bytes are not those that their name says."""

    blobs: int = 0
    logs: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list[str])


def copy_files(data: Path, to: Path) -> Copied:
    """Copy all artifacts and logs of one data folder into another. Damaged ones are copied too: they are all there is.

    While a server works: an artifact is never changed, and a log only grows; of that comes what is there at first.
    """
    copied = Copied()
    for blob in blobs_of(data):
        target = to / "blobs" / blob.parent.name / blob.name
        if _copy(blob, target, copied) != blob.name:
            copied.damaged.append(blob.name)
        copied.blobs += 1
    for log in logs_of(data):
        _copy(log, to / log.relative_to(data), copied)
        copied.logs += 1
    return copied


def blobs_of(data: Path) -> Iterator[Path]:
    """Without those that are being written."""
    return (path for path in sorted((data / "blobs").glob("??/*")) if _DIGEST.fullmatch(path.name))


def logs_of(data: Path) -> Iterator[Path]:
    return (path for path in sorted((data / "logs").glob("??/*/*.log")) if path.is_file())


def _copy(source: Path, target: Path, copied: Copied) -> str:
    """The SHA-256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256()
    fresh = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fresh, "wb") as writer, source.open("rb") as reader:
        left = source.stat().st_size
        while left and (piece := reader.read(min(PIECE, left))):
            digest.update(piece)
            writer.write(piece)
            left -= len(piece)
            copied.bytes += len(piece)
    return digest.hexdigest()


@contextmanager
def workplace(parent: Path, prefix: str) -> Generator[Path]:
    """A folder in `parent` for what is not whole yet, which goes at the end, unless it was given another name.

    Those that killed processes have left there go first: who is at work in one holds a lock on it. Raises OSError.
    """
    for left in parent.glob(f"{prefix}*"):
        with suppress(OSError), _held(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with _held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Generator[None]:
    """The lock dies with its process. Raises BlockingIOError when somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sync(folder: Path) -> None:
    """Have the disk keep all that is in the folder, and its names, before somebody is told that it is kept."""
    for place, _, names in os.walk(folder):
        for path in (*names, "."):
            descriptor = os.open(os.path.join(place, path), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
