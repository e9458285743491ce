"""`foldline agent`: run tasks on this machine, and see who else does."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from foldline.cli.connection import connected
from foldline.cli.output import Column, Format, show, when

app = App(name="agent", help="Start an agent on this machine, or list agents.")

AGENTS: list[Column] = [
    ("id", lambda agent: agent["id"]),
    ("name", lambda agent: agent["name"]),
    ("status", lambda agent: agent["status"]),
    ("queues", lambda agent: agent["queues"]),
    ("slots", lambda agent: f"{agent['running']}/{agent['slots']}"),
    ("host", lambda agent: agent["host"]),
    ("last seen", lambda agent: when(agent["last_seen_at"])),
]


@app.command
def start(
    *,
    queue: Annotated[list[str] | None, Parameter(name=["--queue", "-q"])] = None,
    slots: int | None = None,
    services: bool = False,
    name: str | None = None,
    grace: float = 10,
    home: Path | None = None,
    docker: bool = False,
) -> int:
    """Take tasks from queues and run them here, until SIGTERM or Ctrl-C: then finish what runs, and leave.

    Parameters
    ----------
    queue
        A queue to listen to, the most urgent first; may be given several times. Default: default, or services with
        --services.
    slots
        How many tasks at once; 1 by default, 20 with --services.
    services
        For many light tasks that mostly wait.
    name
        The agent's name; HOST:N by default, with the first N that is free.
    grace
        Seconds that a task has to end by itself when it is stopped.
    home
        Where to keep what is not delivered yet, and caches. Default: FOLDLINE_HOME, else ~/.foldline.
    docker
        Run tasks that name a container in it, by the docker command.
    """
    from foldline.agent.agent import AgentOptions, run

    options = AgentOptions(
        queues=queue or (), slots=slots, services=services, name=name, home=home, grace=grace, docker=docker
    )
    return run(options)


@app.command
def ls(*, output: Format = "table") -> None:
    """List agents."""
    with connected() as client:
        show(client.agents.list(), AGENTS, output)
