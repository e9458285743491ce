"""A queue: a name that tasks wait under and agents listen to."""

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain.refused import Invalid


class QueueCreated(Struct, frozen=True, kw_only=True, gc=False):
    name: str


class QueuePaused(Struct, frozen=True, kw_only=True, gc=False):
    """Nothing is handed out from it until it is resumed."""

    actor: str = ""
    reason: str = ""


class QueueResumed(Struct, frozen=True, kw_only=True, gc=False):
    actor: str = ""
    reason: str = ""


QueueEvent = QueueCreated | QueuePaused | QueueResumed


class Queue(Struct, frozen=True, kw_only=True, gc=False):
    name: str
    version: int = 0
    created_at: int | None = None
    paused: QueuePaused | None = None
    paused_at: int | None = None


def create(name: str, queue: Queue) -> Sequence[QueueCreated]:
    """The event that makes the queue; none when it is there. Raises Invalid."""
    if not name.strip() or len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise Invalid("A queue's name has 1 to 200 characters, none of them a control character.", "name")
    return [] if queue.version else [QueueCreated(name=name)]


def pause(queue: Queue, actor: str, reason: str) -> Sequence[QueuePaused]:
    return [] if queue.paused else [QueuePaused(actor=actor, reason=reason)]


def resume(queue: Queue, actor: str, reason: str) -> Sequence[QueueResumed]:
    return [QueueResumed(actor=actor, reason=reason)] if queue.paused else []


def evolve(queue: Queue, event: QueueEvent, at: int) -> Queue:
    version = queue.version + 1
    match event:
        case QueueCreated():
            return replace(queue, version=version, created_at=at)
        case QueuePaused():
            return replace(queue, version=version, paused=event, paused_at=at)
        case QueueResumed():
            return replace(queue, version=version, paused=None, paused_at=None)
        case _:
            assert_never(event)
