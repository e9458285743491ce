"""A queue is made once, under a name that people can write."""

import pytest

from domain.queue import Queue, QueueCreated, QueuePaused, QueueResumed, create, evolve, pause, resume
from domain.refused import Invalid


def test_a_queue_is_created_once():
    created = create("gpu", Queue(name="gpu"))
    assert created == [QueueCreated(name="gpu")]
    queue = evolve(Queue(name="gpu"), created[0], 7)
    assert queue == Queue(name="gpu", version=1, created_at=7)
    assert create("gpu", queue) == []


@pytest.mark.parametrize("name", ["default", "a", "größe 4", "x" * 200, "a/b", "'quoted'"])
def test_a_name_may_be_any_text(name):
    assert create(name, Queue(name=name)) == [QueueCreated(name=name)]


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\nb", "a\x00b", "\t"])
def test_a_name_that_cannot_be_written_is_invalid(name):
    with pytest.raises(Invalid, match="1 to 200 characters") as invalid:
        create(name, Queue(name=name))
    assert invalid.value.where == "name"


QUEUE = evolve(Queue(name="gpu"), QueueCreated(name="gpu"), 7)
PAUSED = QueuePaused(actor="ana", reason="maintenance")


def test_a_queue_is_paused_once_and_says_by_whom_and_since_when():
    assert pause(QUEUE, "ana", "maintenance") == [PAUSED]
    queue = evolve(QUEUE, PAUSED, 9)
    assert (queue.paused, queue.paused_at, queue.version) == (PAUSED, 9, 2)
    assert pause(queue, "ben", "again") == []


def test_a_queue_is_resumed_when_it_is_paused():
    assert resume(QUEUE, "ana", "") == []
    queue = evolve(QUEUE, PAUSED, 9)
    assert resume(queue, "ben", "done") == [QueueResumed(actor="ben", reason="done")]
    queue = evolve(queue, QueueResumed(actor="ben", reason="done"), 11)
    assert (queue.paused, queue.paused_at, queue.version) == (None, None, 3)
