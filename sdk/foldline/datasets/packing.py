"""Upload: small files go together into packs, for each request costs the server a write that has to reach the disk."""

import hashlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from foldline.calls.blobs import digest_of
from foldline.datasets.entries import FileEntry, Manifest
from foldline.errors import FoldlineError
from foldline.stores import BLOBS, store_of

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")

MEGABYTE: Final = 1 << 20
SMALL: Final = MEGABYTE  # files up to this many bytes go into packs
PACK: Final = 64 * MEGABYTE


def upload(
    client: "Client", manifest: Manifest, *, destination: str | None, pack: int, workers: int, progress: bool
) -> int:
    """Store the bytes of all pending files and note in the manifest where they lie; how many bytes that were.

    `destination` is the folder of another store than the server's; `pack` the most bytes in one pack.
    """
    pending = sorted(manifest.pending, key=lambda entry: entry.relative_path)
    for entry in pending:
        if entry.local_path is None or not Path(entry.local_path).is_file():
            raise FoldlineError(
                f"{entry.relative_path} cannot be uploaded: {entry.local_path} is not there any more; add it again"
            )
    # The same content under two paths is stored once.
    once = list({entry.hash: entry for entry in reversed(pending)}.values())[::-1]
    with tempfile.TemporaryDirectory(prefix="foldline-packs-") as folder, ThreadPoolExecutor(workers) as pool:
        large = [[entry] for entry in once if entry.size > SMALL]
        groups = large + list(_packs([entry for entry in once if entry.size <= SMALL], pack))

        def store(numbered: tuple[int, list[FileEntry]]) -> int:
            return _store(client, manifest, numbered[1], Path(folder, str(numbered[0])), destination)

        done = 0
        for size in pool.map(store, enumerate(groups)):
            done += size
            if progress and len(groups) > 1:
                log.info("uploaded %.1f MB", done / MEGABYTE)
    stored = {entry.hash: entry for entry in once}
    for entry in pending:
        entry.blob, entry.offset = stored[entry.hash].blob, stored[entry.hash].offset
        entry.local_path = None
    return done


def _packs(entries: Iterable[FileEntry], most: int) -> Iterator[list[FileEntry]]:
    group, size = list[FileEntry](), 0
    for entry in entries:
        if group and size + entry.size > most:
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group


def _store(client: "Client", manifest: Manifest, group: list[FileEntry], scratch: Path, destination: str | None) -> int:
    path = Path(str(group[0].local_path))
    if len(group) > 1:
        _write_pack(group, scratch)
        path = scratch
    if destination is None:
        sha256, size = client.blobs.put_file(path)
    else:
        sha256, size = digest_of(path)
        manifest.addresses[sha256] = store_of(destination, client).write(path, f"{destination}/{sha256}")
    scratch.unlink(missing_ok=True)
    if len(group) == 1 and sha256 != group[0].hash:
        raise _changed(group[0])
    offset = 0
    for entry in group:
        entry.blob, entry.offset = sha256, offset
        offset += entry.size
    return size


def _write_pack(group: list[FileEntry], path: Path) -> None:
    """The files' bytes one after another: where each begins stands in the manifest."""
    with path.open("wb") as pack:
        for entry in group:
            data = Path(str(entry.local_path)).read_bytes()
            if hashlib.sha256(data).hexdigest() != entry.hash:
                raise _changed(entry)
            pack.write(data)


def _changed(entry: FileEntry) -> FoldlineError:
    return FoldlineError(f"{entry.local_path} has changed since it was added: add it again, then upload")


def destination_of(url: str | None, name: str, dataset_id: str) -> str | None:
    """The folder of a dataset's packs at another store; None for the server's own blobs."""
    if url is None or url.startswith(BLOBS) or url.startswith("foldline://"):
        return None
    return f"{url.rstrip('/')}/{name.replace('/', '_')}.{dataset_id}"
