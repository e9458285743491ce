"""A queue is made once, under a name that people can write."""

import pytest

from domain.queue import Queue, QueueCreated, create, evolve
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
