"""The main job, shown whole: a server, two agents, the iris pipeline, and its history. Run by `make demo`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from check import best

from foldline.cli.output import show, took
from foldline.cli.run import RUNS, STEPS, replay_line
from foldline.cli.watch import follow
from foldline.client import Client

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = ROOT / ".foldline" / "demo"
BIN = Path(sys.executable).parent
SECONDS_TO_START, SECONDS_TO_END, SECONDS_FOR_THE_RUN = 20, 10, 120


class DemoFailed(Exception):
    """The demo did not show what it promises."""


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    started = time.monotonic()
    try:
        with ExitStack() as stack:
            show_all(stack)
    except KeyboardInterrupt:
        print("\ninterrupted; the server and the agents have been stopped", file=sys.stderr)
        return 130
    except DemoFailed as failed:
        print(f"\nthe demo failed: {failed}\nlogs are in {DATA.relative_to(ROOT)}", file=sys.stderr)
        return 1
    print(f"\nAll of this took {time.monotonic() - started:.1f} s.")
    return 0


def show_all(stack: ExitStack) -> None:
    say("A server on SQLite, an agent for the queue 'default', and one in services mode")
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    url = stack.enter_context(running_server())
    os.environ |= {"FOLDLINE_URL": url, "FOLDLINE_HOME": str(DATA / "agents")}
    client = stack.enter_context(Client())
    stack.enter_context(running("agent-default", BIN / "foldline", "agent", "start", "-q", "default", "--slots", "3"))
    stack.enter_context(running("agent-services", BIN / "foldline", "agent", "start", "--services"))
    wait_until(lambda: len([a for a in client.agents.list() if a["status"] == "online"]) == 2, "the agents to register")
    print(f"{url}, data in {DATA.relative_to(ROOT)}")

    say("Three scripts become template tasks")
    for script in ("stage_data.py", "stage_process.py", "train.py"):
        python(script)
    say("The pipeline is submitted; agents clone nothing, ask nothing: the log decides what runs next")
    python("pipeline.py")
    run_id = str(next(iter(client.runs.list(limit=1)))["id"])
    run = follow(client, run_id, SECONDS_FOR_THE_RUN)
    if run["status"] != "completed":
        raise DemoFailed(f"the run is {run['status']}: {run['reason']}")

    say("What happened")
    steps = list(client.runs.steps(run_id))
    show([run], RUNS, "table")
    show(steps, STEPS, "table")
    show_winner(client, steps)
    show_history(client, run)
    say("Look further")
    ways = {
        f"make dev ARGS='--data {DATA.relative_to(ROOT)}'": "this server and its data again, and beside it:",
        ".venv/bin/foldline run show @latest": "the run as it is",
        f".venv/bin/foldline run show {run_id[:8]}@12": "the run as of its 12th event",
        f".venv/bin/foldline run logs {run_id[:8]} 'train fair'": "what a step wrote",
        ".venv/bin/python examples/iris/pipeline.py": "another run",
    }
    for command, what in ways.items():
        print(f"{command:<52}{what}")


def show_winner(client: Client, steps: list[dict[str, Any]]) -> None:
    """The winner as the pipeline picked it, and as check.py finds it from the artifacts alone."""
    say("The winner")
    tasks = {step["name"]: client.tasks.get(step["task_id"]) for step in steps}
    winner = read_json(client, tasks["pick best"], "best")
    print(f"train {winner['name']}: accuracy {winner['accuracy']:.6f}, log loss {winner['log_loss']:.6f}")
    folder = DATA / "check"
    folder.mkdir()
    save = {"split.json": ("process data", "split")}
    save |= {f"model-{name[6:]}.json": (name, "model") for name in tasks if name.startswith("train ")}
    for file, (step, artifact) in save.items():
        (folder / file).write_text(json.dumps(read_json(client, tasks[step], artifact)))
    _, accuracy = best(folder)
    print(f"check.py, from the downloaded artifacts alone: accuracy {accuracy:.6f}")
    if accuracy != winner["accuracy"]:
        raise DemoFailed(f"the pipeline says {winner['accuracy']}, the artifacts say {accuracy}")


def show_history(client: Client, run: dict[str, Any]) -> None:
    say("The run replayed, event by event, from the log")
    for line in client.runs.replay(run["id"]):
        print(replay_line(line))
    middle = run["version"] // 2
    say(f"The run as it was at event {middle} of {run['version']}")
    then = client.runs.get(run["id"], at=middle)
    show([then], [column for column in RUNS if column[0] != "took"], "table")
    show(client.runs.steps(run["id"], at=middle), STEPS[:3], "table")
    say("Verified: folded again, decided again, compared")
    found = client.runs.verify(run["id"])
    if not found["ok"]:
        raise DemoFailed(f"verify found {found['differences'][:3]}")
    lasted = took(run["started_at"], run["ended_at"])
    print(f"{found['events']} events, {found['decisions']} decisions, nothing differs; the run took {lasted}")


def read_json(client: Client, task: dict[str, Any], artifact: str) -> Any:
    target = DATA / f"{task['id']}-{artifact}"
    client.blobs.get(task["artifacts"][artifact]["sha256"], target)
    return json.loads(target.read_text())


def python(script: str) -> None:
    done = subprocess.run([sys.executable, script], cwd=HERE, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"{script} ended with exit code {done.returncode}")


@contextmanager
def running_server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = f"sqlite:///{DATA / 'foldline.db'}"
    arguments = ("serve", "--db", database, "--data", DATA, "--host", "127.0.0.1", "--port", port)
    with running("server", BIN / "foldline-server", *arguments) as server:
        url = f"http://127.0.0.1:{port}"
        with Client(url) as client:
            wait_until(lambda: client.ready() or server.poll() is not None, "the server to be ready")
        if server.poll() is not None:
            raise DemoFailed(f"the server ended at once:\n{(DATA / 'server.log').read_text()}")
        yield url


@contextmanager
def running(name: str, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches this one alone, which then ends the others in order."""
    with (DATA / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {SECONDS_TO_START} s for {what}")
        time.sleep(0.05)


def say(heading: str) -> None:
    print(f"\n== {heading}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
