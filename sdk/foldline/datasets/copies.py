"""Local copies: each content is fetched once into the cache, and linked into a folder for each version."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from foldline.caching import cache_dir
from foldline.datasets.entries import FileEntry, LinkEntry, Manifest
from foldline.errors import FoldlineError
from foldline.storage import fetch_url
from foldline.stores import PIECE, local_path, store_of, whole_or_not

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")

# What lies in the cache bears this time (2000-01-01, UTC): whoever writes into a file gives it another one.
UNTOUCHED: Final = 946_684_800
TRIES: Final = 5

Run = list[FileEntry]  # files that lie one after another in one blob


def local_copy(client: "Client", manifest: Manifest, name: str, *, workers: int, tolerant: bool) -> Path:
    """The folder `name` of the cache with all that the manifest names; what somebody changed in it is put back.

    `tolerant`: what cannot be had is left out, with a warning, and tried again the next time.
    """
    folder = cache_dir("datasets", "copies") / name
    if folder.is_dir():
        missing = _missing(manifest, folder)
        if missing.files or missing.links:
            log.warning("%d files of %s are changed or gone: put back", len(missing.files) + len(missing.links), folder)
            _fill(client, missing, folder, workers, tolerant)
        return folder
    part = Path(tempfile.mkdtemp(prefix=f".{name[:20]}.", dir=folder.parent))
    try:
        _fill(client, manifest, part, workers, tolerant)
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            # A loser of the race finds the same files in place already.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def copy_out(manifest: Manifest, source: Path, target: Path) -> None:
    """Files of one's own, with the times that they had when they were added."""
    for path in (*manifest.files, *manifest.links):
        if (source / path).is_file():  # what could not be had is in no copy
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target / path)
    for path, entry in manifest.files.items():
        if (target / path).is_file():
            os.utime(target / path, (entry.modified, entry.modified))


def part_of(manifest: Manifest, part: int, parts: int | None) -> Manifest:
    """The files of one of `parts` shares, numbered from 0; by default there are as many as there are chunks.

    Links belong to the first share.
    """
    chunks = manifest.chunks()
    parts = parts or max(len(chunks), 1)
    if not 0 <= part < parts:
        raise ValueError(f"part {part} is none of {parts}: they are numbered from 0")
    each, over = divmod(len(chunks), parts)
    start = part * each + min(part, over)
    mine = set(chunks[start : start + each + (part < over)])
    files = {path: entry for path, entry in manifest.files.items() if entry.blob in mine}
    return Manifest(files, manifest.links if part == 0 else {}, manifest.graph, manifest.addresses)


def only(manifest: Manifest, paths: Sequence[str]) -> Manifest:
    """What of the manifest has one of these paths. Raises ValueError for a path that it has not."""
    wanted = {path.strip("/") for path in paths}
    if unknown := wanted - manifest.files.keys() - manifest.links.keys():
        raise ValueError(f"the dataset has no file {', '.join(sorted(unknown))}")
    files = {path: entry for path, entry in manifest.files.items() if path in wanted}
    links = {path: entry for path, entry in manifest.links.items() if path in wanted}
    return Manifest(files, links, manifest.graph, manifest.addresses)


def _missing(manifest: Manifest, folder: Path) -> Manifest:
    files = {path: entry for path, entry in manifest.files.items() if not _untouched(folder / path, entry)}
    links = {path: entry for path, entry in manifest.links.items() if not (folder / path).is_file()}
    return Manifest(files, links, manifest.graph, manifest.addresses)


def _untouched(path: Path, entry: FileEntry) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == entry.size and status.st_mtime == UNTOUCHED


def _fill(client: "Client", manifest: Manifest, folder: Path, workers: int, tolerant: bool) -> None:
    """Put all that the manifest names into `folder`."""
    cache = Cache(client, manifest.addresses)

    def attempt(do: Callable[[], None], what: str) -> None:
        try:
            do()
        except (FoldlineError, OSError) as why:
            if not tolerant:
                raise
            log.warning("%s cannot be had: %s", what, why)

    def fetch(run: Run) -> None:
        attempt(lambda: cache.fetch(run), f"blob {run[0].blob}")

    def place(entry: FileEntry) -> None:
        attempt(lambda: cache.place(entry, folder / entry.relative_path), entry.relative_path)

    def place_link(entry: LinkEntry) -> None:
        attempt(lambda: _place_link(client, entry, folder / entry.relative_path), entry.link)

    for path in {(folder / path).parent for path in (*manifest.files, *manifest.links)}:
        path.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fetch, cache.runs(manifest.files.values())))
        list(pool.map(place, manifest.files.values()))
        list(pool.map(place_link, manifest.links.values()))


