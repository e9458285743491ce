"""A backup put back where nothing is: copied, checked event by event, and only then left where a server finds it."""

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import inspect, make_url

from api import backup_postgresql
from api.backup import POSTGRESQL, SQLITE, Manifest, manifest_of
from api.backup_files import Copied, blobs_of, copy_files, logs_of, sync, workplace
from api.settings import Settings
from domain.refused import Refused
from eventstore.audit.verification import verify
from eventstore.dialects import Dialect
from eventstore.sql import SqlStore, address_of, migrate, open_store
from eventstore.versions import REVISIONS
from projections.all import PROJECTIONS
from projections.runner import Runner

UNFINISHED = ".restore-"  # how the names of folders begin in which something is being put back


def restore(settings: Settings, source: Path) -> tuple[Manifest, Copied]:
    """Put the backup in `source` into an empty database and data folder; what came of the files.

    Raises Refused, CannotOpen, StoreUnavailable; then nothing is there that was not before, except that a dump which
    turned out to be damaged stays in its PostgreSQL database.
    """
    manifest = manifest_of(source)
    _check_kind(settings, manifest)
    _check_no_database(settings)
    _check_no_files(settings.data)
    put_back = _to_sqlite if manifest.database == "sqlite" else _to_postgresql
    try:
        with _files(settings.data, source, manifest) as copied:
            put_back(settings, source, manifest)
    except OSError as error:
        raise Refused(f"The backup could not be put back ({error}): see that there is room, and the right.") from error
    return manifest, copied


def _check_kind(settings: Settings, manifest: Manifest) -> None:
    kind = "sqlite" if settings.url.startswith("sqlite") else "postgresql"
    if manifest.database != kind:
        raise Refused(f"The backup is of {manifest.database}, and cannot be put into {kind}: give another --db.")
    if manifest.schema_version not in REVISIONS:
        raise Refused(f"The backup was made by a newer program ({manifest.version}): upgrade this one.")


def _check_no_database(settings: Settings) -> None:
    if not settings.url.startswith("sqlite"):
        with closing(_postgresql(settings.url)) as database, database.reading() as connection:
            if taken := inspect(connection).get_table_names():
                raise Refused(f"The database has a table {taken[0]!r} already: make an empty one, with createdb.")
        return
    path = settings.sqlite_path
    if path is None or not path.is_absolute():
        raise Refused(f"{settings.url} names no file: write sqlite:////absolute/path/file.db.")
    if path.exists() and path.stat().st_size:
        raise Refused(f"{path} is there already: give --db another file, or move it away.")


def _check_no_files(data: Path) -> None:
    if any(blobs_of(data)) or any(logs_of(data)):
        raise Refused(f"{data} holds artifacts or logs already: give --data an empty folder, or move it away.")


@contextmanager
def _files(data: Path, source: Path, manifest: Manifest) -> Generator[Copied]:
    """Artifacts and logs, in their place while what is inside puts the database there, and gone again if it fails.

    In this order: where a restore was killed, there may be files without a database, which nobody takes for a whole.
    """
    data.mkdir(parents=True, exist_ok=True)
    with workplace(data, UNFINISHED) as folder:
        copied = copy_files(source, folder)
        if (copied.blobs, copied.logs) != (manifest.blobs, manifest.logs):
            had = f"{manifest.blobs:,} artifacts and {manifest.logs:,} logs"
            raise Refused(f"The backup is not whole: it had {had}, and has {copied.blobs:,} and {copied.logs:,}.")
        sync(folder)
        placed = [data / part.name for part in folder.iterdir()]
        try:
            for place in placed:
                # There are no files in it, which was looked at before.
                shutil.rmtree(place, ignore_errors=True)
                (folder / place.name).rename(place)
            yield copied
        except BaseException:
            for place in placed:
                shutil.rmtree(place, ignore_errors=True)
            raise


def _to_sqlite(settings: Settings, source: Path, manifest: Manifest) -> None:
    path = settings.sqlite_path
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is known to be good: a server finds it whole or not at all.
    with workplace(path.parent, UNFINISHED) as folder:
        copy = folder / path.name
        shutil.copyfile(source / SQLITE, copy)
        _check_file(copy)
        _check_log(address_of(copy), manifest)
        sync(folder)
        copy.rename(path)


def _check_file(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection:
            [(said, *_), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said != "ok":
        raise Refused(f"The backup's database is damaged ({said}): use another backup.")


def _to_postgresql(settings: Settings, source: Path, manifest: Manifest) -> None:
    with closing(_postgresql(settings.url)) as database:
        with database.reading() as connection:
            server = backup_postgresql.server_version(connection)
        backup_postgresql.restore(settings.url, server, source / POSTGRESQL)
    _check_log(settings.url, manifest)


def _postgresql(url: str) -> Dialect:
    from eventstore.postgresql import Postgresql  # brings its driver

    return Postgresql(make_url(url), 1)


def _check_log(url: str, manifest: Manifest) -> None:
    """The log against itself and against what was written down when it was copied; then the projections, anew."""
    migrate(url)
    with closing(open_store(url, shards=_shards(manifest))) as store:
        if wrong := verify(store).findings:
            more = f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
            raise Refused(f"The backup's log is damaged: {wrong[0].place}: {wrong[0].said}{more}. Use another backup.")
        for shard in range(store.shards):
            _check_head(store, shard, manifest)
        runner = Runner(store)
        for projection in PROJECTIONS:
            runner.rebuild(projection.name)


def _shards(manifest: Manifest) -> int:
    return max(map(int, manifest.heads), default=0) + 1


def _check_head(store: SqlStore, shard: int, manifest: Manifest) -> None:
    head = store.head(shard=shard)
    known = manifest.heads.get(str(shard))
    if head != (known.position if known else 0):
        raise Refused(f"The backup's log is damaged: shard {shard} ends at event {head}, not at the last one it had.")
    if known and store.read(after=head - 1, limit=1, shard=shard)[0].leaf.hex() != known.leaf:
        raise Refused(f"The backup's log is damaged: the last event of shard {shard} is another one.")
