"""Versions, paths and manifests of datasets, without a server."""

import json
from typing import Any

import pytest

from foldline.datasets.entries import Manifest, decoded, matching, safe_path
from foldline.datasets.versions import following, highest, key_of
from foldline.errors import FoldlineError


@pytest.mark.parametrize(
    ("versions", "top"),
    [
        (["1.0.0", "1.0.10", "1.0.9"], "1.0.10"),
        (["1.0", "1.0.1", None, "latest"], "1.0.1"),
        (["2.0.0rc1", "2.0.0.dev3", "1.9"], "2.0.0rc1"),
        (["2.0.0rc1", "2.0.0", "2.0.0.post1"], "2.0.0.post1"),
        (["latest", None], None),
    ],
)
def test_the_highest_version(versions: list[str | None], top: str | None):
    assert highest(versions) == top


@pytest.mark.parametrize(
    ("version", "after"),
    [("1.0.0", "1.0.1"), ("1.9", "1.10"), ("3", "4"), ("1.0rc1", "1.0rc2"), ("1.2+local", "1.3"), ("latest", None)],
)
def test_the_version_that_follows(version: str, after: str | None):
    assert following(version) == after


def test_trailing_zeros_do_not_count():
    assert key_of("1.0") == key_of("1") == key_of("v1.0.0")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", ".", "a\0b"])
def test_a_path_that_leads_out_is_refused(path: str):
    with pytest.raises(FoldlineError, match="no path inside a dataset"):
        safe_path(path)
    manifest = json.loads(Manifest().encoded())
    entry = {"sha256": "0" * 64, "size": 1, "modified": 0, "dataset": "d"}
    with pytest.raises(FoldlineError, match="no path inside a dataset"):
        decoded(json.dumps({**manifest, "files": {path: entry}}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "files": {"a": {}}}'])
def test_what_is_no_manifest_is_said(data: bytes):
    with pytest.raises(FoldlineError, match="manifest"):
        decoded(data)


@pytest.mark.parametrize(
    ("wildcard", "recursive", "found"),
    [
        (None, True, ["a.csv", "s/b.csv", "s/t/c.txt"]),
        ("*.csv", True, ["a.csv", "s/b.csv"]),
        ("*.csv", False, ["a.csv"]),
        ("s", True, ["s/b.csv", "s/t/c.txt"]),
        ("/s/t/", True, ["s/t/c.txt"]),
        ("s/*.txt", True, ["s/t/c.txt"]),
        ("s/*", False, ["s/b.csv"]),
        (["*.txt", "a*"], True, ["a.csv", "s/t/c.txt"]),
        ("", True, []),
    ],
)
def test_wildcards(wildcard: Any, recursive: bool, found: list[str]):
    assert matching(["a.csv", "s/b.csv", "s/t/c.txt"], wildcard, recursive) == found
