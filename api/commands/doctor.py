"""`foldline-server doctor`: how the server's parts are. Looks, and changes nothing."""

import os
import platform
import shutil
import sqlite3
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import NullPool, create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from api.commands.failures import Failed, sentence_of
from api.commands.holder import Holder
from api.commands.place import settings_of
from api.settings import Settings
from api.version import VERSION
from eventstore.errors import CannotOpen, DatabaseInUse
from eventstore.sql import SqlStore, open_store
from eventstore.store import StoreUnavailable
from eventstore.versions import REVISIONS, VERSION_TABLE
from projections import checkpoints, tables

LEAST_FREE = 1024**3  # bytes
LARGEST_WAL = 1024**3  # bytes
MOST_BEHIND = 60  # seconds


class Finding(NamedTuple):
    """What was looked at, and what is wrong with it, with the cure; empty when it is well."""

    about: str
    wrong: str = ""


def run(asked: Namespace) -> int:
    findings = look(settings_of(asked))
    sick = False
    for finding in findings:
        print(f"{'wrong' if finding.wrong else 'ok':<6} {finding.about}", flush=True)
        if finding.wrong:
            sick = True
            print(f"       {finding.wrong}", flush=True)
    return 1 if sick else 0


def look(settings: Settings) -> Iterator[Finding]:
    yield Finding(f"foldline-server {VERSION} on Python {platform.python_version()}, {sys.platform}")
    yield from _folder(settings.data)
    if settings.url.startswith("sqlite"):
        yield from _sqlite(settings)
    elif _is_empty(settings.url):
        yield Finding(f"database {_shown(settings.url)}: none yet, `foldline-server serve` makes it")
    else:
        yield from _opened(settings)


def _folder(data: Path) -> Iterator[Finding]:
    there = data
    while not there.exists():
        there = there.parent
    about = f"data folder {data}" + ("" if there == data else ", which the server will make")
    may_write = os.access(there, os.W_OK | os.X_OK)
    yield Finding(
        about, "" if may_write else f"{there} cannot be written: give --data another folder, or mend its rights"
    )
    free = shutil.disk_usage(there).free
    full = "" if free >= LEAST_FREE else "make room: less than 1 GB is left for the log and the artifacts"
    yield Finding(f"disk: {_size(free)} free", full)


def _sqlite(settings: Settings) -> Iterator[Finding]:
    yield Finding(f"SQLite {sqlite3.sqlite_version}")
    path = Path(make_url(settings.url).database or "")
    if not path.is_absolute():
        yield Finding(f"database {settings.url}", "write sqlite:////absolute/path/file.db")
        return
    if not path.exists() or not path.stat().st_size:
        yield Finding(f"database {path}: none yet, `foldline-server serve` makes it")
        return
    yield Finding(f"database {path}: {_size(path.stat().st_size)}")
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    grown = "" if size < LARGEST_WAL else "a reader has kept it from being emptied: restart the server"
    yield Finding(f"write-ahead log: {_size(size)}", grown)
    yield from _opened(settings)


def _opened(settings: Settings) -> Iterator[Finding]:
    try:
        store = open_store(settings.url)
    except DatabaseInUse as busy:
        yield from _held(settings, busy)
        return
    except (CannotOpen, StoreUnavailable) as error:
        yield Finding(f"database {_shown(settings.url)}", sentence_of(error) or "")
        return
    try:
        if store.database.shared:
            yield Finding(f"PostgreSQL {_postgresql_version(store)}")
        else:
            yield Finding("held by nobody")
        yield Finding(f"schema version {REVISIONS[-1]}")
        yield Finding(f"log: {store.head():,} events")
        yield from _projections(store)
    finally:
        store.close()


def _is_empty(url: str) -> bool:
    """Whether this is a PostgreSQL database without our tables, which opening it as a store would make."""
    try:
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
        with engine.connect() as connection:
            return not inspect(connection).has_table(VERSION_TABLE)
    except SQLAlchemyError:
        return False  # to open it says better what is wrong


def _shown(url: str) -> str:
    """The address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def _held(settings: Settings, busy: DatabaseInUse) -> Iterator[Finding]:
    """Ask the server that holds the file."""
    holder = Holder(settings, busy)
    about = f"held by process {busy.pid}" + (f", which serves {holder.address}" if holder.address else "")
    try:
        versions = holder.get("/version")
        holder.get("/readyz")
        projections = holder.get("/api/v1/projections")["items"]
    except Failed as failed:
        yield Finding(about, str(failed))
        return
    yield Finding(f"{about}, is ready and has version {versions['version']}")
    yield Finding(f"schema version {versions['schema_version']}")
    for one in projections:
        yield _projection(one["name"], one["lag_events"], one["lag_seconds"], one["error"])


def _projection(name: str, events: int, seconds: float, error: str | None) -> Finding:
    if error:
        cure = f"{error}; run `foldline-server rebuild {name}`, with the newest version of this program"
    elif seconds > MOST_BEHIND:
        cure = f"it is {seconds:.0f} s behind: see whether the server is busy, and whether its log says why"
    else:
        cure = ""
    return Finding(f"projection {name}: " + ("up to date" if not events else f"{events:,} events behind"), cure)


def _projections(store: SqlStore) -> Iterator[Finding]:
    """From their checkpoints alone: to start one would change it."""
    with store.database.reading() as connection:
        found = checkpoints.of(connection) if inspect(connection).has_table(tables.projection.name) else []
    head = store.head()
    for one in found:
        # Where nobody holds the file nobody follows: they catch up when a server starts.
        behind = _age_of_next(store, one.position) if store.database.shared else 0.0
        yield _projection(one.name, max(head - one.position, 0), behind, one.error)


def _age_of_next(store: SqlStore, position: int) -> float:
    """Seconds since the first event that is not taken in was recorded."""
    after = store.read(after=position, limit=1)
    return max(time.time() - after[0].recorded_at / 1e6, 0.0) if after else 0.0


def _postgresql_version(store: SqlStore) -> str:
    with store.database.reading() as connection:
        found: Any = connection.exec_driver_sql("SHOW server_version").scalar()
    return str(found)


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
