"""What somebody has folded from the events of a run, kept as of one of them. A cache: every row may be deleted."""

from sqlalchemy import text

from eventstore.dialects import Dialect

KEEP = text(
    "INSERT INTO snapshot (run_id, version, code, leaf, data)"
    " SELECT run_id, run_version, :code, leaf, :data FROM event WHERE run_id = :run_id AND run_version = :version"
    " ON CONFLICT (run_id) DO UPDATE SET"
    " version = excluded.version, code = excluded.code, leaf = excluded.leaf, data = excluded.data"
)


class Snapshots:
    """At most one of each run. It counts only where the log holds the very event that it was made as of."""

    def __init__(self, database: Dialect) -> None:
        self._database = database
        # The event is asked for by the run's id itself: so both databases see that its index will do.
        self._find = database.sql(
            "SELECT snapshot.data FROM snapshot JOIN event"
            " ON event.run_id = ? AND event.run_version = snapshot.version AND event.leaf = snapshot.leaf"
            " WHERE snapshot.run_id = ? AND snapshot.code = ?"
        )

    def find(self, run_id: str, code: str) -> bytes | None:
        """What `code` has kept of the run; None where there is nothing, or not of this log. Raises StoreUnavailable."""
        rows = self._database.fetch(self._find, (run_id, run_id, code))
        return rows[0][0] if rows else None

    def keep(self, run_id: str, version: int, code: str, data: bytes) -> None:
        """Keep `data` as of the run's event `version`, in the former one's place. A power cut may take it back.

        Keeps nothing where there is no such event. Raises StoreUnavailable.
        """
        row = {"run_id": run_id, "version": version, "code": code, "data": data}
        with self._database.writing(durable=False) as connection:
            connection.execute(KEEP, row)
