"""`foldline-server doctor`: how the server's parts are. Looks, and changes nothing."""

import json
import os
import platform
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path

from sqlalchemy import NullPool, create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from api.commands.failures import Failed, sentence_of
from api.commands.holder import Holder
from api.commands.place import settings_of
from api.doctor import examine
from api.findings import Finding, size
from api.settings import Settings
from api.version import VERSION
from eventstore.errors import CannotOpen, DatabaseInUse
from eventstore.filelock import holder_of
from eventstore.sql import open_store
from eventstore.store import StoreBroken, StoreUnavailable
from eventstore.versions import VERSION_TABLE

LITTLE_FREE, TOO_LITTLE_FREE = 1_000_000_000, 100_000_000  # bytes


def run(asked: Namespace) -> int:
    """0 when nothing fails, warnings included; else 1."""
    findings: list[Finding] = []
    for finding in look(settings_of(asked)):
        findings.append(finding)
        if not asked.json:
            _print(finding)
    well = all(finding.status != "fail" for finding in findings)
    if asked.json:
        print(json.dumps({"ok": well, "findings": [finding.row() for finding in findings]}))
    return 0 if well else 1


def _print(finding: Finding) -> None:
    print(f"{finding.status:<6} {finding.about}", flush=True)
    if finding.cure:
        print(f"       {finding.cure}", flush=True)


def look(settings: Settings) -> Iterator[Finding]:
    python, psycopg = platform.python_version(), version_of("psycopg")
    about = f"foldline-server {VERSION}, Python {python}, psycopg {psycopg}, {sys.platform}"
    yield Finding.of("versions", about)
    yield from _folder(settings.data)
    path = settings.sqlite_path if settings.url.startswith("sqlite") else None
    if path is not None:
        yield from _file(settings, path)
    elif _is_empty(settings.url):
        yield Finding.of("database", f"database {_shown(settings.url)}: none yet, `foldline-server serve` makes it")
    else:
        yield from _opened(settings)


def _folder(data: Path) -> Iterator[Finding]:
    there = _first_that_is(data)
    about = f"data folder {data}" + ("" if there == data else ", which the server will make")
    wrong = f"{there} cannot be written: give --data another folder, or mend its rights"
    yield Finding.of("data", about, fail="" if os.access(there, os.W_OK | os.X_OK) else wrong)
    for name, can in (("admin.key", "command this server"), ("audit.key", "sign the log in its name")):
        key = data / name
        if key.exists() and key.stat().st_mode & 0o077:
            cure = f"who reads it can {can}: chmod 600 {key}, and make a new one if somebody may have read it"
            yield Finding.of("key", f"{key} is not its owner's alone", warn=cure)
    yield _room(there)


def _first_that_is(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _room(there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    little = f"make room: less than {size(LITTLE_FREE)} is left for the log and the artifacts"
    full = f"make room: with less than {size(TOO_LITTLE_FREE)} left the server soon takes nothing"
    return Finding.of(
        "disk",
        f"disk: {size(free)} free",
        warn=little if free < LITTLE_FREE else "",
        fail=full if free < TOO_LITTLE_FREE else "",
    )


def _file(settings: Settings, path: Path) -> Iterator[Finding]:
    if not path.is_absolute():
        yield Finding.of("database", f"database {settings.url}", fail="write sqlite:////absolute/path/file.db")
        return
    there = _first_that_is(path.parent)
    if there.stat().st_dev != _first_that_is(settings.data).stat().st_dev:
        yield _room(there)
    if not path.exists() and (busy := holder_of(path)) is not None:
        cure = "put it back, or save what is there with `foldline-server backup` before that process ends"
        yield Finding.of("database", f"database {path} was removed under its server", fail=cure)
        yield from _held(settings, busy)
        return
    if not path.exists() or not path.stat().st_size:
        yield Finding.of("database", f"database {path}: none yet, `foldline-server serve` makes it")
        return
    yield Finding.of("database", f"database {path}: {size(path.stat().st_size)}")
    yield from _opened(settings)


def _opened(settings: Settings) -> Iterator[Finding]:
    try:
        store = open_store(settings.url)
    except DatabaseInUse as busy:
        yield from _held(settings, busy)
        return
    except (CannotOpen, StoreUnavailable) as error:
        yield Finding.of("database", f"database {_shown(settings.url)}", fail=sentence_of(error) or str(error))
        return
    try:
        if not store.database.shared:
            yield Finding.of("holder", "held by nobody")
        # Where nobody holds the file nobody follows: the projections catch up when a server starts.
        yield from examine(settings, store, followed=store.database.shared)
    except StoreBroken as error:
        yield Finding.of("database", f"database {_shown(settings.url)}", fail=sentence_of(error) or str(error))
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
        version = holder.get("/version")["version"]
    except Failed as failed:
        yield Finding.of("holder", about, fail=str(failed))
        return
    try:
        holder.get("/readyz")
        yield Finding.of("holder", f"{about}, is ready and has version {version}")
    except Failed as failed:
        yield Finding.of("holder", f"{about}, and has version {version}", fail=str(failed))
    try:
        yield from map(Finding.told, holder.get("/api/v1/admin/doctor")["items"])
    except Failed as failed:
        yield Finding.of("database", "what the server finds when it looks at its database", fail=str(failed))
