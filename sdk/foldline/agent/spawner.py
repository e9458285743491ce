"""The process that function steps are forked from: it has imported their module, and does nothing else.

`python -m foldline.agent.spawner <descriptor>` speaks lines of JSON over the socket it was given. In:
{"load": script, "root": folder, "output": file}, once; then {"start": id, "task", "log", "cwd", "env"} for each
attempt. Out: {"ready": true} or {"ready": false, "why"}; {"started": id, "pid"}; {"ended": id, "code"}, where a
negative code is the signal that killed the child. The end of the socket is the end of the spawner and its children.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from foldline.agent import child, forked
from foldline.agent.processes import signal_group
from foldline.running import load_function

Json = dict[str, Any]

# What every child needs of this package, imported once.
NEEDED: Final = ("httpx2", "foldline.client", "foldline.calling", "foldline.capture", "foldline.own_process")

# What the import printed is repeated at the head of each attempt's output, at most so much of it.
PRINTED: Final = 64 * 1024


class Spawner:
    """A single-threaded loop: a fork in a process with threads may copy a lock that nobody will ever release."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unread = b""
        self._children: dict[int, int] = {}
        self._root: Path | None = None
        self._printed = b""

    def serve(self) -> None:
        """Import what is to be imported, then fork until the agent hangs up."""
        first = next(self._orders(), None)
        if first is None or not self._load(first):
            return
        self._watch_children()
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._news, select.POLLIN)
        listening = True
        while listening:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._news.fileno() in ready:
                self._reap()
            if self._channel.fileno() in ready:
                listening = self._take_orders()
        for pid in self._children:
            signal_group(pid, signal.SIGKILL)

    def _load(self, order: Json) -> bool:
        """Import the module. False when the attempts had better have an interpreter each."""
        self._root = None if order["root"] is None else Path(order["root"])
        try:
            load_function(self._root, order["load"])
            for name in NEEDED:
                importlib.import_module(name)
        except BaseException as error:
            # In an interpreter of its own each attempt meets the error itself, and has it in its log.
            self._say({"ready": False, "why": f"the import failed: {type(error).__name__}: {error}"})
            return False
        if threading.active_count() > 1:
            self._say({"ready": False, "why": "the import started threads"})
            return False
        # What was imported stays for good; frozen, its pages are not copied by each child's collector.
        gc.collect()
        gc.freeze()
        with open(order["output"], "rb") as output:
            self._printed = output.read(PRINTED)
        self._say({"ready": True})
        return True

    def _watch_children(self) -> None:
        self._news, wake = socket.socketpair()
        self._news.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        self._theirs = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)

    def _take_orders(self) -> bool:
        """Start what the agent has asked for. False when it has hung up."""
        try:
            data = self._channel.recv(1 << 20)
        except ConnectionError:
            return False
        self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            self._start(json.loads(line))
        return bool(data)

    def _orders(self) -> Iterator[Json]:
        while data := self._channel.recv(1 << 16):
            self._unread += data
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                yield json.loads(line)

    def _start(self, order: Json) -> None:
        with warnings.catch_warnings():
            # Newer Pythons warn of threads that belong to libraries (BLAS), which are ready for a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._be_child(order)
        self._children[pid] = order["start"]
        self._say({"started": order["start"], "pid": pid})

    def _be_child(self, order: Json) -> NoReturn:
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self._theirs)
            for connection in (self._channel, self._news, self._wake):
                connection.close()
            forked.settle_in(order, self._printed)
            task = order["task"]
            code = forked.leave(child.run(lambda: load_function(self._root, task["script"]), task))
        except BaseException:
            traceback.print_exc()
        finally:
            # Never back into the loop above, which is the parent's.
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                if not self._news.recv(4096):
                    break
            except BlockingIOError:
                break
        for pid in list(self._children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            # Not reaped yet, the number cannot belong to anybody else's group when that is killed.
            signal_group(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._say({"ended": self._children.pop(pid), "code": os.waitstatus_to_exitcode(status)})

    def _say(self, line: Json) -> None:
        # If the agent is gone, the next read finds out.
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(json.dumps(line).encode() + b"\n")


def main() -> None:
    Spawner(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
