"""What every part of Dataset rests on: the task that is one version, and the manifest of what it holds."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from foldline import formats, process
from foldline.artifacts import Artifact, upload
from foldline.client import Client, shared
from foldline.datasets.entries import FileEntry, LinkEntry, Manifest, decoded
from foldline.datasets.finding import TAG, is_deleted, is_final, version_of
from foldline.errors import FoldlineError, NotFound
from foldline.formats import Packed
from foldline.listing import Json
from foldline.logger import Logger, logger_of
from foldline.storage import fetch_url

if TYPE_CHECKING:
    from foldline.task import Task

STATE: Final = "state"  # the artifact that holds the manifest
SHOWN: Final = 100  # paths in its preview


class DatasetError(FoldlineError, ValueError):
    """A dataset that there is not, or whose state does not allow what was asked."""


class DatasetHandle:
    """One version of a dataset. Made by `Dataset.create` and `Dataset.get`."""

    def __init__(self, record: Json, manifest: Manifest, client: Client | None = None) -> None:
        self._record = record
        self._manifest = manifest
        self._given_client = client
        self._saved = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.project!r}, {self.name!r}, version={self.version!r}, id={self.id!r})"

    @property
    def _client(self) -> Client:
        return self._given_client or shared()

    @property
    def _task(self) -> "Task":
        from foldline.task import Task

        return Task(self.id)

    @property
    def id(self) -> str:
        return str(self._record["id"])

    @property
    def name(self) -> str:
        return str(self._record["name"])

    @property
    def project(self) -> str:
        return str(self._record["project"])

    @property
    def version(self) -> str | None:
        return version_of(self._record)

    @version.setter
    def version(self, version: str) -> None:
        self._edit(runtime={"version": str(version).strip()})

    @property
    def tags(self) -> list[str]:
        """Read from the server."""
        self._reload()
        return [str(tag) for tag in self._record["tags"]]

    @tags.setter
    def tags(self, values: Sequence[str] | None) -> None:
        self._edit(tags=list(dict.fromkeys(values or ())))

    def add_tags(self, tags: Sequence[str] | str) -> None:
        new = [tags] if isinstance(tags, str) else list(tags)
        self.tags = [*self.tags, *new]

    @property
    def file_entries(self) -> list[FileEntry]:
        return list(self._manifest.files.values())

    @property
    def file_entries_dict(self) -> dict[str, FileEntry]:
        """{path inside the dataset: the file's hash, size and where it comes from}."""
        return self._manifest.files

    @property
    def link_entries(self) -> list[LinkEntry]:
        return list(self._manifest.links.values())

    @property
    def link_entries_dict(self) -> dict[str, LinkEntry]:
        return self._manifest.links

    def is_final(self) -> bool:
        """Whether it is finalized: such a version never changes. Read from the server."""
        self._reload()
        return is_final(self._record)

    def is_dirty(self) -> bool:
        """Whether files wait for their upload."""
        return bool(self._manifest.pending)

    def get_dependency_graph(self) -> dict[str, list[str]]:
        """{dataset id: ids of its parents}, of this version and all that it descends from."""
        return {identifier: list(parents) for identifier, parents in self._manifest.graph.items()}

    def get_logger(self) -> Logger:
        """For metrics about the dataset: they are kept on its task."""
        return logger_of(self._client, self.id)

    def set_description(self, description: str) -> None:
        self._edit(comment=description)

    def set_metadata(self, metadata: Any, metadata_name: str = "metadata", ui_visible: bool = True) -> None:
        """Keep an object (a dict, a DataFrame, an array ...) with the dataset; a DataFrame is reported as a table too.

        Raises DatasetError for the name that the manifest has.
        """
        if metadata_name == STATE:
            raise DatasetError(f"metadata cannot be called {STATE!r}: that is the dataset's manifest")
        packed = formats.pack(metadata_name, metadata, paths=False)
        upload(self._client, self.id, metadata_name, packed)
        if ui_visible and packed.format == "pandas":
            self.get_logger().report_table("Dataset Metadata", "Dataset Metadata", iteration=0, table_plot=metadata)

    def get_metadata(self, metadata_name: str = "metadata") -> Any:
        """What was kept under that name; None when nothing was."""
        self._reload()
        found = self._record["artifacts"].get(metadata_name)
        return None if found is None else Artifact(found, self._client).get()

    def get_default_storage(self) -> str:
        """Where its files go."""
        return self._record["output_destination"] or "foldline://blobs"

    def _on_current_task(self) -> bool:
        return self.id == process.task_id()

    def _reload(self) -> None:
        self._record = self._client.tasks.get(self.id)

    def _edit(self, **fields: Any) -> None:
        self._record = self._client.tasks.edit(self.id, fields)

    def _check_open(self) -> None:
        if is_final(self._record):
            raise DatasetError(
                f"dataset {self.name!r} {self.version} is final and never changes: make its next version, "
                f"Dataset.create(..., parent_datasets=[{self.id!r}])"
            )

    def _save(self) -> None:
        """Store the manifest, if it is another one than was stored last."""
        data = self._manifest.encoded()
        if data == self._saved:
            return
        paths = [*self._manifest.files, *self._manifest.links][:SHOWN]
        preview = "\n".join(path.encode("utf-8", "replace").decode() for path in paths)
        size = sum(entry.size for entry in self._manifest.files.values())
        facts = {"files": len(self._manifest.files), "links": len(self._manifest.links), "bytes": size}
        packed = Packed("json", "dataset", "dataset.json", preview[: formats.PREVIEW], data)
        upload(self._client, self.id, STATE, packed, metadata=facts)
        self._saved = data


def manifest_of(record: Json, client: Client) -> Manifest:
    """What a version holds, as it was last stored. Raises FoldlineError when it cannot be had."""
    state = record["artifacts"].get(STATE)
    if state is None:
        return Manifest(graph={str(record["id"]): []})
    return decoded(fetch_url(str(state["url"]), client).read_bytes())


def record_of(client: Client, identifier: str) -> Json:
    """The task of a dataset. Raises DatasetError when there is no dataset of that id."""
    try:
        record = client.tasks.get(identifier)
    except NotFound:
        raise DatasetError(f"there is no dataset {identifier}") from None
    if TAG not in record["system_tags"]:
        raise DatasetError(f"{identifier} is task {record['name']!r}, and no dataset")
    if is_deleted(record):
        raise DatasetError(f"dataset {record['name']!r} {version_of(record)} ({identifier}) was deleted")
    return record


def teller(verbose: bool) -> Callable[[str], None]:
    """Prints, or does not."""
    return print if verbose else lambda line: None
