"""`foldline queue`: what one does with queues."""

from cyclopts import App

from foldline.cli.connection import connected
from foldline.cli.output import Column, Format, Json, show, show_one, when

app = App(name="queue", help="List, create, pause and resume queues.")

QUEUES: list[Column] = [
    ("name", lambda queue: queue["name"]),
    ("length", lambda queue: queue["length"]),
    ("agents", lambda queue: queue["agents"]),
    ("oldest", lambda queue: when(queue["oldest_enqueued_at"])),
    ("created", lambda queue: when(queue["created_at"])),
    ("paused", lambda queue: paused(queue["paused"])),
]


def paused(pause: Json | None) -> str:
    if pause is None:
        return ""
    said = f": {pause['reason']}" if pause["reason"] else ""
    return f"since {when(pause['since'])} by {pause['actor']}{said}"


@app.command
def ls(*, output: Format = "table") -> None:
    """List queues: how many tasks wait, how many agents listen."""
    with connected() as client:
        show(client.queues.list(), QUEUES, output, identity="name")


@app.command
def create(name: str, *, output: Format = "table") -> None:
    """Create a queue; harmless when it is there."""
    with connected() as client:
        show_one(client.queues.create(name), QUEUES, output, identity="name")


@app.command
def pause(name: str, *, reason: str = "", output: Format = "table") -> None:
    """Hand nothing out from a queue until it is resumed; what runs goes on."""
    with connected() as client:
        show_one(client.queues.pause(name, reason), QUEUES, output, identity="name")


@app.command
def resume(name: str, *, reason: str = "", output: Format = "table") -> None:
    """Hand out again what waits in a queue."""
    with connected() as client:
        show_one(client.queues.resume(name, reason), QUEUES, output, identity="name")
