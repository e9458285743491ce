"""A version in the making: files come, go, are uploaded, and in the end the version is final."""

import logging
import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foldline import compat, process
from foldline.datasets import gathering, packing
from foldline.datasets.entries import LinkEntry, matching
from foldline.datasets.finding import is_final
from foldline.datasets.handle import DatasetError, DatasetHandle, teller
from foldline.errors import FoldlineError
from foldline.stores import store_of

log = logging.getLogger("foldline")

EXTERNAL: Final = "external files"  # the tag of a dataset that has links


class Changing(DatasetHandle):
    """Dataset's methods that change it. What was added is this process's until `upload` or `finalize`."""

    def add_files(
        self,
        path: str | Path,
        wildcard: str | Sequence[str] | None = None,
        local_base_folder: str | None = None,
        dataset_path: str | None = None,
        recursive: bool = True,
        verbose: bool = False,
        max_workers: int | None = None,
    ) -> int:
        """Add a file, or the files of a folder; how many are new. Those that replace one of another content are not.

        They lie in the dataset as below `local_base_folder` (by default `path` itself), inside the folder
        `dataset_path`. Raises ValueError when there is nothing at `path`.
        """
        self._check_open()
        source = Path(path).expanduser()
        found = gathering.local_files(source, wildcard, local_base_folder, dataset_path, recursive)
        entries = gathering.entries_of(found, self.id, workers_of(max_workers))
        return gathering.merge(self._manifest, entries, teller(verbose)).added

    def add_external_files(
        self,
        source_url: str | Sequence[str],
        wildcard: str | Sequence[str] | None = None,
        dataset_path: str | Sequence[str] | None = None,
        recursive: bool = True,
        verbose: bool = False,
        max_workers: int | None = None,
        read_hash: bool = False,
    ) -> int:
        """Add links to files that stay where they are, or to all files below an address; how many are new.

        Raises FoldlineError for an address that cannot be reached or needs fsspec.
        """
        compat.ignored("Dataset.add_external_files", max_workers=max_workers)
        self._check_open()
        urls = [source_url] if isinstance(source_url, str) else list(source_url)
        several = dataset_path is not None and not isinstance(dataset_path, str)
        folders = list(dataset_path or ()) if several else [dataset_path] * len(urls)
        if len(folders) != len(urls):
            raise ValueError(f"give one dataset_path for all, or one for each of the {len(urls)} addresses")
        added = 0
        for url, folder in zip(urls, folders, strict=True):
            place = None if folder is None else str(folder)
            links = gathering.links_of(url, wildcard, place, recursive, self.id, self._client, read_hash)
            added += gathering.merge_links(self._manifest, links, teller(verbose)).added
        self.add_tags(EXTERNAL)
        return added

    def remove_files(self, dataset_path: str | None = None, recursive: bool = True, verbose: bool = False) -> int:
        """Take out what a wildcard means (all without one), a folder, or the link to an address; how many went."""
        self._check_open()
        gone = set(matching([*self._manifest.files, *self._manifest.links], dataset_path, recursive))
        gone |= {path for path, entry in self._manifest.links.items() if entry.link == dataset_path}
        gone |= {
            entry.relative_path
            for entry in self._manifest.links.values()
            if matching([entry.link], dataset_path, recursive)
        }
        self._drop(gone, verbose)
        return len(gone)

    def sync_folder(
        self, local_path: str | Path, dataset_path: str | Path | None = None, verbose: bool = False
    ) -> tuple[int, int, int]:
        """Make the dataset, or its folder `dataset_path`, equal to a local folder: (removed, added, modified)."""
        self._check_open()
        source = Path(local_path).expanduser()
        if not source.is_dir():
            raise ValueError(f"there is no folder {source} to sync with")
        found = gathering.local_files(source, None, None, dataset_path, True)
        inside = f"{Path(dataset_path).as_posix().strip('/')}/" if dataset_path else ""
        here = [path for path in (*self._manifest.files, *self._manifest.links) if path.startswith(inside)]
        gone = {path for path in here if path not in found}
        # Before the others go: what was only renamed has its content in the manifest still.
        entries = gathering.entries_of(found, self.id, workers_of(None))
        changed = gathering.merge(self._manifest, entries, teller(verbose))
        self._drop(gone, verbose)
        return len(gone), changed.added, changed.modified

    def upload(
        self,
        show_progress: bool = True,
        verbose: bool = False,
        output_url: str | None = None,
        compression: str | None = None,
        chunk_size: int | None = None,
        max_workers: int | None = None,
        retries: int = 3,
        preview: bool = True,
        upload_as_external_links: bool = False,
    ) -> bool:
        """Store all files that are not stored yet, then the manifest. When this returns, they are stored.

        Small files go together into packs of at most `chunk_size` megabytes (64). `output_url` is a folder of another
        store than the server's. Raises FoldlineError when a file has changed since it was added.
        """
        compat.ignored("Dataset.upload", compression=compression, retries=retries, preview=preview)
        self._refuse_if_final()
        if output_url:
            self._edit(output_destination=output_url)
        url = output_url or self._record["output_destination"] or None
        if upload_as_external_links:
            self._upload_as_links(url, verbose)
        else:
            count = len(self._manifest.pending)
            size = packing.upload(
                self._client,
                self._manifest,
                destination=packing.destination_of(url, self.name, self.id),
                pack=_pack_bytes(chunk_size),
                workers=workers_of(max_workers),
                progress=show_progress,
            )
            said = f"{count} files uploaded to {self.get_default_storage()}: {size / packing.MEGABYTE:.2f} MB"
            teller(verbose)(said)
            log.info("dataset %s %s: %s", self.name, self.version, said)
        self._save()
        return True

    def finalize(self, verbose: bool = False, raise_on_error: bool = True, auto_upload: bool = False) -> bool:
        """End the making: from here on the version never changes, and can be had. Whether it is so.

        Files that wait for their upload are uploaded first with `auto_upload`; without it that is a DatasetError, or
        False. A dataset on the current task is final when that task is completed.
        """
        if self.is_dirty():
            if auto_upload:
                self.upload(verbose=verbose)
            elif raise_on_error:
                raise DatasetError(f"dataset {self.name!r} has files that wait for their upload: call upload() first")
            else:
                return False
        self._refuse_if_final()
        self._save()
        if not self._on_current_task():
            if self._record["status"] != "in_progress":
                self._client.tasks.start(self.id, session=uuid.uuid4().hex, host=socket.gethostname())
            self._record = self._client.tasks.complete(self.id)
        teller(verbose)(f"Dataset {self.name} {self.version} ({self.id}) has {len(self._manifest.files)} files")
        return True

    def publish(self, raise_on_error: bool = True) -> bool:
        """Say that it is for everybody's use. Raises DatasetError unless it is final."""
        if not self.is_final():
            if raise_on_error:
                raise DatasetError(f"dataset {self.name!r} {self.version} cannot be published: finalize it first")
            return False
        self._record = self._client.tasks.publish(self.id)
        return True

    def _upload_as_links(self, url: str | None, verbose: bool) -> None:
        if url is None:
            raise DatasetError("upload_as_external_links needs an output_url to put the files at")
        folder = f"{url.rstrip('/')}/external_links/{self.id}"
        for entry in self._manifest.pending:
            if entry.local_path is None or not Path(entry.local_path).is_file():
                raise FoldlineError(f"{entry.local_path} is not there any more: add it again, then upload")
            address = f"{folder}/{entry.relative_path}"
            address = store_of(address, self._client).write(Path(entry.local_path), address)
            self._manifest.drop(entry.relative_path)
            link = LinkEntry(address, entry.relative_path, self.id, entry.size, entry.hash)
            self._manifest.links[entry.relative_path] = link
            teller(verbose)(f"Uploaded {address}")
        self.add_tags(EXTERNAL)

    def _drop(self, paths: set[str], verbose: bool) -> None:
        for path in sorted(paths):
            self._manifest.drop(path)
            teller(verbose)(f"Removed {path}")

    def _refuse_if_final(self) -> None:
        """As the server knows it now: somebody else may have finalized it."""
        self._reload()
        if is_final(self._record) and not self._on_current_task():
            self._check_open()


def workers_of(asked: int | None) -> int:
    return asked or min(os.cpu_count() or 1, 8)


def current_project() -> str | None:
    """The project of the task that this process is."""
    from foldline.client import shared

    identifier = process.task_id()
    return None if identifier is None else str(shared().tasks.get(identifier)["project"])


def _pack_bytes(chunk_size: int | None) -> int:
    if chunk_size is None:
        return packing.PACK
    if chunk_size == 0 or chunk_size < -1:
        raise ValueError(f"chunk_size is a number of megabytes, or -1 for one pack, not {chunk_size}")
    return (1 << 62) if chunk_size == -1 else chunk_size * packing.MEGABYTE
