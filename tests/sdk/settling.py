"""Lists wait by themselves for the writes of one's own client only; what another has written is waited for here."""

from foldline.automation import trigger_feed
from foldline.client import Client


class Onlooker(Client):
    """Its lists have all that anybody has written until they are asked for."""

    @property
    def position(self) -> str:
        return trigger_feed.head(self)


def settle(client: Client) -> None:
    """Wait until the lists of tasks and runs know what has happened, whoever did it."""
    head = trigger_feed.head(client)
    for what in ("tasks", "runs"):
        trigger_feed.catch_up(client, what, head)
