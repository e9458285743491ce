"""Objects in the formats that upload_artifact's `extension_name` asks for, and back.

pandas, numpy, yaml and pictures are the user's own packages: nothing here is imported before such an object is met.
"""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from foldline.errors import DefinitionError

Write = Callable[[Any], bytes]
Read = Callable[[Path], Any]


def _through_pandas(method: str, **options: Any) -> Write:
    def write(frame: Any) -> bytes:
        buffer = io.BytesIO()
        getattr(frame, method)(buffer, **options)
        return buffer.getvalue()

    return write


def _read_pandas(function: str, **options: Any) -> Read:
    def read(path: Path) -> Any:
        import pandas  # pyright: ignore

        return getattr(pandas, function)(path, **options)  # pyright: ignore

    return read


def _npz(array: Any) -> bytes:
    import numpy  # pyright: ignore

    buffer = io.BytesIO()
    numpy.savez_compressed(buffer, array)  # pyright: ignore
    return buffer.getvalue()


def _read_npz(path: Path) -> Any:
    import numpy  # pyright: ignore

    with numpy.load(path, allow_pickle=False) as found:  # pyright: ignore
        return found[found.files[0]]  # pyright: ignore


def _rows(array: Any) -> bytes:
    import numpy  # pyright: ignore

    buffer = io.StringIO()
    numpy.savetxt(buffer, array, delimiter=",")  # pyright: ignore
    return buffer.getvalue().encode()


def _read_rows(path: Path) -> Any:
    import numpy  # pyright: ignore

    return numpy.loadtxt(path, delimiter=",")  # pyright: ignore


def _yaml(value: Any) -> bytes:
    import yaml  # pyright: ignore

    # Through JSON: subclasses of dict and tuples would become tags that no safe reader takes.
    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True).encode()  # pyright: ignore


def _read_yaml(path: Path) -> Any:
    import yaml  # pyright: ignore

    return yaml.safe_load(path.read_text("utf-8"))  # pyright: ignore


def _picture(extension: str) -> Write:
    def write(image: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format={"jpg": "jpeg"}.get(extension, extension))
        return buffer.getvalue()

    return write


def _read_picture(path: Path) -> Any:
    from PIL import Image  # pyright: ignore

    with Image.open(path) as image:  # pyright: ignore
        image.load()  # pyright: ignore
        return image  # pyright: ignore


PICTURES: Final = ("png", "jpg", "jpeg", "bmp", "tiff", "gif")
# By the object's kind and the extension: the format's name, and what writes it.
WRITERS: Final[dict[tuple[str, str], tuple[str, Write]]] = {
    ("pandas", ".csv"): ("pandas-csv", _through_pandas("to_csv")),
    ("pandas", ".parquet"): ("pandas-parquet", _through_pandas("to_parquet")),
    ("pandas", ".feather"): ("pandas-feather", _through_pandas("to_feather")),
    ("numpy", ".npz"): ("numpy-npz", _npz),
    ("numpy", ".csv"): ("numpy-csv", _rows),
    ("numpy", ".csv.gz"): ("numpy-csv", lambda array: gzip.compress(_rows(array), mtime=0)),
    ("dict", ".yaml"): ("yaml", _yaml),
    ("dict", ".yml"): ("yaml", _yaml),
    **{("picture", f".{extension}"): ("picture", _picture(extension)) for extension in PICTURES},
}
READERS: Final[dict[str, Read]] = {
    "pandas-csv": _read_pandas("read_csv", index_col=0),
    "pandas-parquet": _read_pandas("read_parquet"),
    "pandas-feather": _read_pandas("read_feather"),
    "numpy-npz": _read_npz,
    "numpy-csv": _read_rows,
    "yaml": _read_yaml,
    "picture": _read_picture,
}


def kind_of(value: Any) -> str:
    """pandas, numpy, picture, dict, or "": asked without importing a package."""
    modules = {one.__module__.split(".")[0]: one.__name__ for one in reversed(type(value).__mro__)}
    if modules.get("PIL") is not None and hasattr(value, "save"):
        return "picture"
    if type(value).__name__ == "DataFrame" and "pandas" in modules:
        return "pandas"
    if type(value).__name__ == "ndarray" and "numpy" in modules:
        return "numpy"
    return "dict" if isinstance(value, dict | list) else ""


def write(value: Any, extension: str) -> tuple[str, bytes] | None:
    """The format's name and the bytes; None when there is no such format. Raises DefinitionError when it fails."""
    found = WRITERS.get((kind_of(value), extension))
    if found is None:
        return None
    name, writer = found
    try:
        return name, writer(value)
    except (ImportError, TypeError, ValueError, OSError) as why:
        raise DefinitionError(f"a {type(value).__name__} cannot be stored as {extension}: {why}") from why
