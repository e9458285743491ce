"""An agent of this machine for one run: started for it, watched, and ended with the process that started it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from foldline import process
from foldline.errors import FoldlineError

GRACE: Final = 20.0


class LocalAgent:
    """`with LocalAgent(queue, url):` runs an agent that listens to `queue` only.

    What its tasks print appears on our standard output. Between us and the agent stands a process that reads our pipe:
    however we end, it ends the agent.
    """

    def __init__(self, queue: str, url: str, slots: int = 4) -> None:
        self._command = [sys.executable, "-m", __name__, "-q", queue, "--slots", str(slots)]
        self._environment = {**process.environment_of_another(), "FOLDLINE_URL": url, process.ECHO: "1"}
        # The child finds this very package, installed or not.
        here = str(Path(__file__).parents[2])
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        # A session of its own: Ctrl-C in the terminal is ours to handle.
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()

    def check(self) -> None:
        """Raises FoldlineError, with its last words, when the agent has ended."""
        if (code := self._process.poll()) is not None:
            self._output.seek(0)
            said = self._output.read().decode(errors="replace").strip().splitlines()
            raise FoldlineError(f"the local agent ended with exit code {code}: {' / '.join(said[-3:]) or 'no output'}")


def main(arguments: list[str]) -> int:
    """Run `foldline agent start ARGUMENTS` until it ends, or until nobody holds our standard input any more."""
    command = [sys.executable, "-m", "foldline", "agent", "start", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as agent:

        def end_with_the_reader() -> None:
            sys.stdin.buffer.read()
            agent.terminate()

        threading.Thread(target=end_with_the_reader, daemon=True).start()
        return agent.wait()


if __name__ == "__main__":
    # Not sys.exit: a thread that waits for standard input keeps the interpreter from closing it.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code if code >= 0 else 1)
