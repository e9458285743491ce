"""Files under their own SHA-256: written once, never changed, the same for whoever stores the same bytes."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from eventstore.ids import checked_digest

ABANDONED_AFTER = 24 * 3600  # seconds: what a writer that died has left is no longer being written


class TooLarge(Exception):
    """More bytes than are allowed."""


class WrongDigest(Exception):
    """The bytes are not those that were announced; nothing was kept."""

    def __init__(self, announced: str, actual: str) -> None:
        super().__init__(f"The bytes have SHA-256 {actual}, not {announced}: send them again, or under their own hash.")
        self.announced, self.actual = announced, actual


class Blobs:
    """Content-addressed files in `folder`, each of at most `most_bytes`."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder, self._incoming = folder, folder / "incoming"
        self._most_bytes = most_bytes
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED_AFTER:
                    left.unlink()

    def path(self, digest: str) -> Path:
        """Where the file is, or would be. Raises ValueError for what is no SHA-256 in hex."""
        return self._folder / checked_digest(digest)[:2] / digest

    def exists(self, digest: str) -> bool:
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        return self.path(digest).stat().st_size

    @contextmanager
    def writer(self) -> Generator["BlobWriter"]:
        """Takes the bytes piece by piece; unless `keep` is called on it, nothing of them stays."""
        with NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            try:
                yield BlobWriter(self, file, self._most_bytes)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def take(self, file: Path, digest: str) -> None:
        """Give a finished file, which is on the disk, its name there."""
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        file.rename(path)
        # The name too must outlive a power cut: its owner is told that the bytes are kept.
        for folder in (path.parent, self._folder):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class BlobWriter:
    def __init__(self, blobs: Blobs, file: IO[bytes], most_bytes: int) -> None:
        self._blobs, self._file, self._most_bytes = blobs, file, most_bytes
        self._hash = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises TooLarge."""
        self.size += len(data)
        if self.size > self._most_bytes:
            raise TooLarge(
                f"A file may have {self._most_bytes:,} bytes at most: store it elsewhere and give its address."
            )
        self._hash.update(data)
        self._file.write(data)

    def keep(self, announced: str | None = None) -> str:
        """Make the file durable under its SHA-256, which is returned. Raises WrongDigest when another was announced."""
        digest = self._hash.hexdigest()
        if announced is not None and announced != digest:
            raise WrongDigest(announced, digest)
        if not self._blobs.exists(digest):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._blobs.take(Path(self._file.name), digest)
        return digest
