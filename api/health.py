"""Whether the server can take work, and what keeps it from it: the log must be readable and take what is written."""

import threading
import time
from collections.abc import Callable

from sqlalchemy import text

from eventstore.sql import SqlStore
from eventstore.store import StoreDamaged
from eventstore.versions import VERSION_TABLE

PROOF_LASTS = 1.0  # seconds: whoever asks more often is told what was found out last
# Changes nothing, and is written to the disk like everything else.
_PROOF = text(f"UPDATE {VERSION_TABLE} SET version_num = version_num")


class Health:
    """Asks the database itself: a disk that is full, or a file that may only be read, still lets everybody read."""

    def __init__(
        self, store: SqlStore, closing: threading.Event, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._closing, self._monotonic = store, closing, monotonic
        self._mutex = threading.Lock()
        self._proven_at: float | None = None
        self._damage: str | None = None

    def found(self, damage: StoreDamaged) -> None:
        """Somebody has met it. It does not mend itself, so that this is said until the server ends."""
        self._damage = f"{damage}."

    def trouble(self) -> str | None:
        """Why no work can be taken, as a sentence with the cure; None when all is well."""
        if self._closing.is_set():
            return "The server is ending: ask the one that takes its place."
        if self._damage is not None:
            return self._damage
        try:
            self._store.head()
        except Exception as error:
            return f"The database does not answer ({_line(error)}): see that it runs; this server goes on by itself."
        try:
            self._prove()
        except Exception as error:
            return (
                f"The database takes nothing new ({_line(error)}): make room on its disk, or mend its rights; "
                "this server goes on by itself."
            )
        return None

    def _prove(self) -> None:
        """Write, unless that has just gone well. Raises what keeps the database from it."""
        with self._mutex:  # of many who ask at once one writes
            if self._proven_at is not None and self._monotonic() - self._proven_at < PROOF_LASTS:
                return
            self._proven_at = None
            with self._store.database.writing() as connection:
                connection.execute(_PROOF)
            self._proven_at = self._monotonic()


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
