"""Which leases were renewed a moment ago: once more would tell nobody anything, and cost a row each time.

An agent that ends a thousand steps a second gives as many signs of life. In PostgreSQL each renewal leaves the row's
former version behind, which a snapshot that somebody holds keeps there: the next renewal has to go past all of them.
"""

from collections.abc import Sequence

from eventstore.store import Put, Scalar

MOST = 10_000


def spare(lease: float) -> float:
    """For how many seconds a renewed lease is not renewed again, so that it may seem that much older than it is."""
    return min(1.0, lease / 10)


class Renewals:
    """What this process has put lately. One that it does not remember is put once more than needed."""

    def __init__(self) -> None:
        self._known: dict[Scalar, tuple[tuple[Scalar, ...], int]] = {}

    def due(self, leases: Sequence[Put]) -> list[Put]:
        """Those of `leases` that have to be put; they are taken to be."""
        return [lease for lease in leases if self._is_due(lease)]

    def _is_due(self, lease: Put) -> bool:
        row = lease.row
        who, until = (row["session"], row["attempt"], row["seconds"]), int(row["expires_at"] or 0)
        known = self._known.get(row["stream"])
        if known is not None and known[0] == who and 0 <= until - known[1] < spare(float(row["seconds"] or 0)) * 1e6:
            return False
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[row["stream"]] = who, until
        return True
