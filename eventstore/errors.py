"""Why a database cannot be opened. Each says in one sentence what is wrong and what to do."""


class CannotOpen(Exception):
    """The database is not opened, and nothing in it was changed."""


class DatabaseInUse(CannotOpen):
    """Another process owns the SQLite file."""

    def __init__(self, path: str, pid: str, address: str) -> None:
        where = f"process {pid or 'unknown'}" + (f" at {address}" if address else "")
        super().__init__(f"{path} is in use by {where}: stop that process, or talk to it instead of opening the file")
        self.path, self.pid, self.address = path, pid, address


class NotADatabase(CannotOpen):
    """The file is there and is something else."""


class SchemaOutdated(CannotOpen):
    """The tables are those of an older version of this program."""


class SchemaNewer(CannotOpen):
    """The tables are those of a newer version of this program."""
