"""A writer for the storm tests, as it also runs in a process of its own."""

from contextlib import closing, suppress

from eventstore.sql import open_store
from eventstore.store import Append, NewEvent, Store

APPENDS = 25
EVENTS = APPENDS * 3


class Abort(Exception):
    """What a job raises to leave nothing."""


def write(store: Store, name: str) -> int:
    """75 events in 25 appends to streams and a run that all writers share, among many that are given up."""
    for number in range(APPENDS):
        for aborted in (True, False) if number % 3 == 0 else (False,):

            def job(batch: Append, number: int = number, aborted: bool = aborted) -> None:
                batch.add([NewEvent(stream=f"own-{name}", type="Happened", data="{}")])
                batch.add([NewEvent(stream=f"task-{number % 4}", type="Happened", data="{}", run_id="r1")] * 2)
                if aborted:
                    raise Abort

            with suppress(Abort):
                store.append(job).result(60)
    return APPENDS


def write_in_a_process(url: str, name: str) -> int:
    with closing(open_store(url)) as store:
        return write(store, name)
