"""Artifacts of a task: bytes under their own hash, and a line about them on the task."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline import destinations, formats
from foldline.archives import unpacked
from foldline.errors import FoldlineError
from foldline.formats import Packed
from foldline.storage import fetch_url
from foldline.stores import local_path

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")


class Artifact:
    """One artifact, as the task's record says it; its bytes are fetched when asked for, and kept in the cache."""

    def __init__(self, record: Mapping[str, Any], client: "Client") -> None:
        self._record = record
        self._client = client

    def __repr__(self) -> str:
        return f"Artifact({self.name!r}, type={self.type!r}, size={self.size})"

    @property
    def name(self) -> str:
        return str(self._record["name"])

    @property
    def url(self) -> str:
        return str(self._record["url"])

    @property
    def size(self) -> int:
        return int(self._record.get("size") or 0)

    @property
    def type(self) -> str:
        return str(self._record.get("type") or "")

    @property
    def format(self) -> str:
        return str(self._record.get("format") or "")

    @property
    def mode(self) -> str:
        return str(self._record.get("mode") or "output")

    @property
    def hash(self) -> str:
        """The SHA-256 of the bytes, empty when nobody has said it."""
        return str(self._record.get("hash") or "")

    @property
    def timestamp(self) -> datetime | None:
        said = self._record.get("timestamp")
        return datetime.fromisoformat(str(said)) if said else None

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self._record.get("metadata") or {})

    @property
    def preview(self) -> str:
        return str(self._record.get("preview") or "")

    def get(
        self,
        force_download: bool = False,
        deserialization_function: Callable[[bytes], Any] | None = None,
        block_unsafe_artifacts: bool = False,
    ) -> Any:
        """The object that was stored; a file or folder as its local path.

        Only here are pickles loaded, in the caller's process; `block_unsafe_artifacts` refuses them.
        """
        if block_unsafe_artifacts and self.format == "pickle" and deserialization_function is None:
            raise FoldlineError(f"artifact {self.name!r} is a pickle, and those were to be blocked")
        path = self._fetched(force_download)
        if deserialization_function is not None:
            return deserialization_function(path.read_bytes())
        if self.format == "folder":
            return self._extracted(path)
        return formats.load(self.format, self.type, path)

    def get_local_copy(
        self, extract_archive: bool = True, raise_on_error: bool = False, force_download: bool = False
    ) -> str | None:
        """The path of a local copy; an uploaded folder comes as a folder. None on failure, unless `raise_on_error`."""
        try:
            path = self._fetched(force_download)
            if extract_archive and self.format == "folder":
                path = self._extracted(path)
        except (FoldlineError, OSError) as why:
            if raise_on_error:
                raise
            log.warning("artifact %r cannot be fetched: %s", self.name, why)
            return None
        return str(path)

    def _fetched(self, force: bool) -> Path:
        """Raises FoldlineError when it cannot be had, or is not what was stored."""
        return fetch_url(self.url, self._client, force=force, sha256=self.hash or None)

    def _extracted(self, archive: Path) -> Path:
        # One that lies where it was put has no room beside it that would be ours.
        return _extracted(archive) if local_path(self.url) is None else unpacked(archive)


class Artifacts(Mapping[str, Artifact]):
    """A task's artifacts by name, as they were when this was read."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]], client: "Client") -> None:
        self._records = records
        self._client = client

    def __getitem__(self, name: str) -> Artifact:
        return Artifact(self._records[name], self._client)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Artifacts({list(self._records)})"


def upload(
    client: "Client",
    identifier: str,
    name: str,
    packed: Packed,
    *,
    metadata: Mapping[str, Any] | None = None,
    mode: str = "output",
    folder: str | None = None,
) -> dict[str, Any]:
    """Store the bytes, then say so on the task: whoever reads the artifact's name can read its bytes.

    They go to the server, unless a `folder` is given (`destinations.folder_of`).
    """
    address: dict[str, Any] = {}
    try:
        if folder is not None:
            content = packed.data or b"" if packed.path is None else packed.path
            filename = packed.filename or name
            url, sha256, size = destinations.put(client, content, folder, f"artifacts/{name}", filename)
            address["url"] = url
        elif packed.path is not None:
            sha256, size = client.blobs.put_file(packed.path)
        else:
            sha256, size = client.blobs.put_bytes(packed.data or b"")
    finally:
        if packed.temporary and packed.path is not None:
            packed.path.unlink(missing_ok=True)
    record = {
        **address,
        "name": name,
        "sha256": sha256,
        "size": size,
        "type": packed.type,
        "format": packed.format,
        "filename": packed.filename,
        "preview": packed.preview,
        "metadata": dict(metadata or {}),
        "mode": mode,
    }
    return client.tasks.add_artifact(identifier, record)


def _extracted(archive: Path) -> Path:
    folder = archive.with_suffix("")
    done = folder.with_name(f".{folder.name}.complete")
    if not done.exists():
        formats.extract(archive, folder)
        done.touch()
    return folder
