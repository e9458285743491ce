"""Datasets of a few small files, and what lies in a folder afterwards."""

from pathlib import Path
from typing import Any

from foldline import Dataset

FILES = {"a.txt": "alpha", "sub/b.csv": "1,2", "sub/deep/c.csv": "3,4", "empty.txt": ""}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def finished(project: str, folder: Path, name: str = "numbers", **more: Any) -> Dataset:
    made = Dataset.create(dataset_name=name, dataset_project=project, **more)
    made.add_files(folder)
    made.upload()
    made.finalize()
    return made


def held(folder: str | Path | None) -> dict[str, str]:
    root = Path(str(folder))
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}
