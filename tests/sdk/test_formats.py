"""What is stored comes back equal, in a format that others can read where there is one."""

import dataclasses
import enum
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest

from foldline import formats
from foldline.errors import DefinitionError, FoldlineError
from tests.sdk.processes import python


@dataclasses.dataclass
class Point:
    x: int


class Colour(enum.StrEnum):
    RED = "red"


def stored(packed: formats.Packed, folder: Path) -> Path:
    path = folder / packed.filename
    if packed.path is not None:
        path.write_bytes(packed.path.read_bytes())
    else:
        path.write_bytes(packed.data or b"")
    return path


def round_trip(value: Any, folder: Path, **options: Any) -> tuple[str, Any]:
    packed = formats.pack("value", value, **options)
    return packed.format, formats.load(packed.format, packed.type, stored(packed, folder))


@pytest.mark.parametrize(
    ("value", "format"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, "json"),
        ([], "json"),
        ((1, "two"), "json"),
        (1.5, "json"),
        (2**70, "json"),
        ("no file of that name", "json"),
        (None, "json"),
        ({1: "a number as key"}, "pickle"),
        ([(1, 2)], "pickle"),
        (float("inf"), "pickle"),
        ("\ud800", "pickle"),
        (Colour.RED, "pickle"),
        ({1, 2}, "pickle"),
        (b"bytes", "pickle"),
        (Point(3), "pickle"),
    ],
)
def test_a_value_comes_back_equal_and_of_its_type(value: Any, format: str, tmp_path: Path):
    used, back = round_trip(value, tmp_path, sort_keys=formats.is_exact_json(value))
    assert used == format
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("array", "format"),
    [
        (numpy.arange(12, dtype="float32").reshape(3, 4), "numpy"),
        (numpy.array(["2026-11-22"], dtype="datetime64[D]"), "numpy"),
        (numpy.array([{"an": "object"}], dtype=object), "pickle"),
        (numpy.zeros(2, dtype=[("a", "i4"), ("b", "f8")]), "pickle"),
    ],
)
def test_arrays(array: Any, format: str, tmp_path: Path):
    used, back = round_trip(array, tmp_path)
    assert used == format
    assert back.dtype == array.dtype
    assert (back == array).all()


@pytest.mark.may_skip
def test_frames(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=["r1", "r2"])
    assert round_trip(frame, tmp_path)[0] == "pandas"
    assert round_trip(frame, tmp_path)[1].equals(frame)
    dates = pandas.DataFrame({"d": pandas.to_datetime(["2026-11-22"])})
    used, back = round_trip(dates, tmp_path, exact=True)
    assert used == "pickle"
    assert back.equals(dates)


def test_a_number_of_another_library_keeps_its_type(tmp_path: Path):
    used, back = round_trip(numpy.float64(0.5), tmp_path)
    assert (used, type(back)) == ("pickle", numpy.float64)
    assert formats.plain(numpy.float64(0.5)) == 0.5
    assert formats.plain(numpy.int64(3)) == 3


def test_a_path_stands_for_its_file(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"\0\1")
    for value in (tmp_path / "model.bin", str(tmp_path / "model.bin")):
        packed = formats.pack("m", value)
        assert (packed.format, packed.filename, packed.path) == ("file", "model.bin", tmp_path / "model.bin")
    assert formats.pack("m", str(tmp_path / "model.bin"), paths=False).format == "json"
    with pytest.raises(DefinitionError, match="no file"):
        formats.pack("m", tmp_path / "absent")


def test_a_folder_is_the_same_zip_each_time(tmp_path: Path):
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    first, second = formats.pack("f", folder), formats.pack("f", folder)
    assert first.path
    assert second.path
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.preview == "a.txt\nsub/b.txt"
    formats.extract(first.path, tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "b.txt").read_text() == "b"
    first.path.unlink()
    second.path.unlink()


def test_an_archive_that_leads_out_is_not_unpacked(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr("../evil.txt", "x")
    with pytest.raises(FoldlineError, match="leads out"):
        formats.extract(tmp_path / "bad.zip", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_what_only_cloudpickle_holds(tmp_path: Path):
    used, back = round_trip(lambda x: x + 1, tmp_path)
    assert used == "pickle"
    assert back(1) == 2


def test_what_nothing_holds_is_named(tmp_path: Path):
    with open(tmp_path / "f", "w") as file, pytest.raises(DefinitionError, match="'value' is a TextIOWrapper"):
        formats.pack("value", file)


@pytest.mark.parametrize(("wrong", "format"), [({1, 2}, "json"), (float("nan"), "json")])
def test_a_format_that_does_not_fit_is_refused(wrong: Any, format: str):
    with pytest.raises(DefinitionError, match="cannot be JSON"):
        formats.pack("value", wrong, format=format)


def test_an_array_file_that_hides_a_pickle_is_not_opened(tmp_path: Path):
    numpy.save(tmp_path / "evil.npy", numpy.array([Point(1)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        formats.load("numpy", "ndarray", tmp_path / "evil.npy")


def test_file_names_are_tame():
    assert formats.pack("../../etc/pass wd", 1).filename == "_.._etc_pass wd.json"
    assert formats.pack("données", 1).filename == "données.json"
    assert formats.pack("...", 1).filename == "data.json"


def test_a_preview_never_costs_the_upload():
    class Shy(dict[str, Any]):
        def __repr__(self) -> str:
            raise RuntimeError("no")

        def __reduce__(self) -> Any:
            return (dict, ())

    assert formats.pack("shy", Shy()).preview.startswith("<Shy")


def test_a_class_of_the_script_is_found_in_its_step_and_back(tmp_path: Path):
    """Pickled as `__main__.Thing` by the caller; in the step the same class lives in `__foldline_main__`."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "class Thing:\n    x = 1\n"
        "def read(path):\n"
        "    from foldline import formats\n"
        "    return formats.load('pickle', 'Thing', Path(path)).x\n"
        "if __name__ == '__main__':\n"
        "    Path(sys.argv[1]).write_bytes(pickle.dumps(Thing()))\n"
    )
    step = (
        "import sys\n"
        "from pathlib import Path\n"
        "from foldline.running import load_function\n"
        "read = load_function(Path(sys.argv[1]), {'entry_point': 'script.py', 'function': 'read'})\n"
        "assert read(sys.argv[2]) == 1\n"
    )
    python(str(script), str(tmp_path / "a.pkl"))
    python("-c", step, str(tmp_path), str(tmp_path / "a.pkl"))


def test_a_class_that_nobody_has_is_named(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(b"c__main__\nNowhere\n.")
    with pytest.raises(FoldlineError, match="Nowhere, defined in the script"):
        formats.load("pickle", "Nowhere", tmp_path / "a.pkl")


@pytest.mark.parametrize("value", [1, 1.5, True, None, "text"])
def test_scalars_are_parameters(value: Any):
    assert formats.is_parameter(value)


@pytest.mark.parametrize("value", [[1], {}, float("nan"), 2**63, "x" * 10_000, Colour.RED, numpy.float64(1), (1,)])
def test_everything_else_is_an_artifact(value: Any):
    assert not formats.is_parameter(value)


def test_pickles_are_real_pickles(tmp_path: Path):
    assert pickle.loads(formats.pack("p", Point(4)).data or b"") == Point(4)
