"""docs/events.md has a heading for every event, and under it every field by its name."""

import re
from pathlib import Path

import pytest

from domain.events import TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def listed(section: str) -> list[str]:
    """The fields that a section's list introduces: the names in code before the colon of each item."""
    items = re.findall(r"^- ((?:.|\n(?!-))*?): ", section, re.MULTILINE)
    return [name for item in items for name in re.findall(r"`(\w+)`", item)]


def test_every_event_has_one_heading_and_every_heading_is_an_event():
    assert sorted(re.findall(r"^### (.+)$", PAGE, re.MULTILINE)) == sorted(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_an_events_section_lists_just_its_fields(name):
    wanted = list(TYPES[name].__struct_fields__)
    assert sorted(listed(SECTIONS[name])) == sorted(wanted)


@pytest.mark.parametrize("name", TYPES)
def test_an_events_section_says_when_it_happens(name):
    sentence = SECTIONS[name].strip().split("\n\n")[0]
    assert not sentence.startswith("-")
    assert sentence.endswith(".")


@pytest.mark.parametrize("name", [name for name, kind in TYPES.items() if not kind.__struct_fields__])
def test_an_event_without_fields_says_so(name):
    assert "no fields" in SECTIONS[name].replace("\n", " ")
