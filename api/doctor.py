"""How an open database is: asked by whoever holds it, the server or the command. Looks, and changes nothing."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from sqlalchemy import inspect

from api.findings import Finding, size
from api.settings import Settings
from eventstore.audit.tree import StoredTree
from eventstore.sql import SqlStore
from eventstore.sqlite import Sqlite
from eventstore.versions import REVISIONS
from projections import checkpoints, tables

LARGEST_WAL = 1024**3  # bytes
MOST_BEHIND = 60  # seconds
LONGEST_SNAPSHOT = 60  # seconds
CLOCKS_DIFFER = 1.0  # seconds
LONGEST_LOOK = 5.0  # seconds, at the pages of the file: who asks a server for its findings waits
STEPS_BETWEEN = 100_000  # of SQLite's own machine, between two looks at the clock
LOOKS, BETWEEN_LOOKS = 5, 0.25  # for a reader that stays: times, seconds

# https://www.sqlite.org/wal.html#walresetbug
WAL_RESET_SINCE, WAL_RESET_MENDED = (3, 7, 0), (3, 51, 3)


def examine(
    settings: Settings,
    store: SqlStore,
    *,
    followed: bool,
    unsigned: str | None = None,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Finding]:
    """`followed`: projections should be up to date, because a server follows. `unsigned`: why a server does not sign.

    `clock`: seconds since 1970.
    """
    yield from _database(settings, store, pause)
    yield Finding.of("schema", f"schema version {REVISIONS[-1]}")
    heads = store.heads(store.shards)
    yield Finding.of("log", f"log: {sum(heads.values()):,} events")
    yield _audit(store, heads, unsigned)
    yield _clock(store, heads, clock)
    yield from _projections(store, followed, clock)


def _database(settings: Settings, store: SqlStore, pause: Callable[[float], None]) -> Iterator[Finding]:
    if isinstance(store.database, Sqlite):
        yield sqlite_version(sqlite3.sqlite_version)
        yield _pages(store.database)
        yield _wal(settings)
        yield _reader(store.database, pause)
    else:
        yield from _postgresql(store)


def sqlite_version(version: str) -> Finding:
    numbers = tuple(map(int, version.split(".")))
    faulty = WAL_RESET_SINCE <= numbers < WAL_RESET_MENDED
    said = (
        "it has the WAL-reset fault, which damages a file that two connections write to or checkpoint at once; this "
        "server does that with one alone: keep other programs from writing to the file, or use SQLite 3.51.3"
    )
    return Finding.of("sqlite", f"SQLite {version}", warn=said if faulty else "")


def _wal(settings: Settings) -> Finding:
    path = settings.sqlite_path
    assert path is not None
    wal = path.with_name(f"{path.name}-wal")
    count = wal.stat().st_size if wal.exists() else 0
    grown = "" if count < LARGEST_WAL else "a reader has kept it from being emptied: restart the server"
    return Finding.of("wal", f"write-ahead log: {size(count)}", fail=grown)


def _pages(database: Sqlite, seconds: float = LONGEST_LOOK) -> Finding:
    """Whether the file is what SQLite has written, as far as that can be seen in so many seconds."""
    with database.reading() as connection:
        raw = cast(sqlite3.Connection, connection.connection.driver_connection)
        until = time.monotonic() + seconds
        raw.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN)
        try:
            [(said, *_), *_] = raw.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            said = str(error)
        finally:
            raw.set_progress_handler(None, 0)
    if said == "interrupted":
        return Finding.of("pages", f"pages of the file: nothing wrong in the first {seconds:g} s of looking")
    cure = "stop the server and put a backup back; `audit verify` tells whether the log is whole"
    return Finding.of("pages", "pages of the file", fail="" if said == "ok" else f"{said.splitlines()[-1]}: {cure}")


def _reader(database: Sqlite, pause: Callable[[float], None]) -> Finding:
    """Whether a reader keeps its view of the database for so long that the write-ahead log cannot be emptied."""
    first, moved = database.checkpoint()
    pages = first
    for _ in range(LOOKS):
        # Shorter than it was: it has been begun anew since, which no reader has kept it from.
        if moved >= first or pages < first:
            return Finding.of("snapshot", "oldest snapshot: nobody keeps one")
        pause(BETWEEN_LOOKS)
        pages, moved = database.checkpoint()
    seconds = LOOKS * BETWEEN_LOOKS
    return Finding.of(
        "snapshot",
        f"oldest snapshot: kept for over {seconds:g} s; {first - moved:,} pages of the write-ahead log wait for it",
        warn="end the program that reads the file, or restart the server: until then the log only grows",
    )


_OLDEST = """
    SELECT pid, usename, application_name, state,
           coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float AS seconds,
           age(backend_xmin) AS transactions
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)
     ORDER BY xact_start NULLS LAST LIMIT 1
