"""What a task keeps: artifacts of any kind."""

import glob
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from foldline import compat, destinations, formats, registered, tabular
from foldline.artifacts import Artifacts, upload
from foldline.connected import Connected, plain_dict
from foldline.errors import DefinitionError, FoldlineError
from foldline.formats import Packed
from foldline.handle import TaskHandle

# A dict of JSON is pickled under this extension, not under another one's name.
PICKLES: Final = (".pkl", ".pickle")

log = logging.getLogger("foldline")


class WithArtifacts(TaskHandle):
    """Task's methods about artifacts."""

    @property
    def artifacts(self) -> Artifacts:
        """By name, read from the server now."""
        self.reload()
        return Artifacts(self.data["artifacts"], self._client)

    def upload_artifact(
        self,
        name: str,
        artifact_object: Any,
        metadata: Mapping[str, Any] | None = None,
        delete_after_upload: bool = False,
        auto_pickle: bool | None = None,
        preview: Any = None,
        wait_on_upload: bool = False,
        extension_name: str | None = None,
        serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        retries: int = 0,
        sort_keys: bool = True,
    ) -> bool:
        """Store an object, a file or a folder under `name`; when this returns it is stored, at `output_uri` if set.

        A path with wildcards, or a list of paths, is stored as a folder of the files. Objects are stored as
        `extension_name` says (.json, .yaml, .csv, .csv.gz, .parquet, .feather, .npy, .npz, .png, .txt, .pkl, ...), else
        as JSON where that comes back equal, .npy, .csv.gz, .png for pictures, or a pickle: `auto_pickle=False` refuses
        that.
        """
        compat.ignored("Task.upload_artifact", wait_on_upload=wait_on_upload, retries=retries)
        if isinstance(artifact_object, Connected):
            artifact_object = plain_dict(artifact_object)
        files = _several(artifact_object)
        if serialization_function is not None:
            packed = formats.pack_custom(name, artifact_object, serialization_function, extension_name or "")
        elif files is not None:
            packed = formats.pack_files(name, files)
        else:
            packed = _packed(name, artifact_object, extension_name, sort_keys)
        if preview is not None:
            packed.preview = str(preview)[: formats.PREVIEW]
        if packed.format == "pickle" and auto_pickle is False:
            raise DefinitionError(
                f"artifact {name!r} is a {packed.type}, which only a pickle can hold, and auto_pickle is False"
            )
        folder = destinations.folder_of(self.data)
        upload(self._client, self.id, name, packed, metadata=metadata, folder=folder)
        if delete_after_upload:
            for path in [artifact_object] if files is None else files.values():
                if isinstance(path, str | Path) and Path(path).is_file():
                    Path(path).unlink()
        return True

    def delete_artifacts(
        self,
        artifact_names: Sequence[str],
        raise_on_errors: bool = True,
        delete_from_storage: bool = True,
        silent_on_errors: bool = False,
    ) -> bool:
        """Let the task name these artifacts no more; all of them, or none. Their bytes stay for who else has them.

        Without `raise_on_errors` False says that it did not work, in a line of the log unless `silent_on_errors`.
        """
        compat.ignored("Task.delete_artifacts", delete_from_storage=delete_from_storage)
        names = [artifact_names] if isinstance(artifact_names, str) else list(artifact_names)
        try:
            if names:
                self._record = self._client.tasks.remove_artifacts(self.id, names)
        except FoldlineError as why:
            if raise_on_errors:
                raise
            if not silent_on_errors:
                log.warning("artifacts of task %s are not removed: %s", self.id, why)
            return False
        return True

    def register_artifact(
        self,
        name: str,
        artifact: Any,
        metadata: Mapping[str, Any] | None = None,
        uniqueness_columns: bool | list[str] = True,
    ) -> None:
        """Store a table that the script goes on changing: as it is at each flush(), and at the task's end."""
        compat.ignored("Task.register_artifact", uniqueness_columns=uniqueness_columns)
        registered.of(self.id)[name] = registered.Registered(
            artifact, metadata, lambda: self.upload_artifact(name, artifact, metadata)
        )

    def unregister_artifact(self, name: str) -> None:
        """Store it no more; what is stored stays."""
        registered.of(self.id).pop(name, None)

    def get_registered_artifacts(self) -> dict[str, Any]:
        """By name, the objects that are registered."""
        return {name: one.artifact for name, one in registered.of(self.id).items()}


def _packed(name: str, value: Any, extension: str | None, sort_keys: bool) -> Packed:
    dotted = None if not extension else extension if extension.startswith(".") else f".{extension}"
    if dotted is None and tabular.kind_of(value) == "picture":
        dotted = ".png"
    if dotted is not None and (written := tabular.write(value, dotted)) is not None:
        return formats.pack_bytes(name, value, *written, dotted)
    # A folder is a .zip whatever it is asked to be, and a file what it is.
    chosen = None if dotted is None or isinstance(value, Path) else _format_of(dotted)
    return formats.pack(name, value, format=chosen, sort_keys=sort_keys and formats.is_exact_json(value))


def _format_of(extension: str) -> str:
    if extension in PICKLES:
        return "pickle"
    if extension in formats.EXTENSIONS:
        return formats.EXTENSIONS[extension]
    known = sorted({*formats.EXTENSIONS, *PICKLES, *(extension for _, extension in tabular.WRITERS)})
    raise DefinitionError(f"extension_name {extension!r} is none of {', '.join(known)}: pass a serialization_function")


def _several(value: Any) -> dict[str, Path] | None:
    """The files that a list of paths, or a path with wildcards, stands for; None when it stands for none."""
    if isinstance(value, list | tuple) and value:
        paths = [Path(one) for one in value if isinstance(one, str | Path) and str(one) and _is_there(one)]  # pyright: ignore[reportUnknownVariableType]
        if len(paths) != len(value):  # pyright: ignore[reportUnknownArgumentType]
            return None
        return _named(paths, Path(os.path.commonpath([path.resolve().parent for path in paths])))
    if isinstance(value, str | Path) and glob.has_magic(str(value)) and not _is_there(value):
        paths = [Path(found) for found in sorted(glob.glob(str(value), recursive=True)) if Path(found).is_file()]
        steady = next(at for at, part in enumerate(Path(value).parts) if glob.has_magic(part))
        return _named(paths, Path(*Path(value).parts[:steady]).resolve()) if paths else None
    return None


def _named(paths: list[Path], base: Path) -> dict[str, Path]:
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return {file.resolve().relative_to(base).as_posix(): file for file in files}


def _is_there(path: str | Path) -> bool:
    try:
        return os.path.exists(path)
    except (OSError, ValueError):
        return False
