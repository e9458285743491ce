"""Programs that run on behalf of an attempt before it begins: uv, git. What they print goes to its log."""

import fcntl
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from foldline.agent.processes import signal_group
from foldline.agent.workspace import CannotRun

LOOK: Final = 0.1  # seconds between two looks at what is waited for
LAST_LINES: Final = 4
# uv draws a tree around what it has to say.
_FRAME: Final = re.compile(r"^[\s×╰─▶│├]+")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+@")


class Stopped(Exception):
    """The attempt was stopped while it was being prepared."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a program ended."""

    code: int
    text: str  # the last lines of its output

    def in_short(self) -> str:
        """The end of it in one line, for the reason of an attempt."""
        lines = [_FRAME.sub("", line) for line in self.text.splitlines()]
        return " / ".join(line for line in lines if line)[-400:] or f"exit code {self.code}"


@dataclass(frozen=True, slots=True)
class Tools:
    """Runs programs for one attempt."""

    output: Path  # the attempt's log
    environment: Mapping[str, str]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        patience: float,
        environment: Mapping[str, str] | None = None,
        lock: int | None = None,
    ) -> Said:
        """Run it to its end, at most `patience` seconds. Raises Stopped, and CannotRun when it takes longer.

        A `lock` is held by the program too: it stays taken for as long as the program lives, should the agent die.
        """
        began, last = time.monotonic(), deque[str](maxlen=LAST_LINES)
        with subprocess.Popen(
            command,
            cwd=cwd,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        ) as process:
            assert process.stdout is not None
            reader = threading.Thread(target=self._copy, args=(process.stdout, last), daemon=True)
            reader.start()
            while reader.is_alive():
                reader.join(LOOK)
                too_long = time.monotonic() - began > patience
                if reader.is_alive() and (too_long or self.stopping.is_set()):
                    signal_group(process.pid, signal.SIGKILL)
                    reader.join()
                    if self.stopping.is_set():
                        raise Stopped
                    raise CannotRun(f"{Path(command[0]).name} was given up after {patience:.0f} s")
        return Said(process.returncode, "\n".join(last))

    def say(self, line: str) -> None:
        """Add a line of the agent's own to the log."""
        with self.output.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def lock(self, path: Path, kind: int) -> int:
        """A descriptor that holds `path` locked, fcntl.LOCK_SH or LOCK_EX, until it is closed. Raises Stopped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        while not try_lock(descriptor, kind):
            if self.stopping.wait(LOOK):
                os.close(descriptor)
                raise Stopped
        return descriptor

    def _copy(self, said: IO[bytes], last: deque[str]) -> None:
        with self.output.open("ab") as log:
            for line in said:
                text = without_credentials(line.decode("utf-8", "replace"))
                log.write(text.encode())
                log.flush()
                if text.strip():
                    last.append(text.rstrip())


def try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def without_credentials(text: str) -> str:
    """`text` with the name and password taken out of each url."""
    return _CREDENTIALS.sub("", text)