"""
_CONNECTIONS = """
    SELECT count(*), current_setting('max_connections')::int
      FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"


def _postgresql(store: SqlStore) -> Iterator[Finding]:
    with store.database.reading() as connection:
        version: Any = connection.exec_driver_sql("SHOW server_version").scalar()
        settings = {str(name): str(value) for name, value in connection.exec_driver_sql(_SETTINGS)}
        oldest = connection.exec_driver_sql(_OLDEST).mappings().first()
        used, most = connection.exec_driver_sql(_CONNECTIONS).one()
    yield Finding.of("postgresql", f"PostgreSQL {version}")
    full = "a server takes up to 40 when it is busy: raise max_connections" if used > 0.9 * most else ""
    yield Finding.of("connections", f"connections: {used} of {most}", warn=full)
    off = sorted(name for name, value in settings.items() if value == "off")
    yield Finding.of(
        "durability",
        "durability: " + ("a commit waits for the disk" if not off else f"{', '.join(off)} is off"),
        warn="what was acknowledged can be lost with the power: turn it on" if off else "",
    )
    if oldest is None:
        yield Finding.of("snapshot", "oldest snapshot: nobody keeps one")
        return
    long = float(oldest["seconds"]) > LONGEST_SNAPSHOT
    who = f"{oldest['usename']} ({oldest['application_name'] or 'unnamed'}, {oldest['state']})"
    age = "" if oldest["transactions"] is None else f", {oldest['transactions']:,} transactions"
    yield Finding.of(
        "snapshot",
        f"oldest snapshot: {oldest['seconds']:.0f} s{age}, process {oldest['pid']} of {who}",
        warn="rows that changed since cannot be tidied away, and claims become slower: end it, or SELECT "
        f"pg_terminate_backend({oldest['pid']})"
        if long
        else "",
    )


def _audit(store: SqlStore, heads: dict[int, int], unsigned: str | None) -> Finding:
    tree = StoredTree(store.database)
    count = sum(max(head - tree.signed(shard), 0) for shard, head in heads.items())
    return Finding.of("audit", f"audit: {count:,} events are not signed yet", fail=unsigned or "")


def _clock(store: SqlStore, heads: dict[int, int], clock: Callable[[], float]) -> Finding:
    """Against the database's, and against the log, whose time never goes back."""
    ours = clock()
    if store.database.shared:
        with store.database.reading() as connection:
            found: Any = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float").scalar()
        if abs(found - ours) > CLOCKS_DIFFER:
            return Finding.of(
                "clock",
                f"clock: the database's is {abs(found - ours):.1f} s {'ahead of' if found > ours else 'behind'} ours",
                warn="leases go by the database's, and what people see by both: let both machines follow a time server",
            )
        ours = found
    ahead = max((_last(store, shard, head) - ours for shard, head in heads.items() if head), default=0.0)
    wrong = (
        f"it was set back: new events get the last one's time for {ahead:.0f} s more" if ahead > CLOCKS_DIFFER else ""
    )
    about = "clock: " + (f"the log is {ahead:.0f} s ahead of it" if wrong else "as it should be")
    return Finding.of("clock", about, warn=wrong)


def _last(store: SqlStore, shard: int, head: int) -> float:
    """When the last event of the shard was recorded, in seconds since 1970."""
    return store.read(after=head - 1, limit=1, shard=shard)[0].recorded_at / 1e6


def _projections(store: SqlStore, followed: bool, clock: Callable[[], float]) -> Iterator[Finding]:
    """From their checkpoints alone: to start one would change it."""
    with store.database.reading() as connection:
        found = checkpoints.of(connection) if inspect(connection).has_table(tables.projection.name) else []
    heads = store.heads(store.shards)
    for one in found:
        seconds = _age_of_next(store, one.shard, one.position, clock()) if followed else 0.0
        yield _projection(one.name, max(heads.get(one.shard, 0) - one.position, 0), seconds, one.error)


def _age_of_next(store: SqlStore, shard: int, position: int, now: float) -> float:
    """Seconds since the first event that is not taken in was recorded."""
    after = store.read(after=position, limit=1, shard=shard)
    return max(now - after[0].recorded_at / 1e6, 0.0) if after else 0.0


def _projection(name: str, events: int, seconds: float, error: str | None) -> Finding:
    if error:
        cure = f"{error}; run `foldline-server rebuild {name}`, with the newest version of this program"
    elif seconds > MOST_BEHIND:
        cure = f"it is {seconds:.0f} s behind: see whether the server is busy, and whether its log says why"
    else:
        cure = ""
    behind = "up to date" if not events else f"{events:,} events behind"
    return Finding.of("projection", f"projection {name}: {behind}", fail=cure)
