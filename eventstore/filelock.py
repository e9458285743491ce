"""One process owns a SQLite file: an OS lock beside it, which dies with its holder."""

import fcntl
import os
from pathlib import Path

from eventstore.errors import DatabaseInUse


class FileLock:
    """Held from construction to `release`. Raises DatabaseInUse, naming the holder's pid and `owner` address."""

    def __init__(self, database: Path, owner: str) -> None:
        path = database.with_name(database.name + ".lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 1000).decode(errors="replace").split("\n")
            os.close(self._file)
            pid, address = [*holder, "", ""][:2]
            raise DatabaseInUse(str(database), pid, address) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n{owner}\n".encode())

    def release(self) -> None:
        # The file stays: whoever removed it could remove the lock of the next holder.
        os.ftruncate(self._file, 0)
        os.close(self._file)


def holder_of(database: Path) -> DatabaseInUse | None:
    """Who owns the file, also when it is not there any more."""
    if not database.with_name(database.name + ".lock").exists():
        return None
    try:
        FileLock(database, "").release()
    except DatabaseInUse as busy:
        return busy
    return None
