"""The log is read for ever: a full example of every event, in every schema that was ever written.

Files are added here, never edited. When a test fails, the program has changed the format: give it a new schema version
with an upcast in domain/events.py, and a file beside the old one.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from domain.events import TYPES, UPCASTS, Event
from eventstore.codec import Codec
from eventstore.store import StoreBroken

CODEC = Codec(TYPES, UPCASTS)
SCHEMAS = {name: 1 + sum(1 for kind, _ in UPCASTS if kind == name) for name in TYPES}
FILES = {path.stem: path for path in Path(__file__).parent.glob("*.json")}
NEWEST = [f"{name}.v{schema}" for name, schema in SCHEMAS.items()]


def read(stem: str) -> tuple[str, int, str]:
    """(type, schema, data) of a file."""
    name, _, schema = stem.rpartition(".v")
    return name, int(schema), FILES[stem].read_text(encoding="utf-8")


def pretty(data: str) -> str:
    """The JSON text `data` as the files hold it."""
    return json.dumps(json.loads(data), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def default_of(field: FieldInfo) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def left_at_default(value: Any, where: str) -> list[str]:
    """The fields of a struct, and of those inside it, that an example says nothing about."""
    found: list[str] = []
    for field in fields(value):
        inner = getattr(value, field.name)
        if inner == default_of(field) or inner is None:
            found.append(f"{where}.{field.name}")
        elif isinstance(inner, Struct):
            found += left_at_default(inner, f"{where}.{field.name}")
    return found


def test_every_schema_of_every_event_has_a_file_and_every_file_an_event():
    wanted = {f"{name}.v{schema}" for name, newest in SCHEMAS.items() for schema in range(1, newest + 1)}
    assert set(FILES) == wanted


def test_every_event_has_the_name_of_its_class_and_none_is_forgotten():
    assert {kind.__name__: kind for kind in get_args(Event)} == TYPES


@pytest.mark.parametrize("stem", sorted(FILES))
def test_every_example_ever_written_can_be_read_and_written_again(stem):
    event = CODEC.decode(*read(stem))
    assert CODEC.decode(*CODEC.encode(event)) == event


@pytest.mark.parametrize("stem", sorted(NEWEST))
def test_what_is_written_today_is_what_the_newest_example_says(stem):
    name, schema, data = read(stem)
    written = CODEC.encode(CODEC.decode(name, schema, data))
    assert written[:2] == (name, schema)
    assert pretty(written[2]) == data


@pytest.mark.parametrize("stem", sorted(NEWEST))
def test_the_newest_example_says_something_about_every_field(stem):
    assert left_at_default(CODEC.decode(*read(stem)), stem) == []


@pytest.mark.parametrize("stem", sorted(NEWEST))
def test_the_text_is_the_same_for_equal_events(stem):
    """It is hashed: sorted keys, no spaces, letters as they are."""
    _, _, data = CODEC.encode(CODEC.decode(*read(stem)))
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def has_required_fields(kind: type[Struct]) -> bool:
    return any(field.required for field in fields(kind))


@pytest.mark.parametrize("name", [name for name, kind in TYPES.items() if has_required_fields(kind)])
def test_an_event_without_a_field_that_it_must_have_is_not_read(name):
    schema = SCHEMAS[name]
    with pytest.raises(StoreBroken, match=f"{name} of schema {schema} cannot be read"):
        CODEC.decode(name, schema, "{}")


def test_an_upcast_leads_from_each_older_schema_to_the_next():
    for name, schema in UPCASTS:
        assert name in TYPES
        assert 1 <= schema < SCHEMAS[name]
