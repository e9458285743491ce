"""Processes and those they start: waiting for them, and ending them all."""

import contextlib
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import psutil


class Process(Protocol):
    """The process of one attempt, leader of its own group."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int:
        """Return when it has ended and its group is gone: its exit code, or minus the signal that killed it."""
        ...


class Started:
    """A process this one has started by exec, in a session of its own."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def wait(self) -> int:
        if hasattr(os, "waitid"):
            # Not reaped yet, the number cannot belong to anybody else's group when that is killed.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            signal_group(self.pid, signal.SIGKILL)
            return self._popen.wait()
        returncode = self._popen.wait()
        signal_group(self.pid, signal.SIGKILL)
        return returncode


def signal_group(leader: int, number: signal.Signals) -> bool:
    """Send a signal to the group of `leader`; False when there is no such group."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, when only a zombie is left
        return False
    return True


def end(leader: int, ended: threading.Event, grace: float) -> None:
    """SIGTERM to the group of `leader` and to descendants that left it; after `grace` seconds SIGKILL.

    Returns early when `ended` says that the leader is gone.
    """
    import psutil

    strangers = _descendants_elsewhere(leader)
    if ended.is_set():
        return
    if not signal_group(leader, signal.SIGTERM):
        # Forked a moment ago, it has not made its group yet.
        _signal(leader, signal.SIGTERM)
    for process in strangers:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    if not ended.wait(grace) and not signal_group(leader, signal.SIGKILL):
        _signal(leader, signal.SIGKILL)
    for process in strangers:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _descendants_elsewhere(leader: int) -> "list[psutil.Process]":
    import psutil  # the agent's alone: in a spawner it would be copied with every child

    try:
        return [child for child in psutil.Process(leader).children(recursive=True) if _group(child.pid) != leader]
    except psutil.Error:
        return []


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
