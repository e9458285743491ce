"""Servers that end in the middle of what they do, as a test sees them from outside. See crash_server."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from tests.support.crash_server import END, Ask
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "sdk")])


class Crashed(Exception):
    """The server is gone, and nobody knows whether it did what it was asked."""


class Unavailable(Exception):
    """The server says that the database did not answer."""


class Failed(AssertionError):
    """The server met an error that it must not meet."""


class Forker:
    """The process that forks servers."""

    def __init__(self, folder: Path, orders: Connection) -> None:
        self._folder, self._orders, self._names = folder, orders, count()
        self._mutex = threading.Lock()

    def serve(self, url: str, crash_at: str | None = None, *, counts: bool = False) -> "CrashServer":
        address = str(self._folder / f"{next(self._names)}")
        return CrashServer(self, self.order(Ask(url, address, crash_at, counts)), address)

    def order(self, what: Any) -> int:
        with self._mutex:
            self._orders.send(what)
            return self._orders.recv()


class CrashServer:
    """A server. Each thread that asks has a connection of its own."""

    def __init__(self, forker: Forker, pid: int, address: str) -> None:
        self._forker, self._pid, self._address = forker, pid, address
        self._connections = threading.local()

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer. Raises Crashed, Unavailable, and Failed."""
        try:
            connection = self._connection()
            connection.send((name, arguments))
            outcome, value = connection.recv()
        except (EOFError, OSError) as error:
            raise Crashed from error
        if outcome == "unavailable":
            raise Unavailable(value)
        if outcome != "done":
            raise Failed(f"{name} {arguments}: {outcome}: {value}")
        return value

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        return self._forker.order(self._pid)

    def end(self) -> int:
        connection = self._connection()
        connection.send((END, ()))
        return self.ended()

    def _connection(self) -> Connection:
        if not hasattr(self._connections, "mine"):
            self._connections.mine = Client(self._address, "AF_UNIX")
        return self._connections.mine


@contextmanager
def forking() -> Iterator[Forker]:
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        address = str(Path(folder) / "orders")
        # Not by -m: what is sent to and fro has to be of the module by its own name.
        code = f"from tests.support.crash_server import main; main({address!r})"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": PATHS})
        try:
            with connected(address, process) as orders:
                yield Forker(Path(folder), orders)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait(30)


def connected(address: str, process: "subprocess.Popen[bytes]") -> Connection:
    """A connection to who is about to listen: the address is there a moment before anybody hears."""
    found: list[Connection] = []

    def listens() -> bool:
        assert process.poll() is None, "the forking process has ended"
        try:
            found.append(Client(address, "AF_UNIX"))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True

    wait_until(listens, "the forking process listens")
    return found[0]
