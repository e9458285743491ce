"""`OutputModel`: what a task has trained, stored under the task's name each time its weights are updated."""

import logging
import os
import tempfile
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from urllib.parse import quote

from foldline import compat, destinations, stores
from foldline.definition import defining
from foldline.later import Later
from foldline.listing import Json
from foldline.models import records
from foldline.models.base import BaseModel
from foldline.models.frameworks import framework_of
from foldline.models.reading import task_or_current
from foldline.models.records import ENTRY, PACKAGE, address_of, entry
from foldline.stores import BLOBS

if TYPE_CHECKING:
    from foldline.task import Task

log = logging.getLogger("foldline")


class OutputModel(BaseModel):
    """A model that `task` makes. It is on the task's record from the first update of its weights on."""

    _default_uri: ClassVar[str | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if defining():
            return cast(Self, Later(lambda: cls(*args, **kwargs)))
        return super().__new__(cls)

    def __init__(
        self,
        task: "Task | None" = None,
        config_text: str | None = None,
        config_dict: Mapping[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        comment: str | None = None,
        framework: str | None = None,
        base_model_id: str | None = None,
    ) -> None:
        """A new model of `task` (this process's by default), or with `base_model_id` that one, to be overwritten.

        Configuration and labels are the task's unless given. Raises ValueError when there is no task.
        """
        self._task = task_or_current(task)
        self._registered = False
        self._destination: str | None = None
        self._entry: str | None = None
        record = records.empty(uuid.uuid4().hex, name or self._task.name)
        if base_model_id:
            before = self._client.models.get(base_model_id)
            record |= {**before, "name": name or before["name"], "published": False, "archived": False}
        given: Json = {
            "tags": None if tags is None else list(tags),
            "comment": comment,
            "framework": None if framework is None else str(framework),
            "labels": None if label_enumeration is None else records.labels_of(label_enumeration),
        }
        record |= {field: value for field, value in given.items() if value is not None}
        record |= records.design(config_text, config_dict)
        if not record["labels"]:
            record["labels"] = self._task.get_labels_enumeration()
        if not record["config_text"]:
            record["config_text"] = self._task.get_model_config_text() or ""
        self._record: Json = {**record, "project": self._task.project, "task": self._task.id}
        if base_model_id:
            self._register()

    @property
    def id(self) -> str:
        return str(self._record["id"])

    @property
    def upload_storage_uri(self) -> str:
        """Where its weights go."""
        return self._place() or BLOBS

    @property
    def config_text(self) -> str:
        return str(self._record["config_text"])

    @config_text.setter
    def config_text(self, value: str) -> None:
        self.update_design(config_text=value)

    @property
    def config_dict(self) -> dict[str, Any]:
        return records.parsed_design(self._record)

    @config_dict.setter
    def config_dict(self, value: Mapping[str, Any]) -> None:
        self.update_design(config_dict=value)

    @property
    def labels(self) -> dict[str, int]:
        return dict(self._record["labels"])

    @labels.setter
    def labels(self, value: Mapping[str, int]) -> None:
        self.update_labels(value)

    def connect(self, task: "Task", name: str | None = None, **kwargs: Any) -> None:
        """List it on its task under `name`. Raises ValueError for another task: a model is made by one."""
        if task != self._task:
            raise ValueError("an OutputModel belongs to the task it was made with: make another one with task=...")
        self._entry = name or self._entry
        if self._registered and name:
            self._change(metadata={**self._record["metadata"], ENTRY: entry(name)})

    def set_upload_destination(self, uri: str) -> None:
        """Store its weights in that folder from now on: a path, or an address that fsspec knows."""
        self._check_open()
        self._destination = destinations.destination_of(uri) or None

    def update_weights(
        self,
        weights_filename: str | None = None,
        upload_uri: str | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = True,
        register_uri: str | None = None,
        iteration: int | None = None,
        update_comment: bool = True,
        is_package: bool = False,
        async_enable: bool = True,
    ) -> str:
        """Store a file as the model's weights, or name the address they have already; the address comes back.

        They go to the server, unless an `upload_uri`, or the task, names another store: only then `auto_delete_file`
        removes the local file. Raises ValueError when the model is published.
        """
        compat.ignored("OutputModel.update_weights", async_enable=async_enable)
        self._check_open()
        if bool(weights_filename) == bool(register_uri):
            raise ValueError("give either weights_filename, a file to store, or register_uri, where it is stored")
        if weights_filename and Path(weights_filename).is_dir():
            return self.update_weights_package(
                weights_path=weights_filename,
                upload_uri=upload_uri,
                target_filename=target_filename or Path(weights_filename).name,
                auto_delete_file=auto_delete_file,
                iteration=iteration,
            )
        if upload_uri:
            self.set_upload_destination(upload_uri)
        if weights_filename:
            source = Path(weights_filename)
            filename = target_filename or source.name
            url = self._stored(source, filename)
            if auto_delete_file and self._place() is not None:
                source.unlink()
        else:
            url = address_of(str(register_uri))
            filename = target_filename or stores.name_of(url)
        metadata = {**self._record["metadata"], ENTRY: entry(self._entry or Path(filename).stem)}
        metadata.pop(PACKAGE, None)
        if is_package:
            metadata[PACKAGE] = entry(True, "bool")
        fields: Json = {"url": url, "metadata": metadata, "iteration": iteration}
        if not self._record["framework"]:
            fields["framework"] = framework_of(filename)
        if update_comment:
            fields["comment"] = _with_snapshot(self._record["comment"], str(weights_filename or register_uri))
        self._register(**fields)
        return url

    def update_weights_package(
        self,
        weights_filenames: Sequence[str] | None = None,
        weights_path: str | None = None,
        upload_uri: str | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = True,
        iteration: int | None = None,
        async_enable: bool = True,
    ) -> str:
        """Store several files, or all of a folder, as one archive; its address comes back."""
        compat.ignored("OutputModel.update_weights_package", async_enable=async_enable)
        if bool(weights_filenames) == bool(weights_path):
            raise ValueError("give either weights_filenames or weights_path, the folder they lie in")
        named = _named_files(weights_filenames, weights_path)
        filename = target_filename or "model_package.zip"
        with tempfile.TemporaryDirectory(prefix="foldline-model-") as folder:
            archive = Path(folder, "package.zip")
            _write_archive(archive, named)
            url = self.update_weights(
                weights_filename=str(archive),
                upload_uri=upload_uri,
                target_filename=filename if filename.lower().endswith(".zip") else f"{filename}.zip",
                auto_delete_file=False,
                iteration=iteration,
                update_comment=False,
                is_package=True,
            )
        if auto_delete_file and self._place() is not None:
            for path in named.values():
                path.unlink()
        return url

    def update_design(self, config_text: str | None = None, config_dict: Mapping[str, Any] | None = None) -> bool:
        """Set the configuration: a text, or a dict that is kept as JSON."""
        self._check_open()
        self._change(**records.design(config_text, config_dict))
        return True

    def update_labels(self, labels: Mapping[str, int]) -> bool:
        """Set what the numbers that it puts out mean: {"cat": 0, "dog": 1}."""
        self._check_open()
        self._change(labels=records.labels_of(labels))
        return True

    def publish(self) -> None:
        """It is for everybody's use, and its weights change no more."""
        if not self.published:
            self._register(published=True)

    def archive(self) -> None:
        self._register(archived=True)

    def set_metadata(self, key: str, value: str, v_type: str | None = None) -> bool:
        if not self._registered:
            self._register()
        return super().set_metadata(key, value, v_type)

    @classmethod
    def wait_for_uploads(cls, timeout: float | None = None, max_num_uploads: int | None = None) -> None:
        """Nothing to wait for: an upload is done when the call that made it returns."""
        compat.ignored("OutputModel.wait_for_uploads", timeout=timeout, max_num_uploads=max_num_uploads)

    @classmethod
    def set_default_upload_uri(cls, output_uri: str | None) -> None:
        """Where the weights of all models of this process go that are told no other place."""
        cls._default_uri = destinations.destination_of(output_uri) or None

    def _data(self) -> Json:
        return self._record

    def _change(self, **fields: Any) -> None:
        """Before the first weights only here: there is nothing yet to put on the task's record."""
        if self._registered:
            self._register(**fields)
        else:
            self._record |= fields

    def _register(self, **fields: Any) -> None:
        """Say it on the task's record. Others may have changed what these fields do not speak of."""
        known = self._client.models.get(self.id) if self._registered else self._record
        parent = known["parent"] or self._parent(fields.get("metadata", known["metadata"]))
        record = {**known, "parent": parent, **fields}
        self._record = records.say(self._client, self._task.id, "output", record)
        self._registered = True

    def _parent(self, metadata: Mapping[str, Any]) -> str | None:
        """The model that the task read under the same name."""
        name = metadata.get(ENTRY, {}).get("value")
        read = self._task.models["input"].get(name) if name else None
        return None if read is None else str(read.id)

    def _check_open(self) -> None:
        if self._registered and self._client.models.get(self.id)["published"]:
            raise ValueError(f"model {self.name!r} ({self.id}) is published and cannot be changed: make another one")

    def _place(self) -> str | None:
        """The folder that its weights go to; None for the server's blobs."""
        uri = self._destination or self._task.output_uri or type(self)._default_uri
        return destinations.destination_of(uri) or None

    def _stored(self, path: Path, filename: str) -> str:
        if not path.is_file():
            raise ValueError(f"there is no file {path} to store as the model's weights")
        place = self._place()
        if place is None:
            sha256, _ = self._client.blobs.put_file(path)
            return f"{BLOBS}/{sha256}/{quote(Path(filename).name, safe='')}"
        folder = destinations.folder_of(self._task.data, place) or place
        return destinations.put(self._client, path, folder, "models", filename)[0]


def _with_snapshot(comment: str, weights: str) -> str:
    """The comment, and before it where its weights came from: those that are there now, not each that ever were."""
    first, _, rest = comment.partition("\n")
    kept = rest if first.startswith("snapshot ") and first.endswith(" stored") else comment
    return f"snapshot {weights} stored\n{kept}".strip()


def _named_files(filenames: Sequence[str] | None, folder: str | None) -> dict[str, Path]:
    """{name in the package: file}."""
    if folder is not None:
        root = Path(folder)
        return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    paths = [Path(name).absolute() for name in filenames or ()]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise ValueError(f"there is no file {', '.join(missing)} to store as the model's weights")
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return {path.relative_to(root).as_posix(): path for path in paths}


def _write_archive(archive: Path, named: Mapping[str, Path]) -> None:
    """The same bytes for the same files: they are stored once, however often they are packed."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, path in named.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            with path.open("rb") as source, zipped.open(member, "w", force_zip64=True) as target:
                while piece := source.read(stores.PIECE):
                    target.write(piece)
