"""`foldline-server backup`: a copy of everything, also while a server works."""

import json
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import make_url

from api.backup import back_up
from api.commands.failures import Failed
from api.commands.holder import Holder
from api.commands.place import settings_of
from api.findings import size
from api.settings import Settings
from eventstore.dialects import Dialect
from eventstore.errors import DatabaseInUse
from eventstore.filelock import holder_of
from eventstore.sqlite import Sqlite


def run(asked: Namespace) -> int:
    """1 where artifacts are damaged, although the backup is made: somebody should look."""
    settings, to = settings_of(asked), asked.to.absolute()
    made = _made(settings, to)
    if asked.json:
        print(json.dumps(made))
    else:
        events = sum(head["position"] for head in made["heads"].values())
        print(f"{to}: {events:,} events, {made['blobs']:,} artifacts, {made['logs']:,} logs, {size(made['bytes'])}")
    if made["damaged"]:
        listed = ", ".join(made["damaged"])
        raise Failed(f"the backup is made, but these artifacts were damaged before: {listed}")
    return 0


def _made(settings: Settings, to: Path) -> dict[str, Any]:
    """What was copied, as the manifest says it."""
    try:
        database = _opened(settings)
    except DatabaseInUse as busy:
        return Holder(settings, busy).post("/api/v1/admin/backup", {"to": str(to)}, timeout=None)
    with closing(database):
        return msgspec.to_builtins(back_up(settings, database, to))


def _opened(settings: Settings) -> Dialect:
    """The database, whichever version its tables have: before they are changed is a good moment for a backup."""
    if not settings.url.startswith("sqlite"):
        from eventstore.postgresql import Postgresql  # brings its driver

        return Postgresql(make_url(settings.url), 1)
    path = settings.sqlite_path
    if path is None or not path.exists():
        # Whose file was removed has it open, and all that is in it, until he ends.
        if path is not None and (busy := holder_of(path)) is not None:
            raise busy
        raise Failed(f"there is no database at {path or settings.url}: is --db or --data right?")
    return Sqlite(path, "")
