"""What a dataset holds: files and links by their path inside it, and the manifest that says so."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any, Final

from foldline.errors import FoldlineError

FORMAT: Final = 1


@dataclass(slots=True)
class FileEntry:
    """A file: its bytes are known by `hash` (SHA-256) and lie in a blob, at `offset`.

    Until it is uploaded it has no blob, but the `local_path` it is to be read from.
    """

    relative_path: str
    hash: str
    size: int  # bytes
    parent_dataset_id: str  # the version that brought it
    modified: float = 0.0  # seconds since 1970, as its folder said when it was added
    blob: str | None = None
    offset: int = 0
    local_path: str | None = None

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "relative_path": self.relative_path,
            "hash": self.hash,
            "parent_dataset_id": self.parent_dataset_id,
            "size": self.size,
        }
        return shown | ({"local_path": self.local_path} if self.local_path else {})


@dataclass(slots=True)
class LinkEntry:
    """A file that stays where it is, and is fetched from there for each local copy."""

    link: str
    relative_path: str
    parent_dataset_id: str
    size: int | None = None
    hash: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "link": self.link,
            "relative_path": self.relative_path,
            "parent_dataset_id": self.parent_dataset_id,
            "size": self.size,
            "hash": self.hash,
        }


@dataclass(slots=True)
class Manifest:
    """The whole of one version. `graph` is who descends from whom: {dataset id: ids of its parents}."""

    files: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    links: dict[str, LinkEntry] = field(default_factory=dict[str, LinkEntry])
    graph: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    addresses: dict[str, str] = field(default_factory=dict[str, str])  # of blobs that lie elsewhere than the server

    def take(self, other: "Manifest") -> None:
        """Take over all that `other` has; its files win over those of the same path."""
        for path in other.files.keys() | other.links.keys():
            self.drop(path)
        self.files |= other.files
        self.links |= other.links
        self.graph |= other.graph
        self.addresses |= other.addresses

    def drop(self, path: str) -> bool:
        """Whether there was something of this path."""
        file, link = self.files.pop(path, None), self.links.pop(path, None)
        return file is not None or link is not None

    @property
    def pending(self) -> list[FileEntry]:
        """Files that still have to be uploaded."""
        return [entry for entry in self.files.values() if entry.blob is None]

    def chunks(self) -> list[str]:
        """The blobs that its files lie in, in a fixed order."""
        return sorted({entry.blob for entry in self.files.values() if entry.blob is not None})

    def encoded(self) -> bytes:
        """The same bytes for the same content. Files without a blob are left out: nobody else could read them."""
        document = {
            "format": FORMAT,
            "graph": self.graph,
            "addresses": self.addresses,
            "files": {path: _packed(entry) for path, entry in self.files.items() if entry.blob is not None},
            "links": {
                path: {"link": entry.link, "size": entry.size, "sha256": entry.hash, "dataset": entry.parent_dataset_id}
                for path, entry in self.links.items()
            },
        }
        # ASCII, which also holds file names that are no UTF-8.
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def decoded(data: bytes) -> Manifest:
    """Raises FoldlineError for what is no manifest, or one with a path that leads out of the dataset."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise FoldlineError(f"this dataset's manifest has format {document['format']}: update foldline to read it")
        return Manifest(
            files={safe_path(path): _file(path, entry) for path, entry in document["files"].items()},
            links={safe_path(path): _link(path, entry) for path, entry in document["links"].items()},
            graph=document["graph"],
            addresses=document["addresses"],
        )
    except (ValueError, KeyError, TypeError) as why:
        raise FoldlineError(f"the dataset's manifest cannot be read ({why!r}): was it made by something else?") from why


def safe_path(path: str) -> str:
    """`path` as it stands in a dataset: relative, with slashes. Raises FoldlineError when it would lead out of it."""
    pure = PurePath(path)
    if not pure.parts or pure.anchor or ".." in pure.parts or "\0" in str(pure):
        raise FoldlineError(f"{str(path)!r} is no path inside a dataset: it has to be relative, without '..'")
    return pure.as_posix()


def under(dataset_path: str | Path | None, relative: str) -> str:
    """The path of a file that is to lie in the folder `dataset_path` of the dataset."""
    folder = Path(dataset_path).as_posix().strip("/") if dataset_path else ""
    return safe_path(relative if folder in ("", ".") else f"{folder}/{relative}")


def matching(paths: Iterable[str], wildcard: str | Sequence[str] | None, recursive: bool) -> list[str]:
    """Those that a wildcard means, or that lie in a folder of that name; None means all."""
    patterns = [wildcard] if isinstance(wildcard, str) else ["*"] if wildcard is None else list(wildcard)
    return [path for path in paths if any(_matches(path, pattern, recursive) for pattern in patterns)]


def _matches(path: str, pattern: str, recursive: bool) -> bool:
    pattern = pattern.removeprefix("./").lstrip("/")
    if not recursive:
        parts, wanted = path.split("/"), pattern.split("/")
        return len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))
    if pattern.rstrip("/") and path.startswith(f"{pattern.rstrip('/')}/"):
        return True
    folder, slash, name = pattern.rpartition("/")
    return bool(name) and fnmatch(path, f"{folder}{slash}*") and fnmatch(f"/{path}", f"*/{name}")


def _packed(entry: FileEntry) -> dict[str, Any]:
    packed = {
        "sha256": entry.hash,
        "size": entry.size,
        "modified": entry.modified,
        "dataset": entry.parent_dataset_id,
        "blob": entry.blob,
        "offset": entry.offset,
    }
    if entry.blob == entry.hash:
        del packed["blob"], packed["offset"]
    return packed


def _file(path: str, packed: Mapping[str, Any]) -> FileEntry:
    sha256 = str(packed["sha256"])
    if not (len(sha256) == 64 and sha256.isalnum()):
        raise ValueError(f"{sha256!r} is no SHA-256")
    return FileEntry(
        relative_path=safe_path(path),
        hash=sha256,
        size=int(packed["size"]),
        parent_dataset_id=str(packed["dataset"]),
        modified=float(packed["modified"]),
        blob=str(packed.get("blob", sha256)),
        offset=int(packed.get("offset", 0)),
    )


def _link(path: str, packed: Mapping[str, Any]) -> LinkEntry:
    return LinkEntry(
        link=str(packed["link"]),
        relative_path=safe_path(path),
        parent_dataset_id=str(packed["dataset"]),
        size=packed["size"],
        hash=packed["sha256"],
    )
