"""`StorageManager`: files by their address as local copies, and back; and the cache those copies lie in."""

import fnmatch
import functools
import hashlib
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline import compat, stores
from foldline.archives import ENDINGS, unpacked
from foldline.caching import cache_dir
from foldline.calls.blobs import digest_of
from foldline.errors import FoldlineError, NotSupported
from foldline.stores import BLOBS, blob_of, local_path, name_of, store_of, whole_or_not

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")

WORKERS = 4

# How many files from elsewhere the cache keeps; None for as many as come.
_file_limit: int | None = None


class StorageManager:
    """Files anywhere: paths, file://, http(s)://, foldline://blobs and, with fsspec installed, all that it knows."""

    @classmethod
    def get_local_copy(
        cls,
        remote_url: str,
        cache_context: str | None = None,
        extract_archive: bool = True,
        name: str | None = None,
        force_download: bool = False,
    ) -> str:
        """The path of a local copy of `remote_url`, cached; a .zip, .tgz or .tar.gz is unpacked unless told otherwise.

        Raises FoldlineError when it cannot be had.
        """
        from foldline.client import shared

        compat.ignored("StorageManager.get_local_copy", cache_context=cache_context, name=name)
        path = fetch_url(remote_url, shared(), force=force_download)
        if extract_archive and path.is_file() and path.name.lower().endswith(ENDINGS):
            return str(unpacked(path))
        return str(path)

    @classmethod
    def upload_file(
        cls, local_file: str, remote_url: str, wait_for_upload: bool = True, retries: int | None = None
    ) -> str:
        """Put a file at `remote_url`, whose last part is its name; the address that it has now.

        Among the blobs (foldline://blobs/<name>) that address is another one, made of what the file holds.
        """
        compat.ignored("StorageManager.upload_file", wait_for_upload=wait_for_upload, retries=retries)
        path = Path(local_file).expanduser()
        if not path.is_file():
            raise FoldlineError(f"there is no file {local_file} to upload")
        return store_of(remote_url).write(path, remote_url)

    @classmethod
    def upload_folder(
        cls, local_folder: str, remote_url: str, match_wildcard: str | None = None, retries: int | None = None
    ) -> str | None:
        """Put the files of a folder, as they lie in it, under `remote_url`, which comes back."""
        compat.ignored("StorageManager.upload_folder", retries=retries)
        folder = Path(local_folder).expanduser()
        if not folder.is_dir():
            raise FoldlineError(f"there is no folder {local_folder} to upload")
        if remote_url.startswith(BLOBS):
            raise NotSupported("blobs have no folders: use Task.upload_artifact or Dataset for a folder")
        store, base = store_of(remote_url), remote_url.rstrip("/")
        paths = [path for path in folder.rglob(match_wildcard or "*") if path.is_file()]
        with ThreadPoolExecutor(WORKERS) as pool:
            targets = [f"{base}/{path.relative_to(folder).as_posix()}" for path in paths]
            list(pool.map(store.write, paths, targets))
        return remote_url

    @classmethod
    def download_file(
        cls,
        remote_url: str,
        local_folder: str | None = None,
        overwrite: bool = False,
        skip_zero_size_check: bool = False,
        silence_errors: bool = False,
    ) -> str | None:
        """Fetch a file into `local_folder` (the cache by default), under the path that it has in its bucket.

        None on failure. An empty file is one too, unless `skip_zero_size_check`.
        """
        store = store_of(remote_url)
        try:
            inside = _path_inside(remote_url, store.base(remote_url))
            return _fetched_into(_folder(local_folder), inside, remote_url, overwrite, skip_zero_size_check)
        except FoldlineError as why:
            if not silence_errors:
                log.error("cannot download %s: %s", remote_url, why)
            return None

    @classmethod
    def download_folder(
        cls,
        remote_url: str,
        local_folder: str | None = None,
        match_wildcard: str | None = None,
        overwrite: bool = False,
        skip_zero_size_check: bool = False,
        silence_errors: bool = False,
        max_workers: int | None = None,
    ) -> str | None:
        """Fetch all files under `remote_url` into `local_folder`, as they lie there; None when one could not be had."""
        folder, base = _folder(local_folder), store_of(remote_url).base(remote_url)

        def fetch(name: str) -> bool:
            try:
                _fetched_into(folder, name, f"{base}/{name}", overwrite, skip_zero_size_check)
            except FoldlineError as why:
                if not silence_errors:
                    log.error("cannot download %s/%s: %s", base, name, why)
                return False
            return True

        names = cls.list(remote_url) or []
        wanted = [name for name in names if match_wildcard is None or fnmatch.fnmatch(f"{base}/{name}", match_wildcard)]
        if not wanted and not silence_errors:
            log.warning("there are no files to download at %s", remote_url)
        with ThreadPoolExecutor(max_workers or WORKERS) as pool:
            done = list(pool.map(fetch, wanted))
        return str(folder) if all(done) else None

    @classmethod
    def list(
        cls, remote_url: str, return_full_path: bool = False, with_metadata: bool = False, read_hash: bool = False
    ) -> "list[Any] | None":
        """The names of the files under `remote_url`, or {"name", "size"} of each; None where none can be listed.

        Names are relative to the folder on a disk, and to the bucket elsewhere.
        """
        store = store_of(remote_url)
        try:
            found = store.list(remote_url)
        except FoldlineError as why:
            log.warning("cannot list the files of %s: %s", remote_url, why)
            return None
        base = f"{store.base(remote_url)}/" if return_full_path else ""
        if not with_metadata:
            return [f"{base}{name}" for name in found]
        return [{"name": f"{base}{name}", "size": size} for name, size in found.items()]

    @classmethod
    def exists_file(cls, remote_url: str) -> bool:
        """Whether there is a file of this address; False for a folder, and for what cannot be reached."""
        if remote_url.endswith("/"):
            return False
        try:
            return store_of(remote_url).size(remote_url) is not None
        except FoldlineError as why:
            log.debug("taken as absent: %s", why)
            return False

    @classmethod
    def get_file_size_bytes(cls, remote_url: str, silence_errors: bool = False) -> int | None:
        """None when there is no such file, or when it cannot be asked about."""
        try:
            return store_of(remote_url).size(remote_url)
        except FoldlineError as why:
            if not silence_errors:
                log.error("cannot find the size of %s: %s", remote_url, why)
            return None

    @classmethod
    def get_metadata(
        cls, remote_url: str, return_full_path: bool = False, read_hash: bool = False
    ) -> dict[str, Any] | None:
        """{"name", "size"} of a file, None when there is none; `read_hash` adds the SHA-256 where it is known."""
        size = cls.get_file_size_bytes(remote_url)
        if size is None:
            return None
        inside = _path_inside(remote_url, store_of(remote_url).base(remote_url))
        found: dict[str, Any] = {"name": remote_url if return_full_path else inside, "size": size}
        if read_hash and remote_url.startswith(BLOBS):
            found["hash"] = blob_of(remote_url)[0]
        return found

    @classmethod
    def set_cache_file_limit(cls, cache_file_limit: int, cache_context: str | None = None) -> int:
        """Keep at most so many files from elsewhere in the cache, those used last; the limit comes back."""
        global _file_limit
        compat.ignored("StorageManager.set_cache_file_limit", cache_context=cache_context)
        if cache_file_limit < 1:
            raise ValueError("the cache has to keep at least one file")
        _file_limit = cache_file_limit
        _forget_the_oldest(cache_dir("urls"), _file_limit)
        return cache_file_limit

    @classmethod
    def get_files_server(cls) -> str:
        """Where files go that are given no other address."""
        return BLOBS

    @classmethod
    def set_report_upload_chunk_size(cls, chunk_size_mb: int) -> None:
        """Log a line (logger foldline, INFO) for each so many megabytes that went to a disk or bucket."""
        stores.report_every["uploaded"] = int(chunk_size_mb)

    @classmethod
    def set_report_download_chunk_size(cls, chunk_size_mb: int) -> None:
        """Log a line (logger foldline, INFO) for each so many megabytes that came from a disk, server or bucket."""
        stores.report_every["downloaded"] = int(chunk_size_mb)


