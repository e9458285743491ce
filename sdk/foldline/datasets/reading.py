"""A version as it is read: local copies, lists of files, and what differs from other versions."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foldline import compat
from foldline.calls.blobs import digest_of
from foldline.datasets import copies
from foldline.datasets.changing import workers_of
from foldline.datasets.entries import FileEntry, Manifest, matching
from foldline.datasets.handle import DatasetError, DatasetHandle, manifest_of, record_of, teller
from foldline.errors import FoldlineError

log = logging.getLogger("foldline")


class Reading(DatasetHandle):
    """Dataset's methods that change nothing."""

    def get_local_copy(
        self,
        use_soft_links: bool | None = None,
        part: int | None = None,
        num_parts: int | None = None,
        raise_on_error: bool = True,
        max_workers: int | None = None,
        files: Sequence[str] | None = None,
    ) -> str:
        """A folder of the cache with all files, its parents' too; to be read, not written. Made once for a version.

        `part` of `num_parts` is a share of the files, `files` only those of these paths. Raises DatasetError unless the
        dataset is final, FoldlineError when a file cannot be had or is not what was uploaded.
        """
        compat.ignored("Dataset.get_local_copy", use_soft_links=use_soft_links)
        return str(self._copied(part, num_parts, raise_on_error, max_workers, files)[0])

    def get_mutable_local_copy(
        self,
        target_folder: str | Path,
        overwrite: bool = False,
        part: int | None = None,
        num_parts: int | None = None,
        raise_on_error: bool = True,
        max_workers: int | None = None,
    ) -> str | None:
        """All files in a folder of one's own. `overwrite` removes what is in it.

        Raises DatasetError, or answers None, when there is something and it is to stay.
        """
        target = Path(target_folder).expanduser().absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if not overwrite:
                if raise_on_error:
                    raise DatasetError(f"there are files in {target} already: overwrite=True removes them")
                return None
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        source, manifest = self._copied(part, num_parts, raise_on_error, max_workers, None)
        target.mkdir(parents=True, exist_ok=True)
        copies.copy_out(manifest, source, target)
        return target.as_posix()

    def list_files(
        self, dataset_path: str | None = None, recursive: bool = True, dataset_id: str | None = None
    ) -> list[str]:
        """The paths of its files and links, sorted: those a wildcard or folder means, those that a version brought."""
        entries = (*self._manifest.files.items(), *self._manifest.links.items())
        paths = [path for path, entry in entries if dataset_id is None or entry.parent_dataset_id == dataset_id]
        return sorted(paths if dataset_path is None else matching(paths, dataset_path, recursive))

    def list_added_files(self, dataset_id: str | None = None) -> list[str]:
        """What `dataset_id`, by default its parents, did not have."""
        return self._compared(dataset_id, lambda here, there: here.keys() - there.keys())

    def list_removed_files(self, dataset_id: str | None = None) -> list[str]:
        """What `dataset_id`, by default one of its parents, had."""
        return self._compared(dataset_id, lambda here, there: there.keys() - here.keys())

    def list_modified_files(self, dataset_id: str | None = None) -> list[str]:
        """What `dataset_id`, by default its parents, had with another content."""
        return self._compared(
            dataset_id, lambda here, there: {path for path in here.keys() & there.keys() if here[path] != there[path]}
        )

    def verify_dataset_hash(
        self, local_copy_path: str | None = None, skip_hash: bool = False, verbose: bool = False
    ) -> list[str]:
        """The files of a local copy that are not what was uploaded, or not there; `skip_hash` looks at sizes only."""
        folder = Path(local_copy_path or self.get_local_copy())

        def differs(entry: FileEntry) -> str | None:
            path = folder / entry.relative_path
            if not path.is_file():
                return "is not there"
            if path.stat().st_size != entry.size:
                return f"has {path.stat().st_size} bytes, not {entry.size}"
            return None if skip_hash or digest_of(path)[0] == entry.hash else "has another hash"

        entries = list(self._manifest.files.values())
        with ThreadPoolExecutor(workers_of(None)) as pool:
            found = [(entry.relative_path, why) for entry, why in zip(entries, pool.map(differs, entries), strict=True)]
        for path, why in found:
            if why is not None:
                teller(verbose)(f"{path} {why}")
        return [path for path, why in found if why is not None]

    def get_num_chunks(self, include_parents: bool = True) -> int:
        """In how many blobs its files lie; without the parents', those that this version brought."""
        if include_parents:
            return len(self._manifest.chunks())
        mine = {path: entry for path, entry in self._manifest.files.items() if entry.parent_dataset_id == self.id}
        return len(Manifest(files=mine).chunks())

    def _copied(
        self,
        part: int | None,
        parts: int | None,
        raise_on_error: bool,
        max_workers: int | None,
        files: Sequence[str] | None,
    ) -> tuple[Path, Manifest]:
        if not self.is_final():
            raise DatasetError(
                f"dataset {self.name!r} {self.version} ({self.id}) is {self._record['status']}: "
                "only what is finalized can be copied"
            )
        manifest = self._manifest
        if part is not None:
            manifest = copies.part_of(manifest, part, parts)
        if files:
            manifest = copies.only(manifest, files)
        named = hashlib.sha256(manifest.encoded()).hexdigest()[:32]
        try:
            folder = copies.local_copy(
                self._client, manifest, named, workers=workers_of(max_workers), tolerant=not raise_on_error
            )
        except OSError as why:
            raise FoldlineError(f"dataset {self.name!r} cannot be copied: {why}") from why
        return folder, manifest

    def _compared(
        self, dataset_id: str | None, choose: Callable[[dict[str, object], dict[str, object]], set[str]]
    ) -> list[str]:
        others = self._manifest.graph.get(self.id, []) if dataset_id in (None, self.id) else [str(dataset_id)]
        there: dict[str, object] = {}
        for other in others:
            there |= _contents(manifest_of(record_of(self._client, other), self._client))
        return sorted(choose(_contents(self._manifest), there))


def _contents(manifest: Manifest) -> dict[str, object]:
    """{path: what tells one content from another}."""
    found: dict[str, object] = {path: entry.hash for path, entry in manifest.files.items()}
    return found | {path: (entry.link, entry.size) for path, entry in manifest.links.items()}
