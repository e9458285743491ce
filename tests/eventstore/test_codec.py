"""Values as JSON text and back, through the schemas that a type has had."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

from eventstore.codec import Codec, digest, encode
from eventstore.store import StoreBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    agent: str
    slots: int = 1
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    reason: str


def named(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 called the agent a worker."""
    return {**data, "agent": data["worker"]}


def without_worker(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "worker"}


CODEC = Codec({"Started": Started, "Ended": Ended}, {("Started", 1): named, ("Started", 2): without_worker})


def test_an_event_comes_back():
    event = Started(agent="ä \u2713", slots=2, labels={"b": "1", "a": "2"})
    assert CODEC.decode(*CODEC.encode(event)) == event


def test_the_schema_is_one_more_than_the_upcasts():
    assert CODEC.encode(Started(agent="a"))[:2] == ("Started", 3)
    assert CODEC.encode(Ended(reason="done"))[:2] == ("Ended", 1)


def test_equal_values_have_the_same_text():
    assert encode({"b": 1, "a": {"d": 2, "c": 3}}) == encode({"a": {"c": 3, "d": 2}, "b": 1})
    assert encode(Started(agent="a")) == '{"agent":"a","labels":null,"slots":1}'


def test_old_data_is_brought_up_to_date_step_by_step():
    assert CODEC.decode("Started", 1, '{"worker":"w1"}') == Started(agent="w1")
    assert CODEC.decode("Started", 2, '{"worker":"w1","agent":"w1","slots":4}') == Started(agent="w1", slots=4)


def test_a_field_that_came_later_has_its_default():
    assert CODEC.decode("Started", 3, '{"agent":"a"}') == Started(agent="a", slots=1, labels=None)


@pytest.mark.parametrize(
    ("name", "schema", "data", "says"),
    [
        ("Unheard", 1, "{}", "Unheard"),
        ("Started", 4, '{"agent":"a"}', "Started has schema 4"),
        ("Started", 3, '{"slots":1}', "Started of schema 3"),
        ("Started", 3, '{"agent":5}', "Started of schema 3"),
        ("Ended", 1, "no json", "Ended of schema 1"),
    ],
)
def test_what_cannot_be_read_stops_the_reader(name: str, schema: int, data: str, says: str):
    with pytest.raises(StoreBroken, match=says):
        CODEC.decode(name, schema, data)


def test_a_digest_is_the_sha256_of_the_text():
    assert digest("ä") == sha256("ä".encode()).hexdigest()
