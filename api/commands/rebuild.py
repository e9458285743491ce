"""`foldline-server rebuild`: projections made anew from the log."""

from argparse import Namespace
from collections.abc import Callable
from urllib.parse import quote

from api.commands.failures import Failed
from api.commands.holder import Holder
from api.commands.place import settings_of
from eventstore.errors import DatabaseInUse
from eventstore.sql import open_store
from projections.all import PROJECTIONS
from projections.runner import RebuildFailed, Runner


def run(asked: Namespace) -> int:
    known = [one.name for one in PROJECTIONS]
    if unknown := [name for name in asked.projections if name not in known]:
        raise Failed(f"there is no projection {unknown[0]!r}: there are {', '.join(known)}")
    names = list(dict.fromkeys(asked.projections)) or known
    settings = settings_of(asked)
    try:
        store = open_store(settings.url)
    except DatabaseInUse as busy:
        holder = Holder(settings, busy)
        _each(names, lambda name: holder.post(f"/api/v1/projections/{quote(name)}/rebuild", {}, timeout=None))
        return 0
    try:
        _each(names, Runner(store).rebuild)
    finally:
        store.close()
    return 0


def _each(names: list[str], rebuild: Callable[[str], object]) -> None:
    for name in names:
        try:
            rebuild(name)
        except RebuildFailed as failed:
            raise Failed(str(failed)) from failed
        print(f"{name}: made anew", flush=True)
