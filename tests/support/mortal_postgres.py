"""A PostgreSQL server that is stopped in the middle of everything, and started again on what it has left."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tests.support import throwaway_postgres as throwaway
from tests.support.leftovers import MARK
from tests.support.waiting import wait_until

# It ends with the test run, however that comes: then its standard input does.
LIFE = """
"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 </dev/null &
echo $!
read -r _
kill -QUIT $!
wait $!
"""


class MortalPostgres:
    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self.url = f"postgresql://postgres@/postgres?host={quote(str(folder))}"
        self._life: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> None:
        """Returns when it answers, having recovered what was committed."""
        self._life = self._popen("/bin/sh", "-c", LIFE, "sh", str(self._programs / "bin"), str(self._folder))
        assert self._life.stdout is not None
        self._pid = int(self._life.stdout.readline())
        wait_until(self._answers, "PostgreSQL to answer", 60)

    def kill(self) -> None:
        """An immediate stop: no session is ended in order, nothing is written any more."""
        os.kill(self._pid, signal.SIGQUIT)
        self.end()

    def end(self) -> None:
        if self._life is not None:
            assert self._life.stdin is not None
            assert self._life.stdout is not None
            self._life.stdin.close()
            self._life.stdout.close()
            self._life.wait(throwaway.STOP_SECONDS)
            self._life = None

    def make(self) -> None:
        """Make its files."""
        options = throwaway.initdb_options(self._folder, fsync=False)
        initdb = self._popen(str(self._programs / "bin" / "initdb"), f"--pgdata={self._folder / 'data'}", *options)
        said, _ = initdb.communicate(timeout=60)
        assert initdb.returncode == 0, said.decode()

    def _popen(self, *command: str) -> "subprocess.Popen[Any]":
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={"LC_ALL": "C", "PATH": os.defpath, MARK: os.environ.get(MARK, "")},
            start_new_session=True,
            **throwaway.as_user(),
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def mortal_postgres(programs: Path) -> Iterator[MortalPostgres]:
    """Running, on files that are thrown away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="fl-", dir=throwaway.place_for_sockets()))
    try:
        if os.geteuid() == 0:
            programs = throwaway.copied(programs, folder)
            throwaway.give_away(folder)
        server = MortalPostgres(programs, folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
