"""The folder of an offline session: what a task without a server has said, in files that can be carried to one."""

import contextlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final

from foldline.caching import cache_dir
from foldline.errors import NotFound
from foldline.listing import Json
from foldline.stores import BLOBS, blob_of, whole_or_not

PREFIX: Final = "offline-"
RECORD: Final = "task.json"

_lock = threading.RLock()


def sessions() -> Path:
    """Where they all lie."""
    return cache_dir("offline")


def folder_of(identifier: str) -> Path:
    return sessions() / identifier


class Session:
    """task.json is the task as a server would tell it; scalars.jsonl, plots.jsonl, logs/<attempt>, blobs/<SHA-256>."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, identifier: str) -> "Session":
        """Raises NotFound when there is none."""
        session = cls(folder_of(identifier))
        if not identifier.startswith(PREFIX) or not (session.folder / RECORD).is_file():
            raise NotFound({"status": 404, "detail": f"There is no offline session {identifier}."})
        return session

    def record(self) -> Json:
        return json.loads((self.folder / RECORD).read_text(encoding="utf-8"))

    def write(self, record: Json) -> None:
        """The record, and the blobs that it names."""
        for sha256 in named_blobs(record):
            self.take_in(sha256)
        with whole_or_not(self.folder / RECORD) as part:
            part.write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")

    def append(self, name: str, lines: Iterable[Json]) -> None:
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))

    def lines(self, name: str) -> Iterator[Json]:
        """What was appended; a last line that a killed process left half written is left out."""
        path = self.folder / f"{name}.jsonl"
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.endswith("\n"))

    def log(self, attempt: int) -> Path:
        return self.folder / "logs" / str(attempt)

    def blob(self, sha256: str) -> Path:
        return self.folder / "blobs" / sha256

    def take_in(self, sha256: str) -> None:
        """A blob that lies among those of all sessions becomes this one's own."""
        source, target = stored_blob(sha256), self.blob(sha256)
        if target.exists() or not source.exists():
            return
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy(source, target)

    def pack(self) -> Path:
        """All of it as one file beside the folder, to be carried elsewhere."""
        target = self.folder.with_name(f"{self.folder.name}.zip")
        with whole_or_not(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(self.folder).as_posix())
        return target


def stored_blob(sha256: str) -> Path:
    """Bytes come before the task that names them: they wait here until one does."""
    return cache_dir("offline", "blobs") / sha256


def blob_in(url: str) -> str | None:
    """The SHA-256 of the blob that an address means; None for what lies elsewhere."""
    return blob_of(url)[0] if url.startswith(f"{BLOBS}/") else None


def named_blobs(record: Json) -> set[str]:
    """The blobs that a task's record speaks of."""
    script: Json = record["script"]
    urls = [one["url"] for one in record["artifacts"].values()]
    urls += [model["url"] for models in record["models"].values() for model in models]
    named = {script.get("source"), script.get("pickle"), *map(blob_in, urls)}
    return {str(sha256) for sha256 in named if sha256}


@contextlib.contextmanager
def one_at_a_time() -> Generator[None, None, None]:
    """Among the threads of this process, and, where the system has such locks, among the processes of a script."""
    try:
        import fcntl
    except ImportError:
        fcntl = None
    with _lock, (sessions() / ".lock").open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