def fetch_url(url: str, client: "Client", *, force: bool = False, sha256: str | None = None) -> Path:
    """The local file of `url`. What lies in the cache is not asked for again, unless `force`.

    Raises FoldlineError when it cannot be had, or has another hash than `sha256`, or than the address promises.
    """
    sha256 = sha256 or stores.digest_in(url)
    path = local_path(url)
    if path is not None:
        if not path.exists():
            raise FoldlineError(f"there is no file {path}")
        if sha256 and path.is_file():
            status = path.stat()
            _check(url, sha256, _digest_of(str(path.absolute()), status.st_size, status.st_mtime_ns))
        return path
    if url.startswith("foldline://"):
        blob, name = blob_of(url)
        target = cache_dir("blobs", blob) / name
        if force or not target.exists():
            client.blobs.get(blob, target)
        return target
    return _from_elsewhere(url, client, force, sha256)


@functools.lru_cache(maxsize=1024)
def _digest_of(path: str, size: int, changed: int) -> str:
    """Of a file as it was at that size and time: a large one on a shared disk is read once."""
    return digest_of(path)[0]


def _check(url: str, expected: str, found: str) -> None:
    if found != expected:
        raise FoldlineError(
            f"{url} is not what was stored there: its SHA-256 is {found}, and was {expected}. Somebody has changed it"
        )


def _from_elsewhere(url: str, client: "Client", force: bool, sha256: str | None) -> Path:
    # With the hash in it: what an address held at another time is another file.
    key = f"{url}\n{sha256}" if sha256 else url
    folder = cache_dir("urls") / hashlib.sha256(key.encode()).hexdigest()[:32]
    target = folder / name_of(url)
    if force or not target.exists():
        with whole_or_not(target) as part:
            store_of(url, client).read(url, part)
            if sha256:
                _check(url, sha256, digest_of(part)[0])
        if _file_limit is not None:
            _forget_the_oldest(folder.parent, _file_limit)
    elif _file_limit is not None:
        folder.touch()
    return target


def _forget_the_oldest(folder: Path, keep: int) -> None:
    def used(entry: Path) -> float:
        try:
            return entry.stat().st_mtime
        except FileNotFoundError:  # another process forgot it first
            return 0.0

    for entry in sorted(folder.iterdir(), key=used, reverse=True)[keep:]:
        shutil.rmtree(entry, ignore_errors=True)


def _folder(given: str | None) -> Path:
    return Path(given).expanduser().absolute() if given else cache_dir("downloads")


def _path_inside(url: str, base: str) -> str:
    """The path of a file in its bucket; of one on a disk or among the blobs just its name."""
    if local_path(url) is not None or url.startswith(BLOBS):
        return name_of(url)
    return url.partition("?")[0].removeprefix(base).strip("/")


def _fetched_into(folder: Path, inside: str, url: str, overwrite: bool, may_be_empty: bool) -> str:
    target = folder / inside
    if not target.resolve().is_relative_to(folder.resolve()):
        raise FoldlineError(f"{inside!r} leads out of the folder {folder}")
    if overwrite or not target.exists():
        with whole_or_not(target) as part:
            store_of(url).read(url, part)
            if part.stat().st_size == 0 and not may_be_empty:
                raise FoldlineError(f"{url} is empty; skip_zero_size_check=True takes it all the same")
    return str(target)
