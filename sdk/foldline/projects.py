"""Which of this process's modules are the project's own, and the folders they are imported from."""

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
# ClearML's way to say that an entry point is the module of `python -m`.
AS_MODULE: Final = "-m "

_OURS: Final = Path(__file__).resolve().parents[1]
_INSTALLED: Final = re.compile(r"[/\\](site|dist)-packages[/\\]")
_STANDARD: Final = str(Path(os.__file__).resolve().parent) + os.sep


def is_noise(parts: Iterable[str]) -> bool:
    """Hidden files hold settings and secrets of one machine, caches what can be made again."""
    return any(part.startswith(".") or part in LEFT_OUT or part.endswith((".pyc", ".egg-info")) for part in parts)


def is_installed(path: Path | str) -> bool:
    return bool(_INSTALLED.search(str(path))) or str(path).startswith(_STANDARD)


def import_base(path: Path, module: str) -> Path | None:
    """The folder from which `module` was imported: what has to be on sys.path for it to be found again."""
    depth = module.count(".") + (path.name == "__init__.py")
    return path.parents[depth] if depth < len(path.parents) else None


def import_folders(root: Path, own: Path) -> list[str]:
    """The folders inside `root` that this process imports from, relative to it, besides `root` and `own` themselves.

    A step has to find there what the script found, whether PYTHONPATH, a line of the script or an editable
    installation had put it on sys.path.
    """
    found = [Path(_real(os.path.abspath(entry))) for entry in list(sys.path)]
    found += filter(None, (import_base(path, name) for name, path in loaded_from(root)))
    inside = [folder for folder in dict.fromkeys(found) if folder.is_relative_to(root)]
    names = [each.relative_to(root) for each in inside if each not in (root, own, _OURS) and each.is_dir()]
    return [name.as_posix() for name in names if not is_noise(name.parts)]


def loaded_from(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules of the project at `root` that this process has imported, and their files."""
    prefix = f"{root}{os.sep}"
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        # Of thousands of modules few are the project's: words first, paths for the rest.
        if isinstance(file, str) and not name.startswith("__") and not is_installed(file):
            folder, base = os.path.split(file)
            if (path := os.path.join(_real(folder), base)).startswith(prefix):
                yield name, Path(path)


@functools.cache
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def entry_files(script: Mapping[str, Any]) -> list[Path]:
    """Where a script's entry point may lie, relative to the sources' root; none when it has none."""
    entry = str(script.get("entry_point") or "")
    if not entry.startswith(AS_MODULE):
        return [Path(entry)] if entry else []
    base = Path(str(script.get("working_dir") or "."), *entry.removeprefix(AS_MODULE).strip().split("."))
    return [base.with_name(f"{base.name}.py"), base / "__main__.py"]
