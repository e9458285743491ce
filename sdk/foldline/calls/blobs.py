"""Bytes stored under their own SHA-256."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from foldline.calls.base import Calls
from foldline.errors import FoldlineError, NotFound
from foldline.stores import whole_or_not

PIECE: Final = 1 << 20
TRIES: Final = 5


class Blobs(Calls):
    def put_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        """Store a file: its SHA-256 and its size in bytes. What the server has already is not sent again."""
        sha256, size = digest_of(path)
        if not self.exists(sha256):
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            self._client.request("PUT", f"blobs/{sha256}", content=lambda: _pieces(path), headers=headers)
        return sha256, size

    def put_bytes(self, data: bytes) -> tuple[str, int]:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.exists(sha256):
            headers = {"Content-Type": "application/octet-stream"}
            self._client.request("PUT", f"blobs/{sha256}", content=data, headers=headers)
        return sha256, len(data)

    def exists(self, sha256: str) -> bool:
        try:
            self._client.request("HEAD", f"blobs/{sha256}")
        except NotFound:
            return False
        return True

    def get(self, sha256: str, path: str | os.PathLike[str]) -> Path:
        """Write the blob to `path`, which is either whole and checked or not there at all."""
        target = Path(path)
        with whole_or_not(target) as part:
            self._download(sha256, part)
        return target

    def read(self, sha256: str) -> bytes:
        """The whole blob in memory."""
        return self._client.request("GET", f"blobs/{sha256}").content

    def _download(self, sha256: str, part: Path) -> None:
        import httpx2

        for tried in range(1, TRIES + 1):
            have = part.stat().st_size
            # As it lies there: a range of compressed bytes would be something else.
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
            try:
                with self._client.stream(f"blobs/{sha256}", headers=headers, silence=60.0) as response:
                    resumed = response.status_code == 206
                    with part.open("ab" if resumed else "wb") as file:
                        for piece in response.iter_bytes():
                            file.write(piece)
                break
            except httpx2.TransportError as why:
                if tried == TRIES:
                    raise FoldlineError(f"blob {sha256} broke off {TRIES} times while it was read ({why})") from why
        if digest_of(part)[0] != sha256:
            raise FoldlineError(f"what came for blob {sha256} has another hash; ask again, or check the server's disk")


def digest_of(path: str | os.PathLike[str]) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces(path):
        hashed.update(piece)
        size += len(piece)
    return hashed.hexdigest(), size


def _pieces(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece
