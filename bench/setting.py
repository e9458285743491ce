"""Where the cases run: a folder and databases of their own, how much of each, and the peers beside them."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier

from bench.peer import Peers
from tests.support.throwaway_postgres import throwaway_postgres, wheel_programs

ROOT = Path(__file__).resolve().parents[1]
SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass
class Setting:
    """`n` replaces the size of each case; `quick` makes them small, to see that they work."""

    folder: Path
    databases: Sequence[str] = (SQLITE, POSTGRESQL)
    quick: bool = False
    n: int | None = None
    peers: Peers = field(default_factory=Peers)
    _stack: ExitStack = field(default_factory=ExitStack)
    _names: Iterator[int] = field(default_factory=count)
    _server: str | None = None

    @property
    def rounds(self) -> int:
        """How often a case is measured that does not take long; the middle round counts."""
        return 1 if self.quick else 3

    def size(self, usual: int, quick: int) -> int:
        return self.n if self.n is not None else quick if self.quick else usual

    def fresh(self, database: str) -> str:
        """The address of an empty database, with full durability."""
        name = f"bench_{next(self._names)}"
        if database == SQLITE:
            return f"sqlite:///{self.folder / name}.db"
        with psycopg.connect(self._postgres(), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return urlunsplit(urlsplit(self._postgres())._replace(path=f"/{name}"))

    def fresh_folder(self) -> Path:
        folder = self.folder / f"data_{next(self._names)}"
        folder.mkdir()
        return folder

    def close(self) -> None:
        self._stack.close()

    def _postgres(self) -> str:
        """The server that TEST_POSTGRES_URL names, else one from the wheel, started when it is first needed."""
        if self._server is None:
            self._server = os.environ.get("TEST_POSTGRES_URL") or self._stack.enter_context(_own_postgres())
        return self._server


@contextmanager
def _own_postgres() -> Iterator[str]:
    programs = wheel_programs()
    if programs is None:
        raise SystemExit("There is no PostgreSQL: run `make setup`, or set TEST_POSTGRES_URL.")
    with throwaway_postgres(programs, fsync=True) as url:
        try:
            yield url
        finally:
            # It has half a minute to end, in which it may not get all that was written to the disk.
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")


@contextmanager
def setting_in(place: Path | None = None, **chosen: Any) -> Iterator[Setting]:
    """A setting whose files lie in a new folder in `place`, or in the system's folder for such, until its end."""
    folder = Path(tempfile.mkdtemp(prefix="foldline-bench-", dir=place)).resolve()
    setting = Setting(folder, **chosen)
    try:
        yield setting
    finally:
        setting.close()
        shutil.rmtree(folder, ignore_errors=True)
