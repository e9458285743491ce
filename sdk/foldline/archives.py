"""Archives unpacked once, beside their file in the cache; nothing in them may lead out of the folder."""

import contextlib
import hashlib
import logging
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from foldline import formats
from foldline.caching import cache_dir
from foldline.errors import FoldlineError

ENDINGS = (".zip", ".tgz", ".tar.gz")

log = logging.getLogger("foldline")


def unpacked(archive: Path) -> Path:
    """The folder with what `archive` holds, unpacked once; the file itself, with a warning, when it is no archive.

    Raises FoldlineError when something in it would leave the folder.
    """
    folder = _folder_for(archive)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".unpacking.", dir=folder.parent))
    try:
        extract(archive, part)
        part.chmod(0o755)
        # A loser of the race finds the same files in place already.
        with contextlib.suppress(OSError):
            part.rename(folder)
    except (zipfile.BadZipFile, tarfile.ReadError, EOFError) as why:
        log.warning("%s is no archive, so it stays packed: %s", archive, why)
        return archive
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tgz or .tar.gz into `folder`."""
    if archive.name.lower().endswith(".zip"):
        formats.extract(archive, folder)
        return
    with tarfile.open(archive, "r:gz") as tar:
        try:
            tar.extractall(folder, filter="data")
        except tarfile.FilterError as why:
            raise FoldlineError(
                f"the archive {archive.name} holds what leads out of it, so it stays packed: {why}"
            ) from why


def _folder_for(archive: Path) -> Path:
    """One folder for each state of an archive: another file under the same name is unpacked anew."""
    status = archive.stat()
    seen = f"{archive.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
    return cache_dir("unpacked") / hashlib.sha256(seen.encode()).hexdigest()[:32]
