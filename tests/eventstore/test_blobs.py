"""Files under their SHA-256."""

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from eventstore.blobs import ABANDONED_AFTER, Blobs, TooLarge, WrongDigest


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", most_bytes=1000)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file())


def kept(blobs: Blobs, *pieces: bytes) -> str:
    with blobs.writer() as writer:
        for piece in pieces:
            writer.write(piece)
        return writer.keep()


def test_bytes_are_kept_under_their_hash(blobs: Blobs, tmp_path: Path):
    digest = kept(blobs, b"hello ", b"world")
    assert digest == sha256(b"hello world").hexdigest()
    assert blobs.path(digest).read_bytes() == b"hello world"
    assert blobs.exists(digest)
    assert blobs.size(digest) == 11
    assert files(tmp_path) == [digest]


def test_nothing_may_be_kept_too(blobs: Blobs):
    assert blobs.size(kept(blobs)) == 0


def test_the_same_bytes_are_kept_once(blobs: Blobs, tmp_path: Path):
    first = kept(blobs, b"data")
    written = blobs.path(first).stat().st_ino
    assert kept(blobs, b"da", b"ta") == first
    assert blobs.path(first).stat().st_ino == written
    assert files(tmp_path) == [first]


def test_what_was_announced_is_compared(blobs: Blobs, tmp_path: Path):
    announced = sha256(b"data").hexdigest()
    with blobs.writer() as writer:
        writer.write(b"other")
        with pytest.raises(WrongDigest, match=sha256(b"other").hexdigest()):
            writer.keep(announced)
    assert not blobs.exists(announced)
    assert files(tmp_path) == []
    with blobs.writer() as writer:
        writer.write(b"data")
        assert writer.keep(announced) == announced


def test_more_than_the_limit_is_refused_and_leaves_nothing(blobs: Blobs, tmp_path: Path):
    assert blobs.size(kept(blobs, b"x" * 1000)) == 1000
    with blobs.writer() as writer:
        writer.write(b"y" * 600)
        with pytest.raises(TooLarge, match="1,000 bytes"):
            writer.write(b"y" * 600)
    assert len(files(tmp_path)) == 1


def test_what_is_not_kept_leaves_nothing(blobs: Blobs, tmp_path: Path):
    with blobs.writer() as writer:
        writer.write(b"data")
    assert files(tmp_path) == []


def test_an_unknown_file_is_missing(blobs: Blobs):
    assert not blobs.exists("0" * 64)
    with pytest.raises(FileNotFoundError):
        blobs.size("0" * 64)


@pytest.mark.parametrize("name", ["../" * 20 + "etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_hash_reaches_no_file(blobs: Blobs, name: str):
    for use in (blobs.path, blobs.exists, blobs.size):
        with pytest.raises(ValueError, match="no SHA-256"):
            use(name)


def test_what_a_dead_writer_left_long_ago_is_removed(blobs: Blobs, tmp_path: Path):
    old, new = (tmp_path / "blobs" / "incoming" / name for name in ("old", "new"))
    for left in (old, new):
        left.write_bytes(b"half")
    long_ago = time.time() - ABANDONED_AFTER - 60
    os.utime(old, (long_ago, long_ago))
    Blobs(tmp_path / "blobs", most_bytes=1000)
    assert files(tmp_path) == ["new"]
