"""`foldline queue`: what one does with queues."""

from cyclopts import App

from foldline.cli.connection import connected
from foldline.cli.output import Column, Format, show, show_one, when

app = App(name="queue", help="List and create queues.")

QUEUES: list[Column] = [
    ("name", lambda queue: queue["name"]),
    ("length", lambda queue: queue["length"]),
    ("agents", lambda queue: queue["agents"]),
    ("oldest", lambda queue: when(queue["oldest_enqueued_at"])),
    ("created", lambda queue: when(queue["created_at"])),
]


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
