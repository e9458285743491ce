"""The house rules that a machine can hold: who imports whom, what is light, and what every module says of itself."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ("domain", "eventstore", "controller", "projections", "api")
HOUSE = {name: Path(name) for name in SERVER} | {"foldline": Path("sdk/foldline")}
MODULES = sorted(module for folder in HOUSE.values() for module in (ROOT / folder).rglob("*.py"))
# What `import foldline` may not pay for: HTTP, terminal, process tables and serialisers wait until they are needed.
HEAVY = {"cloudpickle", "cyclopts", "fsspec", "httpx2", "numpy", "pandas", "psutil", "rich", "sqlite3", "ssl"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "sdk")]), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_import_contracts_hold():
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def empty_house(tmp_path: Path) -> Path:
    """Every package, without content, under the real contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in HOUSE.values():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    return tmp_path


def test_an_empty_house_keeps_the_contracts(empty_house):
    run = lint_imports(empty_house)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("domain", "eventstore", "api sits on controller and projections"),
        ("controller", "projections", "api sits on controller and projections"),
        ("eventstore", "api", "api sits on controller and projections"),
        ("domain", "time", "the domain does no I/O"),
        ("controller", "transitions", "only domain.lifecycle knows transitions"),
        ("foldline", "domain", "the SDK, CLI and agent never import the server"),
        ("foldline", "fastapi", "the SDK, CLI and agent never import the server"),
        ("api", "tests", "what is shipped never imports what is not"),
    ],
)
def test_a_planted_import_is_caught(empty_house, importer, imported, contract):
    (empty_house / HOUSE[importer] / "planted.py").write_text(f"import {imported}\n")
    run = lint_imports(empty_house)
    assert run.returncode == 1
    assert re.search(rf"{re.escape(contract)}.* BROKEN", run.stdout), run.stdout


def run_sdk(code: str) -> str:
    """What `code` prints where only the SDK and the packages it needs can be imported."""
    # Without `site`, no .pth file adds the server's folders to the path.
    packages = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    path = f"import sys; sys.path[:0] = [{str(ROOT / 'sdk')!r}]; sys.path += {list(packages)!r}\n"
    command = [sys.executable, "-I", "-S", "-c", path + dedent(code)]
    run = subprocess.run(command, cwd=ROOT / "sdk", capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_sdk_imports_with_the_server_absent():
    imported = json.loads(
        run_sdk(f"""
            import importlib, importlib.util, json, pkgutil
            assert not [name for name in {SERVER} if importlib.util.find_spec(name)], "the server is on the path"
            import foldline
            names = [module.name for module in pkgutil.walk_packages(foldline.__path__, "foldline.")]
            names = [name for name in names if not name.endswith("__main__")]
            for name in names:
                importlib.import_module(name)
            print(json.dumps(names))
        """)
    )
    assert "foldline.cli.main" in imported


def test_importing_foldline_is_light():
    loaded = set(json.loads(run_sdk("import foldline, json; print(json.dumps(list(sys.modules)))")))
    assert sorted(loaded & HEAVY) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_a_module_opens_with_what_it_is_for(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    is_empty_init = module.name == "__init__.py" and not tree.body
    assert ast.get_docstring(tree) or is_empty_init, "the module has no docstring"


def test_no_test_folder_is_a_package():
    """`tests/domain/__init__.py` would make pytest import that folder as `domain`."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_that_a_page_names_exists(page):
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= make_targets()


def test_make_alone_lists_the_targets():
    run = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"^  make ([a-z]+)", run.stdout, re.MULTILINE)) == make_targets()
