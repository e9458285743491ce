"""`foldline-server dev`: a server and two agents on this machine, which end together."""

import os
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import suppress
from importlib.util import find_spec

from api.commands.failures import Failed
from api.commands.place import settings_of
from api.commands.serve import serve
from api.reporting import report_to_stderr
from api.services import Services

# A second SIGTERM tells an agent not to wait for what it runs; then it gives each task its grace.
SECONDS_TO_DRAIN = 3
GRACE = 5
SECONDS_TO_LEAVE = 15


def run(asked: Namespace) -> int:
    report_to_stderr()
    if find_spec("foldline") is None:
        raise Failed("dev starts agents, which are in the package foldline: install it, pip install 'foldline[agent]'")
    if asked.slots < 1:
        raise Failed(f"an agent needs at least one slot, not {asked.slots}")
    agents = Agents(asked.slots)
    settings = settings_of(asked).model_copy(update={"host": "127.0.0.1"})
    return serve(settings, ready=agents.start, before_the_end=agents.end) or agents.exit_code


class Agents:
    """The agents as child processes, each in a session of its own: Ctrl-C reaches the server alone, which ends them."""

    def __init__(self, slots: int) -> None:
        self.exit_code = 0
        self._commands = (("-q", "default", "--slots", str(slots)), ("--services",))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, services: Services) -> None:
        address = services.settings.address
        environment = {**os.environ, "FOLDLINE_URL": address}
        environment.pop("FOLDLINE_SERVER_AUDIT_KEY", None)  # what agents run could sign a log of its own
        if services.tokens.needed():
            environment["FOLDLINE_TOKEN"] = services.admin_key
        for arguments in self._commands:
            # -P: a folder named foldline where we stand is not the package.
            command = [sys.executable, "-P", "-m", "foldline", "agent", "start", *arguments, "--grace", str(GRACE)]
            self._processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
        print(f"Foldline is ready at {address}, with an agent for 'default' and one for 'services'.", flush=True)
        print(f"Data in {services.settings.data}. Ctrl-C ends it all.", flush=True)

    def end(self) -> None:
        """Let the agents finish or stop what they run, and leave, while the server still listens."""
        for seconds in (SECONDS_TO_DRAIN, SECONDS_TO_LEAVE):
            for process in self._alive():
                process.terminate()
            self._wait(seconds)
        for process in self._alive():
            process.kill()
            self.exit_code = 1
        self._wait(SECONDS_TO_LEAVE)

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._processes if process.poll() is None]

    def _wait(self, seconds: float) -> None:
        """Until all have ended, `seconds` at most."""
        deadline = time.monotonic() + seconds
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
