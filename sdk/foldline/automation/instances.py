"""Several calls of pipeline functions in one process: counted, run side by side, their results collected."""

import contextlib
import multiprocessing
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Protocol

from foldline import client, process
from foldline.artifacts import Artifact
from foldline.client import shared
from foldline.errors import FoldlineError


class Pending(Protocol):
    """A pipeline under way."""

    def result(self) -> Any:
        """What it returned, waited for. Raises FoldlineError when it has failed."""
        ...


class Instances:
    """What the calls of this process have to know of each other."""

    _calls: ClassVar[dict[str, int]] = {}
    _pending: ClassVar[list[Pending]] = []

    @classmethod
    def count(cls, pipeline: str) -> int:
        """How many calls of that pipeline this process has made before."""
        number = cls._calls.get(pipeline, 0)
        cls._calls[pipeline] = number + 1
        return number

    @classmethod
    def fork(cls, perform: Callable[[], Any]) -> None:
        """Perform it in a process of its own."""
        cls._pending.append(Forked(perform))

    @classmethod
    def submitted(cls, run_id: str, return_value: str | None) -> None:
        cls._pending.append(Submitted(run_id, return_value))

    @classmethod
    def results(cls) -> list[Any]:
        """Of all that were begun since the last time, in order. Raises FoldlineError for those that failed."""
        pending, cls._pending = cls._pending, []
        results: list[Any] = []
        failures: list[str] = []
        for one in pending:
            try:
                results.append(one.result())
            except FoldlineError as why:
                failures.append(str(why))
        if failures:
            raise FoldlineError("; ".join(failures))
        return results


class Submitted:
    """A run whose function an agent runs."""

    def __init__(self, run_id: str, return_value: str | None) -> None:
        self._run_id = run_id
        self._return_value = return_value

    def result(self) -> Any:
        run = shared().runs.wait(self._run_id)
        if run["status"] != "completed":
            raise FoldlineError(f"run {run['name']!r} ({run['id']}) is {run['status']}: {run['reason']}")
        found = shared().tasks.get(self._run_id)["artifacts"].get(self._return_value or "")
        return None if found is None else Artifact(found, shared()).get()


class Forked:
    """A run whose function a child of this process runs. The process does not end before its children."""

    def __init__(self, perform: Callable[[], Any]) -> None:
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        context = multiprocessing.get_context(method)
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_perform, args=(perform, sender))
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # The threads that newer Pythons warn of keep leases and send logs: the child has no use for them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        sender.close()

    def result(self) -> Any:
        said: tuple[bool, Any] = (False, "its process ended without a word")
        with contextlib.suppress(EOFError):
            said = self._receiver.recv()
        self._process.join()
        self._process.close()
        well, value = said
        if not well:
            raise FoldlineError(f"a pipeline that ran in parallel has failed: {value}")
        return value


def _perform(perform: Callable[[], Any], sender: "Connection[tuple[bool, Any], Any]") -> None:
    """In the child: a process that is no task yet, with connections of its own."""
    client._shared.clear()  # pyright: ignore[reportPrivateUsage]
    process.set_own_task(None)
    try:
        value = perform()
    except BaseException as error:
        sender.send((False, traceback.format_exception_only(error)[-1].strip()))
        raise
    sender.send((True, value))
