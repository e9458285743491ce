"""Objects as bytes and back, so that what is read equals what was stored. Only this process ever unpickles."""

import dataclasses
import io
import json
import math
import os
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from foldline import tabular
from foldline.errors import DefinitionError, FoldlineError
from foldline.running import MAIN

PREVIEW: Final = 4096
LONGEST_PARAMETER: Final = 8192
EXTENSIONS: Final = {".json": "json", ".pkl": "pickle", ".npy": "numpy", ".csv.gz": "pandas", ".txt": "text"}


@dataclasses.dataclass(slots=True)
class Packed:
    """An object ready to be stored: its bytes, in memory or in a file (`temporary`: ours, to be removed)."""

    format: str
    type: str
    filename: str
    preview: str
    data: bytes | None = None
    path: Path | None = None
    temporary: bool = False


def is_exact_json(value: Any) -> bool:
    """Whether `value` comes back from JSON as it was: no tuples, no numbers as keys, no NaN, no subclasses."""
    kind = cast(type[Any], type(value))
    if kind in (bool, int) or value is None:
        return True
    if kind is str:
        return _is_text(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_exact_json, cast(list[Any], value)))
    if kind is dict:
        return all(type(key) is str and is_exact_json(inner) for key, inner in cast(dict[Any, Any], value).items())
    return False


def is_parameter(value: Any) -> bool:
    """Whether a returned value is stored as a parameter rather than an artifact."""
    if type(value) is str:
        return len(value) <= LONGEST_PARAMETER and _is_text(value)
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return not isinstance(value, list | dict) and is_exact_json(value)


def pack(
    name: str,
    value: Any,
    *,
    format: str | None = None,
    preview: str | None = None,
    sort_keys: bool = False,
    paths: bool = True,
    exact: bool = False,
) -> Packed:
    """`value` as an artifact called `name`. `paths`: a string that names a file or folder stands for it.

    `exact` prefers the same object over a readable format. Raises DefinitionError when nothing can hold it.
    """
    value, stem = itself(value), _filename(name)
    path = _as_path(value) if paths else None
    if path is not None:
        packed = _pack_folder(stem, path) if path.is_dir() else _pack_file(path)
    else:
        packed = _pack_object(stem, value, format or _format_for(value, exact), sort_keys)
    if preview is not None:
        packed.preview = preview
    packed.preview = packed.preview[:PREVIEW]
    return packed


def load(format: str, type_name: str, path: Path) -> Any:
    """What `pack` made of an object, as an object again. A file or folder comes back as its path."""
    match format:
        case "json":
            value = json.loads(path.read_text("utf-8"))
            return tuple(cast(list[Any], value)) if type_name == "tuple" and isinstance(value, list) else value
        case "text":
            return path.read_text("utf-8")
        case "numpy":
            return _load_numpy(path)
        case "pandas":
            import pandas  # pyright: ignore

            return pandas.read_csv(path, index_col=0)  # pyright: ignore
        case "pickle":
            with path.open("rb") as file:
                return _Unpickler(file).load()
        case found if found in tabular.READERS:
            return tabular.READERS[found](path)
        case "custom":
            raise FoldlineError("this artifact has its own serialization: pass get() its deserialization_function")
        case _:
            return path


def pack_custom(name: str, value: Any, serialize: Callable[[Any], bytes | bytearray], extension: str = "") -> Packed:
    data = bytes(serialize(value))
    return Packed("custom", type(value).__name__, _filename(name) + (extension or ".bin"), _shown(value), data)


def pack_bytes(name: str, value: Any, format: str, data: bytes, extension: str) -> Packed:
    """`value`, already written as `data`."""
    return Packed(format, type(value).__name__, _filename(name) + extension, _shown(value), data)


def extract(archive: Path, folder: Path) -> Path:
    """Unpack a zip into `folder`. Raises FoldlineError for a member that would leave it."""
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.namelist():
            if not folder.joinpath(member).resolve().is_relative_to(folder.resolve()):
                raise FoldlineError(f"the archive {archive.name} holds {member!r}, which leads out of it: not unpacked")
        zipped.extractall(folder)
    return folder


