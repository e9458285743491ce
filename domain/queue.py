"""A queue: a name that tasks wait under and agents listen to."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.changed import replace
from domain.refused import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCreated:
    name: str


QueueEvent = QueueCreated


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    name: str
    version: int = 0
    created_at: int | None = None


def create(name: str, queue: Queue) -> Sequence[QueueCreated]:
    """The event that makes the queue; none when it is there. Raises Invalid."""
    if not name.strip() or len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise Invalid("A queue's name has 1 to 200 characters, none of them a control character.", "name")
    return [] if queue.version else [QueueCreated(name=name)]


def evolve(queue: Queue, event: QueueEvent, at: int) -> Queue:
    return replace(queue, version=queue.version + 1, created_at=at)