class Cache:
    """Every content once, under its hash, whatever version or path it was needed for."""

    def __init__(self, client: "Client", addresses: Mapping[str, str]) -> None:
        """`addresses`: of the blobs that lie elsewhere than the server."""
        self._client = client
        self._addresses = addresses
        self._folder = cache_dir("datasets", "files")

    def runs(self, entries: Iterable[FileEntry]) -> list[Run]:
        """What of these is to be fetched. Neighbours in a blob go together, for each run is one request.

        Of other stores than the server's a blob comes whole, or not at all.
        """
        absent = {entry.hash: entry for entry in entries if not _untouched(self._path(entry), entry)}
        found: list[Run] = []
        for entry in sorted(absent.values(), key=lambda entry: (str(entry.blob), entry.offset, entry.size)):
            last = found[-1][-1] if found else None
            follows = last is not None and last.blob == entry.blob
            if follows and last is not None and entry.blob not in self._addresses:
                follows = last.offset + last.size == entry.offset
            if follows:
                found[-1].append(entry)
            else:
                found.append([entry])
        return found

    def fetch(self, run: Run) -> None:
        """Take the run's files in, each checked by its hash. Raises FoldlineError for the first that is wrong."""
        blob, start = str(run[0].blob), run[0].offset
        with tempfile.TemporaryDirectory(prefix=".fetching.", dir=self._folder) as scratch:
            path = Path(scratch, "blob")
            path.touch()
            if (address := self._addresses.get(blob)) is not None:
                store_of(address, self._client).read(address, path)
                start = 0
            else:
                _download(self._client, blob, start, run[-1].offset + run[-1].size, path)
            wrong: FoldlineError | None = None
            with path.open("rb") as file:
                for entry in run:
                    file.seek(entry.offset - start)
                    try:
                        self._cut(file, entry, Path(scratch, "part"))
                    except FoldlineError as why:
                        wrong = wrong or why
            if wrong is not None:
                raise wrong

    def place(self, entry: FileEntry, target: Path) -> None:
        """Put the file there: a hard link where the disk can make one, for a copy then takes no room."""
        cached = self._path(entry)
        try:
            os.link(cached, target)
        except FileExistsError:
            with whole_or_not(target) as part:
                shutil.copyfile(cached, part)
                os.utime(part, (UNTOUCHED, UNTOUCHED))
        except OSError:
            shutil.copyfile(cached, target)
            os.utime(target, (UNTOUCHED, UNTOUCHED))

    def _path(self, entry: FileEntry) -> Path:
        return self._folder / entry.hash[:2] / entry.hash

    def _cut(self, file: IO[bytes], entry: FileEntry, part: Path) -> None:
        hashed, left = hashlib.sha256(), entry.size
        with part.open("wb") as target:
            while left and (piece := file.read(min(PIECE, left))):
                hashed.update(piece)
                target.write(piece)
                left -= len(piece)
        if hashed.hexdigest() != entry.hash:
            raise FoldlineError(
                f"what came for {entry.relative_path} is not what was uploaded: its hash is another; ask again, "
                "or check where the dataset is stored"
            )
        os.utime(part, (UNTOUCHED, UNTOUCHED))
        path = self._path(entry)
        path.parent.mkdir(exist_ok=True)
        part.replace(path)


def _download(client: "Client", blob: str, start: int, stop: int, path: Path) -> None:
    """Write the bytes from `start` to before `stop` of a blob; goes on where a connection broke off."""
    import httpx2

    for tried in range(1, TRIES + 1):
        at = start + path.stat().st_size
        if at >= stop:
            return
        # As it lies there: a range of compressed bytes would be something else.
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={at}-{stop - 1}"}
        try:
            with client.stream(f"blobs/{blob}", headers=headers, silence=60.0) as response, path.open("ab") as file:
                for piece in response.iter_bytes():
                    file.write(piece)
        except httpx2.TransportError as why:
            if tried == TRIES:
                raise FoldlineError(f"blob {blob} broke off {TRIES} times while it was read ({why})") from why


def _place_link(client: "Client", entry: LinkEntry, target: Path) -> None:
    source = fetch_url(entry.link, client)
    if entry.size is not None and source.stat().st_size != entry.size and local_path(entry.link) is None:
        source = fetch_url(entry.link, client, force=True)
    with whole_or_not(target) as part:
        shutil.copyfile(source, part)