class _Unpickler(pickle.Unpickler):
    """Finds the classes of the caller's script in its step, where that script has another name, and back."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name in ("__main__", MAIN):
            for candidate in (MAIN, "__main__"):
                found = getattr(sys.modules.get(candidate), global_name.split(".")[0], None)
                if found is not None:
                    return super().find_class(candidate, global_name)
            raise FoldlineError(
                f"the artifact holds a {global_name}, defined in the script that made it: "
                "move the class into a module that both can import"
            )
        return super().find_class(module_name, global_name)


def _format_for(value: Any, exact: bool) -> str:
    if is_exact_json(value) or (type(value) is tuple and is_exact_json(list(cast(tuple[Any, ...], value)))):
        return "json"
    if _is_numpy(value):
        return "numpy"
    if not exact and _is_instance(value, "pandas", "DataFrame"):
        return "pandas"
    return "pickle"


def _pack_object(stem: str, value: Any, format: str, sort_keys: bool) -> Packed:
    kind = type(value).__name__
    match format:
        case "json":
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, indent=1)
            except (TypeError, ValueError) as why:
                raise DefinitionError(f"artifact {stem!r} cannot be JSON: {why}; let it be pickled") from why
            return Packed("json", kind, f"{stem}.json", text[:PREVIEW], text.encode())
        case "text":
            return Packed("text", kind, f"{stem}.txt", str(value)[:PREVIEW], str(value).encode())
        case "numpy":
            import numpy  # pyright: ignore

            buffer = io.BytesIO()
            numpy.save(buffer, value, allow_pickle=False)  # pyright: ignore
            return Packed("numpy", kind, f"{stem}.npy", _shown(value), buffer.getvalue())
        case "pandas":
            handle, name = tempfile.mkstemp(suffix=".csv.gz")
            os.close(handle)
            value.to_csv(name, compression={"method": "gzip", "mtime": 0})
            return Packed("pandas", kind, f"{stem}.csv.gz", _shown(value), path=Path(name), temporary=True)
        case _:
            return Packed("pickle", kind, f"{stem}.pkl", _shown(value), _pickled(stem, value))


def _pickled(stem: str, value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as why:  # what refuses to be pickled says so with any error it likes
        try:
            import cloudpickle  # pyright: ignore
        except ImportError:
            raise DefinitionError(
                f"{stem!r} is a {type(value).__name__} that cannot be pickled ({why}); "
                "pip install 'foldline[pickle]' can hold more, or pass a serialization_function"
            ) from why
        try:
            return cast(bytes, cloudpickle.dumps(value))  # pyright: ignore
        except Exception as still:
            raise DefinitionError(
                f"{stem!r} is a {type(value).__name__} that cannot be pickled ({still}); pass a serialization_function"
            ) from still


def _pack_file(path: Path) -> Packed:
    return Packed("file", path.suffix.lstrip(".") or "file", path.name, path.name, path=path)


def pack_files(name: str, files: Mapping[str, Path]) -> Packed:
    """Files as one artifact that comes back as a folder, by the names that they have in it."""
    return _zipped(_filename(name), files)


def _pack_folder(stem: str, folder: Path) -> Packed:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _zipped(stem, {path.relative_to(folder).as_posix(): path for path in files})


def _zipped(stem: str, files: Mapping[str, Path]) -> Packed:
    handle, name = tempfile.mkstemp(suffix=".zip")
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for member_name, path in files.items():
            member = zipfile.ZipInfo(member_name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            with path.open("rb") as content, zipped.open(member, "w", force_zip64=True) as target:
                while piece := content.read(1 << 20):
                    target.write(piece)
    return Packed("folder", "folder", f"{stem}.zip", "\n".join(list(files)[:100]), path=Path(name), temporary=True)


def _load_numpy(path: Path) -> Any:
    import numpy  # pyright: ignore

    # A .npy with pickled objects is a pickle in disguise; `pack` never writes one.
    return numpy.load(path, allow_pickle=False)  # pyright: ignore


def _as_path(value: Any) -> Path | None:
    if isinstance(value, Path):
        if not value.exists():
            raise DefinitionError(f"there is no file {value} to upload")
        return value
    if not isinstance(value, str) or not 0 < len(value) < 1024 or "\n" in value or "\0" in value:
        return None
    try:
        return Path(value) if Path(value).exists() else None
    except OSError:
        return None


def _is_numpy(value: Any) -> bool:
    return _is_instance(value, "numpy", "ndarray") and not value.dtype.hasobject and value.dtype.names is None


def _is_instance(value: Any, package: str, name: str) -> bool:
    """Exactly that class, asked without importing the package."""
    kind = cast(type[Any], type(value))
    return kind.__name__ == name and kind.__module__.split(".")[0] == package


def _shown(value: Any) -> str:
    try:
        return repr(value)[:PREVIEW]
    except Exception as why:  # a preview is never worth an upload
        return f"<{type(value).__name__}: {why}>"


def _is_text(value: str) -> bool:
    """Whether it can be sent: file names that are no UTF-8 hold what no encoding takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _filename(name: str) -> str:
    """`name` as a file's name on any system."""
    return (
        "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name).strip(". ")[:80] or "data"
    )


def type_name(value: Any) -> str:
    """What a parameter's `type` says of its value."""
    return type(value).__name__


def plain(value: Any) -> Any:
    """`value` as typed JSON for a parameter: tuples and sets as lists, what JSON has not as text."""
    value = itself(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Plain text of an enum of texts; file names that are no UTF-8 hold what cannot be sent.
        return str.__str__(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in cast(list[Any], value)]
    item = getattr(value, "item", None)
    if _module_of(value) == "numpy" and callable(item) and getattr(value, "ndim", 1) == 0:
        return plain(item())
    return str(value)


def itself(value: Any) -> Any:
    """What a stand-in for a step's result stands for, waited for; anything else as it is."""
    stands_for = getattr(cast(Any, type(value)), "_stands_for", None)
    return value if stands_for is None else stands_for(value)


def _module_of(value: Any) -> str:
    return type(value).__module__.split(".")[0]
