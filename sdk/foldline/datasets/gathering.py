"""Files of this machine, looked at and hashed, as entries that wait for their upload."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline import stores
from foldline.calls.blobs import digest_of
from foldline.datasets.entries import FileEntry, LinkEntry, Manifest, matching, safe_path, under
from foldline.errors import FoldlineError, NotSupported

if TYPE_CHECKING:
    from foldline.client import Client

log = logging.getLogger("foldline")


@dataclass(slots=True)
class Changed:
    """How many files a call has changed."""

    added: int = 0
    modified: int = 0


def local_files(
    path: Path,
    wildcard: str | Sequence[str] | None,
    base: str | Path | None,
    dataset_path: str | Path | None,
    recursive: bool,
) -> dict[str, Path]:
    """{path in the dataset: file} of a file, or of those in a folder that the wildcards mean.

    Raises ValueError when there is nothing at `path`.
    """
    folder = Path(base).expanduser() if base else path
    if path.is_file():
        folder = folder if folder.is_dir() else folder.parent
        return {under(dataset_path, _below(path, folder)): path.absolute()}
    if not path.is_dir():
        raise ValueError(f"there is no file or folder {path} to add")
    patterns = [wildcard] if isinstance(wildcard, str) else list(wildcard or ["*"])
    found = {
        file
        for pattern in patterns
        for file in (path.rglob(pattern) if recursive else path.glob(pattern))
        if file.is_file()
    }
    return {under(dataset_path, _below(file, folder)): file.absolute() for file in sorted(found)}


def entries_of(files: dict[str, Path], dataset_id: str, workers: int) -> Iterator[FileEntry]:
    """Each file with its SHA-256, in the order given."""

    def entry(named: tuple[str, Path]) -> FileEntry:
        relative, file = named
        sha256, size = digest_of(file)
        return FileEntry(relative, sha256, size, dataset_id, file.stat().st_mtime, local_path=str(file))

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(entry, files.items())


def merge(manifest: Manifest, entries: Iterable[FileEntry], tell: Callable[[str], None]) -> Changed:
    """Take the files into the manifest; content that it has already, under whatever path, is not uploaded again."""
    stored = {entry.hash: entry for entry in manifest.files.values() if entry.blob is not None}
    changed = Changed()
    for entry in entries:
        before = manifest.files.get(entry.relative_path)
        if before is not None and before.hash == entry.hash:
            if before.blob is None:
                manifest.files[entry.relative_path] = entry  # the same bytes, perhaps at another place by now
            continue
        if (known := stored.get(entry.hash)) is not None:
            entry.blob, entry.offset, entry.local_path = known.blob, known.offset, None
        if manifest.drop(entry.relative_path):
            changed.modified += 1
            tell(f"Modified {entry.relative_path}")
        else:
            changed.added += 1
            tell(f"Added {entry.relative_path}")
        manifest.files[entry.relative_path] = entry
    return changed


def links_of(
    url: str,
    wildcard: str | Sequence[str] | None,
    dataset_path: str | None,
    recursive: bool,
    dataset_id: str,
    client: "Client",
    read_hash: bool,
) -> list[LinkEntry]:
    """A link to the file of this address, or to each of those under it; none, with a warning, when there are none.

    Raises FoldlineError when the address cannot be asked about.
    """
    path = stores.local_path(url)
    url = path.absolute().as_uri() if path is not None else url
    store = stores.store_of(url, client)

    def link(address: str, relative: str, size: int | None) -> LinkEntry:
        known = stores.blob_of(address)[0] if read_hash and address.startswith(stores.BLOBS) else None
        return LinkEntry(address, under(dataset_path, relative), dataset_id, size, known)

    size = None if url.endswith("/") or (path is not None and path.is_dir()) else store.size(url)
    if size is not None:
        name = stores.name_of(url)
        return [link(url, name, size)] if matching([name], wildcard, recursive) else []
    try:
        found = store.list(url.rstrip("/") + "/")
    except NotSupported:
        found = {}
    if not found:
        log.warning("there are no files at %s to add", url)
    base = store.base(url)
    # Names are relative to the bucket, and in the dataset to what was asked for.
    addresses = {f"{_address(base, name)}": size for name, size in found.items()}
    inside = {address: _after(address, url) for address in addresses}
    wanted = set(matching(inside.values(), wildcard, recursive))
    return [link(address, inside[address], size) for address, size in addresses.items() if inside[address] in wanted]


def merge_links(manifest: Manifest, links: Iterable[LinkEntry], tell: Callable[[str], None]) -> Changed:
    changed = Changed()
    for entry in links:
        before: Any = manifest.links.get(entry.relative_path) or manifest.files.get(entry.relative_path)
        same = before is not None and (
            before.hash == entry.hash if before.hash and entry.hash else before.size == entry.size
        )
        if same:
            continue
        manifest.drop(entry.relative_path)
        manifest.links[entry.relative_path] = entry
        if before is None:
            changed.added += 1
            tell(f"Added {entry.link}")
        else:
            changed.modified += 1
            tell(f"Modified {entry.link}")
    return changed


def _below(file: Path, folder: Path) -> str:
    try:
        return safe_path(file.absolute().relative_to(folder.absolute()).as_posix())
    except ValueError:
        raise FoldlineError(f"{file} does not lie in local_base_folder {folder}") from None


def _address(base: str, name: str) -> str:
    return Path(base, name).as_uri() if base.startswith("/") else f"{base}/{name}"


def _after(address: str, url: str) -> str:
    """What an address has after that of the folder it lies in, as a path."""
    local, folder = stores.local_path(address), stores.local_path(url)
    if local is not None and folder is not None:
        return local.relative_to(folder).as_posix()
    return address.removeprefix(url.rstrip("/")).lstrip("/")
