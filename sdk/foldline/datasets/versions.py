"""Versions of datasets: which is higher, and which comes next."""

import re
from collections.abc import Iterable
from typing import Final

FIRST: Final = "1.0.0"

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|dev)[-_.]?(\d*))?(\+.*)?", re.I)
# What comes before the release it is called after, what is the release, and what comes after it.
_RANKS: Final = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "preview": 3, "post": 5}
_RELEASE: Final = 4

Key = tuple[tuple[int, ...], int, int]


def key_of(version: str | None) -> Key | None:
    """What versions are ordered by; None for what is no version of numbers."""
    found = _VERSION.fullmatch((version or "").strip())
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:  # 1.0 is 1.0.0
        numbers.pop()
    rank = _RANKS[found[2].lower()] if found[2] else _RELEASE
    return tuple(numbers), rank, int(found[3] or 0)


def following(version: str) -> str | None:
    """The next version: its last number, one higher; None for what is no version of numbers."""
    if key_of(version) is None:
        return None
    release, plus, _ = version.strip().partition("+")
    del plus
    last = re.search(r"(\d+)\D*$", release)
    assert last is not None, "a version has a number"
    return f"{release[: last.start(1)]}{int(last[1]) + 1}{release[last.end(1) :]}"


def highest(versions: Iterable[str | None]) -> str | None:
    """The highest of those that are versions of numbers."""
    keyed = [(key, version) for version in versions if (key := key_of(version)) is not None]
    return max(keyed, key=lambda one: one[0])[1] if keyed else None
