"""The two ends of a forked child's life: as a new process would find the world, and as one would leave it."""

import atexit
import os
import sys
import threading
from typing import Any


def settle_in(order: dict[str, Any], printed: bytes) -> None:
    """Take on the attempt's output, folder and environment, and randomness of one's own."""
    output = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    if printed:  # to its reader the attempt is a whole run of the file, import included
        os.write(output, printed)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for name, value in order["env"].items():
        os.environ[name] = value
    os.chdir(order["cwd"])
    # Python reseeds `random` after a fork by itself; two attempts must not share numpy's numbers either.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()


def leave(code: int) -> int:
    """What the interpreter does before it ends: wait for threads, run exit handlers, flush. Returns the exit code.

    Short of its teardown, which takes longer than a small step. multiprocessing ends its children in the same way.
    """
    getattr(threading, "_shutdown")()
    getattr(atexit, "_run_exitfuncs")()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the disk is full, or the step closed it
            code = code or 1
    return code
