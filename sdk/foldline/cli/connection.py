"""The command line's connection: it tells soon that a server is not there, and bears with one that restarts."""

from foldline.client import Client

SECONDS_TO_ANSWER = 5.0
SECONDS_WHILE_WATCHING = 120.0


def connected(*, patience: float = SECONDS_TO_ANSWER) -> Client:
    """A client that asks a server which is away for up to `patience` seconds."""
    return Client(patience=patience)
