"""Is the log what was written? Every event hashed again, the tree over all of them, and runs decided again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256
from time import perf_counter

from bench.fill import fill
from bench.line import Line, median
from bench.setting import Setting
from controller.verify import verify_run
from eventstore.audit.keys import Keyring
from eventstore.audit.seals import Seals
from eventstore.audit.verification import verify as verify_log
from eventstore.leaf import leaf_data, leaf_of
from eventstore.merkle import Frontier
from eventstore.sql import SqlStore, open_store
from eventstore.store import Recorded

MILLION = 1_000_000
MOST_RUNS = 100


def verify(setting: Setting) -> Iterator[Line]:
    """The whole store signed, then verified as `audit verify` does; hash and tree alone; runs decided again."""
    n = setting.size(MILLION, 3_000)
    keyring = Keyring(setting.fresh_folder() / "audit.key")
    for database in setting.databases[:1]:
        with closing(open_store(setting.fresh(database))) as store:
            size = fill(store, n)
            seals = Seals(store, keyring)
            seconds = _seconds(partial(_sign, seals))
            yield Line(case="sign", n=size, seconds=seconds, database=database)
            seconds = _seconds(partial(_verify, store, size))
            # Ten seconds a million: the tree is one more hash for each event, whatever their number.
            yield Line(case="verify", n=size, seconds=seconds, database=database, aims={"rate": MILLION / 10})
            yield _in_memory(setting, store.read(limit=min(n, 50_000)), database)
            yield _runs(store, database)


def _sign(seals: Seals) -> None:
    while seals.seal():
        pass


def _verify(store: SqlStore, size: int) -> None:
    """Raises ValueError when the log is not what was signed."""
    report = verify_log(store)
    if report.findings or report.signed != size:
        said = report.findings[0].said if report.findings else f"{report.signed} of {size} events are signed"
        raise ValueError(said)


def _hash(rows: Sequence[Recorded]) -> None:
    leaves = [leaf_of(row[:-1]) for row in rows]
    if leaves != [row.leaf for row in rows]:
        raise ValueError(f"an event between {rows[0].position} and {rows[-1].position} was changed")
    Frontier().extend(b"".join(leaves))


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _in_memory(setting: Setting, rows: Sequence[Recorded], database: str) -> Line:
    """Beside the hashes of bytes that are there already: one for the leaf and one for a node of the tree."""
    seconds = median([_seconds(partial(_hash, rows)) for _ in range(setting.rounds)])
    texts = [b"\x00" + leaf_data(row[:-1]) for row in rows]
    raw = _seconds(lambda: [sha256(b"\x01" + sha256(text).digest() * 2).digest() for text in texts])
    each, raw_each = seconds / len(rows) * 1e6, raw / len(rows) * 1e6
    return Line(
        case="hash and tree",
        n=len(rows),
        seconds=seconds,
        database=database,
        raw_rate=len(rows) / raw,
        aims={"event_us": 4.0},
        more={"event_us": each, "raw_event_us": raw_each},
    )


def _runs(store: SqlStore, database: str) -> Line:
    """Runs folded, decided and compared again, as `POST /runs/ID/verify` does it."""
    ids = [row.run_id for row in store.read(limit=50_000) if row.type == "RunCreated"][:MOST_RUNS]
    began = perf_counter()
    events = 0
    for run_id in ids:
        verified = verify_run(store, str(run_id))
        if not verified.ok:
            raise ValueError(verified.differences[0].message)
        events += verified.events
    return Line(case="verify runs", n=events, seconds=perf_counter() - began, database=database)
