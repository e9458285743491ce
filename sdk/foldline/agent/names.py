"""Names of agents. Each has a folder with a lock, so two agents of one host never share a name."""

import fcntl
import os
import socket
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from foldline.errors import FoldlineError


@dataclass(frozen=True, slots=True)
class Name:
    """A name that is ours for as long as the lock is held: until `release`, or until this process dies."""

    text: str
    folder: Path
    lock: int

    def release(self) -> None:
        os.close(self.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def claim(agents: Path, wanted: str | None = None) -> Name:
    """`wanted`, or the first free of `<hostname>:1`, `<hostname>:2`, ... Raises FoldlineError if `wanted` is taken.

    The locks are those of one home: agents of another on this machine are called `<hostname>-<its digest>:1`.
    """
    if wanted is not None:
        name = _take(agents, wanted)
        if name is None:
            raise FoldlineError(
                f"an agent named {wanted!r} runs on this machine already{_holder(agents, wanted)}; "
                "stop it, or start this one with another --name"
            )
        return name
    host = f"{socket.gethostname()}{_of_home(agents)}"
    return next(name for number in count(1) if (name := _take(agents, f"{host}:{number}")) is not None)


def _of_home(agents: Path) -> str:
    usual = Path("~/.foldline").expanduser().resolve() / "agents"
    return "" if agents.resolve() == usual else f"-{sha256(os.fsencode(agents.resolve())).hexdigest()[:6]}"


def _folder(agents: Path, text: str) -> Path:
    # A name may hold a slash or be "..", which a folder's name may not; and a colon ends an entry of PYTHONPATH.
    return agents / quote(text, safe=" @").replace(".", "%2E")


def _take(agents: Path, text: str) -> Name | None:
    folder = _folder(agents, text)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return Name(text, folder, lock)


def _holder(agents: Path, text: str) -> str:
    process = (_folder(agents, text) / "lock").read_text().strip()
    return f" (process {process})" if process else ""
