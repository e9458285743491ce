"""A real server and real agents as processes, for tests that kill them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldline.client import Client
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class House:
    """One server over one database, and agents. Everything that was started is ended by `close`."""

    def __init__(self, folder: Path, database: str | None = None, *, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.database = database or f"sqlite:///{self.data / 'foldline.db'}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FOLDLINE")},
            "FOLDLINE_URL": self.url,
            "FOLDLINE_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")]),
            **(env or {}),
        }
        self.client = Client(self.url)
        self.server: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "House":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def serve(self, *more: str) -> None:
        """Start the server and wait until it is ready."""
        command = ["serve", "--db", self.database, "--data", str(self.data), "--port", str(self.port), *more]
        self.server = self.python("server", "-m", "api", *command)
        server = self.server
        wait_until(lambda: self.client.ready() or server.poll() is not None, "the server to be ready")
        assert server.poll() is None, self.log("server")

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def stop_server(self) -> int:
        """SIGTERM; its exit code."""
        assert self.server is not None
        self.server.terminate()
        return self.server.wait(15)

    def agent(self, *arguments: str, url: str | None = None) -> subprocess.Popen[bytes]:
        env = {"FOLDLINE_URL": url} if url else {}
        return self.python("agent", "-m", "foldline", "agent", "start", *arguments, env=env)

    def python(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A Python process in a session of its own, its output in `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.env, **(env or {})},
                cwd=self.folder,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def run_python(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A Python process to its end, with its output."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def submit(self, *steps: Mapping[str, Any], name: str = "pipeline", **more: Any) -> dict[str, Any]:
        parameters = more.pop("parameters", None)
        definition = {"name": name, "project": "tests", "default_queue": "default", "steps": list(steps), **more}
        return self.client.runs.submit(definition, parameters=parameters)

    def wait(self, run_id: str, timeout: float = 60) -> dict[str, Any]:
        return self.client.runs.wait(run_id, timeout)

    def steps(self, run_id: str) -> dict[str, dict[str, Any]]:
        return {step["name"]: step for step in self.client.runs.steps(run_id)}

    def close(self) -> None:
        """End all. An agent drains at the first SIGTERM; the second, seconds later, ends what still runs."""
        self.client.close()
        for patience in (3, 10):
            running = [process for process in self._processes if process.poll() is None]
            for process in running:
                process.terminate()
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def script(code: str, **more: Any) -> dict[str, Any]:
    """An inline template that runs `code`."""
    return {"script": {"entry_point": "step.py", "diff": code}, **more}


def step(name: str, code: str = "pass", *, parents: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    return {"name": name, "parents": list(parents), "task": script(code), **more}
