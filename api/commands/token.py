"""`foldline-server token create`: a bearer token, shown once."""

import sys
import time
from argparse import Namespace

from api.commands.holder import Holder
from api.commands.place import settings_of
from api.tokens import Tokens
from eventstore.errors import DatabaseInUse
from eventstore.sql import open_store


def run(asked: Namespace) -> int:
    settings = settings_of(asked)
    try:
        store = open_store(settings.url)
    except DatabaseInUse as busy:
        secret = str(Holder(settings, busy).post("/api/v1/admin/tokens", {"name": asked.name})["token"])
    else:
        try:
            secret = Tokens(store.database, clock=time.monotonic).create(asked.name, time.time_ns() // 1000)
        finally:
            store.close()
    print(
        f"The token of {asked.name!r}, shown this once; whoever uses the server sets FOLDLINE_TOKEN to it:",
        file=sys.stderr,
    )
    print(secret)
    return 0
