"""What the server has not been told yet, on disk, in one folder for each session."""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

REPORTS: Final = "reports.ndjson"
DELIVERED: Final = b"{}\n"  # a line that follows reports which were
LARGE: Final = 256 * 1024  # bytes of delivered reports after which the file begins anew

log = logging.getLogger("foldline.agent")


class Spool:
    """The folder of one session: a file of undelivered reports, and a folder for each attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._reports = os.open(folder / REPORTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._is_owed = False  # whether there are reports that the server has not answered
        _sync_folder(folder)

    def keep(self, reports: Sequence[Mapping[str, Any]]) -> None:
        """Have `reports` on disk, synced, before anybody tries to deliver them."""
        if not self._is_owed and os.fstat(self._reports).st_size > LARGE:
            os.ftruncate(self._reports, 0)
        self._is_owed = True
        lines = "".join(json.dumps(report) + "\n" for report in reports)
        _write_all(self._reports, lines.encode())
        os.fsync(self._reports)

    def forget(self) -> None:
        """All reports kept so far were delivered."""
        try:
            # A line more is cheaper than a file that is emptied: its block need not be given back and found again.
            _write_all(self._reports, DELIVERED)
        except OSError:  # the disk is full
            os.ftruncate(self._reports, 0)
        self._is_owed = False

    def attempt(self, task_id: str, number: int) -> Path:
        """A folder for one attempt's files."""
        folder = self.folder / f"{task_id}.{number}"
        folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """Remove the folder if all was delivered; otherwise it stays, for `clear` to tell of."""
        os.close(self._reports)
        if not self._is_owed:
            shutil.rmtree(self.folder, ignore_errors=True)


def old_sessions(root: Path) -> list[str]:
    """The sessions that have left something under `root`."""
    return [folder.name for folder in root.iterdir() if folder.is_dir()] if root.exists() else []


def clear(root: Path, session: str) -> None:
    """Remove what an old session has left, telling of each outcome that is lost with it.

    It cannot be delivered any more: to the server, a new session of an agent means that the attempts of its old one
    are lost, and it may have given them to others already.
    """
    for report in _left_in(root / session / REPORTS):
        log.warning(
            "dropped: attempt %s of task %s ended %s (%s), which the server was not told in time; it counts as lost",
            report.get("attempt"),
            report.get("task_id"),
            report.get("status"),
            report.get("reason") or "no reason",
        )
    shutil.rmtree(root / session, ignore_errors=True)


def _left_in(file: Path) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    try:
        for line in file.read_text().splitlines():
            report = json.loads(line)
            reports = [*reports, report] if report else []
    except FileNotFoundError:
        pass
    except ValueError:
        log.debug("the last line of %s was not written whole", file)
    return reports


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    # A synced file in a folder that was not synced may be gone after a power cut.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
