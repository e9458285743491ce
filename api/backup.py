"""A backup: a folder with the database as of one moment, the artifacts and the logs, and a page that says what it is.

The key of the data folder and the keys that sign the log stay where they are: who has a backup can read everything,
and shall not be able to act as the server, or to sign in its name.
"""

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import msgspec
from sqlalchemy import Connection, inspect, text

from api.backup_files import copy_files, sync, workplace
from api.settings import Settings
from api.version import VERSION
from api.wire import time_text
from domain.refused import Refused
from eventstore.dialects import Dialect
from eventstore.versions import VERSION_TABLE, current

FORMAT = 1
UNFINISHED = ".foldline-backup-"  # how the names of folders begin in which a backup is being made
PAGE, SQLITE, POSTGRESQL = "backup.json", "foldline.db", "foldline.dump"


class Head(msgspec.Struct, frozen=True):
    """The last event of a shard: its position, and its hash in hex."""

    position: int
    leaf: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup.json` says."""

    format: int
    made_at: str
    version: str
    """Of the program that made it."""
    schema_version: str
    database: str
    heads: dict[str, Head]
    """By shard."""
    blobs: int
    logs: int
    bytes: int
    """Of blobs and logs together."""
    damaged: list[str]
    """Artifacts whose bytes were not those of their name already when they were copied."""

    @property
    def events(self) -> int:
        return sum(head.position for head in self.heads.values())


def back_up(settings: Settings, database: Dialect, to: Path) -> Manifest:
    """Make the folder `to`, which is there when it is whole, or not at all. Raises Refused.

    First the database: what its events refer to was stored before them, so all of it is still to come.
    """
    with _folder(to) as folder:
        if database.shared:
            from api import backup_postgresql  # brings the driver

            schema_version, heads = backup_postgresql.dump(settings.url, database, folder / POSTGRESQL, state_of)
        else:
            schema_version, heads = _copy_sqlite(database, folder / SQLITE)
        copied = copy_files(settings.data, folder)
        manifest = Manifest(
            format=FORMAT,
            made_at=time_text(time.time_ns() // 1000) or "",
            version=VERSION,
            schema_version=schema_version,
            database=database.name,
            heads=heads,
            blobs=copied.blobs,
            logs=copied.logs,
            bytes=copied.bytes,
            damaged=copied.damaged,
        )
        (folder / PAGE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def manifest_of(folder: Path) -> Manifest:
    """Raises Refused."""
    try:
        manifest = msgspec.json.decode((folder / PAGE).read_bytes(), type=Manifest)
    except OSError as error:
        raise Refused(f"{folder} is no backup that can be read: {PAGE} in it: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise Refused(f"{folder} is no backup of this program: {PAGE} in it says something else ({error}).") from error
    if manifest.format != FORMAT:
        raise Refused(f"{folder} was made by a newer program ({manifest.version}): restore it with that one.")
    return manifest


def state_of(connection: Connection) -> tuple[str, dict[str, Head]]:
    """The version of the tables, and the head of each shard. Raises Refused where the database is not ours."""
    if not inspect(connection).has_table(VERSION_TABLE):
        raise Refused("There is nothing to back up: the database has none of our tables. Is --db right?")
    last = text(
        "SELECT shard, position, leaf FROM event"
        " WHERE (shard, position) IN (SELECT shard, max(position) FROM event GROUP BY shard)"
    )
    heads = {str(shard): Head(position, bytes(leaf).hex()) for shard, position, leaf in connection.execute(last)}
    return current(connection), heads


@contextmanager
def _folder(to: Path) -> Generator[Path]:
    """A folder beside `to`, which takes its place at the end; nothing of it stays when something goes wrong."""
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise Refused(f"{to} is there already: name a folder that is not, or is empty.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with workplace(to.parent, UNFINISHED) as folder:
            yield folder
            sync(folder)
            folder.rename(to)
    except (OSError, sqlite3.Error) as error:
        cure = f"see that there is room at {to.parent}, and the right to write, or name another place"
        raise Refused(f"The backup could not be written ({error}): {cure}.") from error


def _copy_sqlite(database: Dialect, target: Path) -> tuple[str, dict[str, Head]]:
    """By SQLite itself, as of one moment: writers go on meanwhile, and what they write does not come along."""
    with database.reading() as connection:
        found = state_of(connection)  # fixes the moment
        source = cast(sqlite3.Connection, connection.connection.driver_connection)
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    return found
