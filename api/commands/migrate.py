"""`foldline-server migrate`: the tables of the log, in the version of this program."""

from argparse import Namespace

from api.commands.failures import Failed
from api.commands.holder import Holder
from api.commands.place import settings_of
from eventstore.errors import DatabaseInUse
from eventstore.sql import migrate
from eventstore.versions import REVISIONS


def run(asked: Namespace) -> int:
    settings = settings_of(asked)
    try:
        before, after = migrate(settings.url)
    except DatabaseInUse as busy:
        held = Holder(settings, busy).get("/version")
        if held["schema_version"] != REVISIONS[-1]:
            raise Failed(f"{busy}; it is an older program, and the tables can only change when it has ended") from busy
        before = after = held["schema_version"]
    if before is None:
        print(f"The database is new: its tables are made, version {after}.")
    elif before == after:
        print(f"Nothing to do: the tables have version {after}.")
    else:
        print(f"The tables had version {before} and have version {after} now.")
    return 0
