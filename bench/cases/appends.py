"""The store alone: many writers, each of which waits for its event to be durable before it sends the next."""

import time
from collections.abc import Iterator

from bench.line import Line, median, middle
from bench.raw import EVENT, group_commit, together
from bench.setting import POSTGRESQL, SQLITE, Setting
from controller.formats import CODEC
from domain.ids import derived, task_stream
from domain.task import TaskEdited
from eventstore.sql import SqlStore, open_store
from eventstore.store import NewEvent
from eventstore.store import append as plain_append

AIMS = {
    (SQLITE, 8): 10_000,
    (SQLITE, 64): 15_000,
    (POSTGRESQL, 8): 5_000,
    (POSTGRESQL, 64): 12_000,
}
PER_STREAM = 10
KIND, SCHEMA, DATA = CODEC.encode(TaskEdited(runtime={"note": EVENT}))


def append(setting: Setting) -> Iterator[Line]:
    """Ordered append by 8 and by 64 waiting writers, an event each time, each writer on streams of its own."""
    for clients in (8, 64):
        n = setting.size(clients * 1_250 if clients == 8 else 32_000, clients * 5)
        for database in setting.databases:
            raw = median([group_commit(setting, database, n, clients) for _ in range(setting.rounds)])
            line = middle([appended(setting.fresh(database), database, n, clients) for _ in range(setting.rounds)])
            peers = (
                setting.peers.rates(
                    "with_eventsourcing", "append", setting.fresh(database), min(n, 2_000), clients=clients
                )
                if setting.peers.python
                else {}
            )
            yield Line(
                case=f"append by {clients}",
                n=line.n,
                seconds=line.seconds,
                database=database,
                times=line.times,
                clients=clients,
                raw_rate=raw,
                peers=peers,
                aims={"rate": AIMS[database, clients]},
            )


def appended(url: str, database: str, n: int, clients: int) -> Line:
    """`n` events by so many writers, on a store that is opened for it."""
    store = open_store(url)
    try:
        return written(store, database, n, clients, prefix="bench")
    finally:
        store.close()


def written(store: SqlStore, database: str, n: int, clients: int, *, prefix: str) -> Line:
    times: list[float] = []

    def write(writer: int) -> None:
        for number in range(n // clients):
            stream = task_stream(derived(prefix, writer, number // PER_STREAM))
            event = NewEvent(stream=stream, type=KIND, schema=SCHEMA, data=DATA)
            began = time.perf_counter()
            plain_append(store, [event]).result()
            times.append(time.perf_counter() - began)

    seconds = together([lambda writer=writer: write(writer) for writer in range(clients)])
    return Line(case="append", n=len(times), seconds=seconds, database=database, times=times, clients=clients)
