"""Processes that outlived their attempt in a group of their own, found by the marks in their environment."""

import contextlib
import time
from collections.abc import Container
from typing import Final

import psutil

Key = tuple[str, int]

# A process this young may not have come from fork to exec yet, and then still shows its parent's environment.
YOUNG: Final = 1.0


class Strays:
    """Ends what carries the mark of one of `sessions` and belongs to no attempt that runs."""

    def __init__(self, *sessions: str) -> None:
        self._sessions = sessions
        self._known: set[int] = set()
        self._ours: dict[int, tuple[psutil.Process, Key]] = {}

    def sweep(self, running: Container[Key] = ()) -> list[int]:
        """Kill the strays of today. Returns their process ids."""
        present = set(psutil.pids())
        young = {pid for pid in present - self._known if self._look_at(pid)}
        self._known = present - young
        return [pid for pid, (process, key) in list(self._ours.items()) if self._ended(pid, process, key, running)]

    def _look_at(self, pid: int) -> bool:
        """Remember `pid` if it is one of ours. Whether it is too young to be sure."""
        try:
            process = psutil.Process(pid)
            mark = _mark(process.environ())
            if mark is not None and mark[0] in self._sessions:
                self._ours[pid] = (process, mark[1])
                return False
            return time.time() - process.create_time() < YOUNG
        except (psutil.Error, OSError):
            return False  # gone, or somebody else's

    def _ended(self, pid: int, process: psutil.Process, key: Key, running: Container[Key]) -> bool:
        if process.is_running() and key in running:
            return False
        del self._ours[pid]
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                return True
        return False


def _mark(environment: dict[str, str]) -> tuple[str, Key] | None:
    """The session and the attempt that a process belongs to. Spawners have none: they belong to the agent."""
    session, task = environment.get("FOLDLINE_SESSION"), environment.get("FOLDLINE_TASK_ID")
    number = environment.get("FOLDLINE_ATTEMPT", "")
    if not session or not task or not number.isdigit():
        return None
    return session, (task, int(number))
