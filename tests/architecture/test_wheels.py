"""The two wheels, built as they are released: each holds its own, and neither the other's."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ("domain", "eventstore", "controller", "projections", "api")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ZipFile]:
    """{distribution: its wheel}."""
    return {
        "foldline-server": wheel_of(ROOT, tmp_path_factory.mktemp("server")),
        "foldline": wheel_of(ROOT / "sdk", tmp_path_factory.mktemp("sdk")),
    }


def wheel_of(project: Path, folder: Path) -> ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = folder.iterdir()
    # In memory, so that no open file outlives the test.
    return ZipFile(BytesIO(wheel.read_bytes()))


def sources(folder: Path, above: Path) -> set[str]:
    return {path.relative_to(above).as_posix() for path in folder.rglob("*.py")}


def held(wheel: ZipFile) -> set[str]:
    """The files of a wheel, without its metadata."""
    return {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}


def test_the_wheels_are_disjoint(wheels):
    """Or removing one would remove files of the other."""
    assert set(wheels["foldline"].namelist()).isdisjoint(wheels["foldline-server"].namelist())


def test_the_servers_wheel_holds_its_packages_and_nothing_else(wheels):
    files = held(wheels["foldline-server"])
    assert {name.split("/")[0] for name in files} == set(SERVER)
    for package in SERVER:
        assert sources(ROOT / package, ROOT) <= files


def test_the_sdks_wheel_holds_foldline_and_nothing_else(wheels):
    files = held(wheels["foldline"])
    assert {name.split("/")[0] for name in files} == {"foldline"}
    assert sources(ROOT / "sdk/foldline", ROOT / "sdk") <= files
    assert "foldline/py.typed" in files


@pytest.mark.parametrize(
    ("distribution", "command"),
    [
        ("foldline-server", "foldline-server = api.__main__:main"),
        ("foldline", "foldline = foldline.cli.main:main"),
    ],
)
def test_a_wheel_brings_its_command_and_its_licence(wheels, distribution, command):
    wheel = wheels[distribution]
    (points,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    (licence,) = [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
    assert command in wheel.read(points).decode()
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
