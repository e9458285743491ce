"""No test run leaves a process behind: those still alive at its end are named, ended, and fail the run."""

import os
from collections.abc import Iterator
from uuid import uuid4

import psutil
import pytest

# Inherited by all that a test starts, so that a process is found even when its parent has died before it.
MARK = "FOLDLINE_TEST_RUN"
GRACE_SECONDS = 2


@pytest.fixture(scope="session", autouse=True)
def _no_process_stays() -> Iterator[None]:
    """Set up before every other fixture of the session, hence the last to be torn down."""
    run = os.environ[MARK] = uuid4().hex
    yield
    _, alive = psutil.wait_procs(_started_in(run), timeout=GRACE_SECONDS)
    if not alive:
        return
    named = "\n".join(_described(process) for process in alive)
    _end(alive)
    pytest.fail(f"processes that tests left behind (ended now):\n{named}", pytrace=False)


def _started_in(run: str) -> list[psutil.Process]:
    here = psutil.Process()
    children = {process.pid for process in here.children(recursive=True)}
    return [
        process
        for process in psutil.process_iter()
        if process.pid != here.pid
        and (process.pid in children or _environment(process).get(MARK) == run)
        and _is_a_program(process)
    ]


def _is_a_program(process: psutil.Process) -> bool:
    """Not one that has ended and was not waited for, nor the helper that multiprocessing ends with the interpreter."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and not any(
            "multiprocessing.resource_tracker" in argument for argument in process.cmdline()
        )
    except psutil.Error:
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _described(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())[:200]
    except psutil.Error:
        command = "?"
    test = _environment(process).get("PYTEST_CURRENT_TEST", "an unknown test")
    return f"  {process.pid} {command!r}, started by {test}"


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=GRACE_SECONDS)
