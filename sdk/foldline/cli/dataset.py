"""`foldline dataset`: versions of datasets, what they hold, and copies of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from foldline.cli.connection import connected
from foldline.cli.output import Column, Format, show, when
from foldline.errors import FoldlineError

if TYPE_CHECKING:
    from foldline.datasets import Dataset

app = App(name="dataset", help="List datasets and their files, and get copies.")

VERSIONS: list[Column] = [
    ("id", lambda one: one["id"]),
    ("project", lambda one: one["project"]),
    ("name", lambda one: one["name"]),
    ("version", lambda one: one["runtime"].get("version")),
    ("status", lambda one: one["status"]),
    ("files", lambda one: one["artifacts"].get("state", {}).get("metadata", {}).get("files")),
    ("bytes", lambda one: one["artifacts"].get("state", {}).get("metadata", {}).get("bytes")),
    ("created", lambda one: when(one["created_at"])),
    ("tags", lambda one: one["tags"]),
]
FILES: list[Column] = [
    ("path", lambda one: one["relative_path"]),
    ("bytes", lambda one: one["size"]),
    ("sha256", lambda one: one["hash"]),
    ("link", lambda one: one.get("link")),
    ("from", lambda one: one["parent_dataset_id"]),
]


@app.command
def ls(
    *, project: str | None = None, name: str | None = None, tag: list[str] | None = None, output: Format = "table"
) -> None:
    """List versions of datasets, the newest first."""
    from foldline.datasets.finding import versions

    with connected() as client:
        show(versions(client, project, name, tag), VERSIONS, output)


@app.command
def files(dataset: str, path: str | None = None, *, version: str | None = None, output: Format = "table") -> None:
    """List the files of a dataset.

    Parameters
    ----------
    dataset
        Its id, or its project and name: `project/name`.
    path
        Only what this wildcard or folder means.
    version
        Which version; the highest final one otherwise.
    """
    found = _found(dataset, version)
    entries: dict[str, Any] = {**found.file_entries_dict, **found.link_entries_dict}
    show([entries[one].as_dict() for one in found.list_files(path)], FILES, output, identity="relative_path")


@app.command
def get(dataset: str, folder: Path | None = None, *, version: str | None = None, overwrite: bool = False) -> None:
    """Get a copy of a dataset and print where it is: in the cache, or in a folder of your own.

    Parameters
    ----------
    dataset
        Its id, or its project and name: `project/name`.
    folder
        Where the copy is to be; it can be written to.
    version
        Which version; the highest final one otherwise.
    overwrite
        Remove what is in the folder.
    """
    found = _found(dataset, version)
    print(found.get_local_copy() if folder is None else found.get_mutable_local_copy(folder, overwrite=overwrite))


def _found(dataset: str, version: str | None) -> "Dataset":
    """Raises FoldlineError."""
    from foldline.cli.naming import WHOLE
    from foldline.datasets import Dataset

    if WHOLE.fullmatch(dataset):
        return Dataset.get(dataset_id=dataset)
    project, slash, name = dataset.rpartition("/")
    if not slash:
        raise FoldlineError(f"{dataset!r} is no dataset: give its id, or its project and name as project/name")
    return Dataset.get(dataset_project=project, dataset_name=name, dataset_version=version)
