"""The process that function steps are forked from: it has imported their module, and does nothing else.

`python -m foldline.agent.spawner <descriptor>` speaks lines of JSON over the socket it was given. In:
{"load": script, "root": folder, "output": file}, once; then {"start": id, "task", "log", "cwd", "env"} for each
attempt. Out: {"ready": true} or {"ready": false, "why"}; {"started": id, "pid", "at"}; {"ended": id, "code"}, where a
negative code is the signal that killed the child. The end of the socket is the end of the spawner and its children.
"""

import contextlib
import gc
import importlib
import json
import marshal
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from foldline.agent import child, forked
from foldline.agent.processes import signal_group
from foldline.client import Client
from foldline.own_process import save_work_on_terminate
from foldline.running import load_function
from foldline.transport import PATIENCE_IN_A_TASK

Json = dict[str, Any]

# What every child needs beside this file's own imports, imported once.
NEEDED: Final = ("http.client", "httpx2", "foldline.calling", "foldline.capture")

# What the import printed is repeated at the head of each attempt's output, at most so much of it.
PRINTED: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Spare:
    """A child that waits for its order at the other end of a pipe, and ends when the pipe does."""

    pid: int
    mouth: int

    def take(self, order: Json) -> bool:
        """Give it its order. False when it is not there any more."""
        data = marshal.dumps(order)
        try:
            while data:
                data = data[os.write(self.mouth, data) :]
        except BrokenPipeError:
            os.waitpid(self.pid, 0)
            return False
        finally:
            self.dismiss()
        return True

    def dismiss(self) -> None:
        os.close(self.mouth)


class Spawner:
    """A single-threaded loop: a fork in a process with threads may copy a lock that nobody will ever release.

    One child is always forked ahead, the spare, which waits for its order: so the fork is no part of a step's wait.
    What can be done before a fork is done here: each page that a child writes to, be it a count of references, is
    copied first, and that is most of what a small step costs.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unread = b""
        self._children: dict[int, int] = {}
        self._spare: Spare | None = None
        self._root: Path | None = None
        self._functions: dict[str, Callable[..., Any]] = {}
        self._client = Client(patience=PATIENCE_IN_A_TASK)
        self._printed = b""

    def serve(self) -> None:
        """Import what is to be imported, then fork until the agent hangs up."""
        first = next(self._orders(), None)
        if first is None or not self._load(first):
            return
        self._watch_children()
        save_work_on_terminate()  # for the children; here it ends the loop
        # Newer Pythons warn of threads that belong to libraries (BLAS), which are ready for a fork.
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        try:
            while self._heed():
                pass
        finally:
            for pid in self._children:
                signal_group(pid, signal.SIGKILL)

    def _heed(self) -> bool:
        """Wait for orders and for the ends of children. False when the agent has hung up."""
        if self._spare is None:
            self._spare = self._fork_spare()
        ready = {descriptor for descriptor, _ in self._poll.poll()}
        if self._news.fileno() in ready:
            self._reap()
        return self._channel.fileno() not in ready or self._take_orders()

    def _load(self, order: Json) -> bool:
        """Import the module. False when the attempts had better have an interpreter each."""
        self._root = None if order["root"] is None else Path(order["root"])
        try:
            self._function(order["load"])
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
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._news, select.POLLIN)

    def _take_orders(self) -> bool:
        """Start what the agent has asked for. False when it has hung up."""
        try:
            data = self._channel.recv(1 << 20)
        except ConnectionError:
            return False
        self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            self._start(line)
        return bool(data)

    def _orders(self) -> Iterator[Json]:
        while data := self._channel.recv(1 << 16):
            self._unread += data
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                yield json.loads(line)

    def _start(self, line: bytes) -> None:
        order = json.loads(line)
        spare, self._spare = self._spare, None
        pid = spare.pid if spare is not None and spare.take(order) else self._fork(lambda: self._be_child(order))
        self._children[pid] = order["start"]
        self._say({"started": order["start"], "pid": pid, "at": time.time()})
        with contextlib.suppress(Exception):  # which the child meets itself
            self._function(order["task"]["script"])  # for the children after this one

    def _fork_spare(self) -> "Spare":
        ears, mouth = os.pipe()

        def wait_for_an_order() -> None:
            os.close(mouth)
            with open(ears, "rb") as orders:
                order = orders.read()
            if order:
                self._be_child(marshal.loads(order))

        pid = self._fork(wait_for_an_order)
        os.close(ears)
        return Spare(pid, mouth)

    def _fork(self, be: Callable[[], object]) -> int:
        """A child, leader of its own group, that is nothing else: its process id."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self._theirs)
            for connection in (self._channel, self._news, self._wake):
                connection.close()
            be()
        except BaseException:
            traceback.print_exc()
        finally:
            # Never back into the loop above, which is the parent's.
            os._exit(1)

    def _be_child(self, order: Json) -> NoReturn:
        code = 1
        try:
            forked.settle_in(order, self._printed)
            task = order["task"]
            code = forked.leave(child.run(lambda: self._function(task["script"]), task, self._client))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _function(self, script: Json) -> Callable[..., Any]:
        """The script's function. All that a spawner is asked for are of one file, which is imported once."""
        name = str(script["function"])
        if name not in self._functions:
            self._functions[name] = load_function(self._root, script)
        return self._functions[name]

    def _reap(self) -> None:
        while True:
            try:
                if not self._news.recv(4096):
                    break
            except BlockingIOError:
                break
        if self._spare is not None and os.waitpid(self._spare.pid, os.WNOHANG)[0]:
            self._spare.dismiss()
            self._spare = None
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
