"""Bytes under their own SHA-256."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.support.waiting import wait_until

HELLO = sha256(b"hello").hexdigest()


def address(digest: str) -> str:
    return f"/api/v1/blobs/{digest}"


def stored(client: Any, data: bytes) -> str:
    where = address(sha256(data).hexdigest())
    assert client.put(where, content=data).is_success
    return where


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def blobs_folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


def test_bytes_come_back_as_they_were(client: TestClient):
    data = bytes(range(256)) * 10_000
    answer = client.get(stored(client, data))
    assert answer.content == data
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "attachment" in answer.headers["Content-Disposition"]


def test_nothing_at_all_can_be_stored(client: TestClient):
    answer = client.get(stored(client, b""))
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_second_time_it_is_there_already(client: TestClient):
    statuses = [client.put(address(HELLO), content=b"hello").status_code for _ in range(2)]
    assert statuses == [201, 200]


def test_bytes_under_another_hash_are_refused_and_not_kept(client: TestClient, blobs_folder: Path):
    answer = client.put(address(HELLO), content=b"hullo")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert sha256(b"hullo").hexdigest() in answer.json()["detail"]
    assert client.head(address(HELLO)).status_code == 404
    assert files_in(blobs_folder) == []


def test_head_says_whether_it_is_there_and_how_large(client: TestClient):
    assert client.head(address(HELLO)).status_code == 404
    answer = client.head(stored(client, b"hello"))
    assert (answer.status_code, answer.headers["Content-Length"], answer.headers["ETag"]) == (200, "5", f'"{HELLO}"')


@pytest.mark.parametrize("digest", ["0" * 63, "A" * 64, "..%2F..%2Ffoldline.db", "%00", "ü" * 64])
def test_what_is_no_hash_names_nothing(client: TestClient, digest: str, tmp_path: Path):
    for method in ("GET", "PUT", "HEAD"):
        assert client.request(method, address(digest)).status_code == 404


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bytes=0-0", b"0"),
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-3", b"789"),
        ("bytes=8-99", b"89"),
        ("bytes=-99", b"0123456789"),
    ],
)
def test_a_range_of_it(client: TestClient, asked: str, found: bytes):
    answer = client.get(stored(client, b"0123456789"), headers={"Range": asked})
    start = b"0123456789".index(found)
    assert (answer.status_code, answer.content) == (206, found)
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(found) - 1}/10"


@pytest.mark.parametrize("asked", ["bytes=4-2", "bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"])
def test_what_is_no_single_range_is_all_of_it(client: TestClient, asked: str):
    answer = client.get(stored(client, b"0123456789"), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_outside_says_how_large_it_is(client: TestClient, asked: str):
    answer = client.get(stored(client, b"0123456789"), headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "no-such-range")
    assert answer.headers["Content-Range"] == "bytes */10"


def test_too_many_bytes_are_refused_and_not_kept(start: Callable[..., TestClient], blobs_folder: Path):
    client = start(most_artifact_bytes=100)
    data = b"x" * 101
    assert client.put(address(sha256(data).hexdigest()), content=data).status_code == 413
    assert files_in(blobs_folder) == []


def test_who_does_not_say_how_many_bytes_come_is_stopped_at_the_limit(
    start: Callable[..., TestClient], blobs_folder: Path
):
    def endless() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 10

    client = start(most_artifact_bytes=100)
    answer = client.put(address(HELLO), content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert files_in(blobs_folder) == []


def test_a_large_file_is_streamed(listening: httpx2.Client):
    piece = b"0123456789abcdef" * 4096
    digest = sha256()
    for _ in range(100):
        digest.update(piece)
    where = address(digest.hexdigest())
    assert listening.put(where, content=(piece for _ in range(100))).status_code == 201
    found, size = sha256(), 0
    with listening.stream("GET", where) as answer:
        for part in answer.iter_bytes():
            found.update(part)
            size += len(part)
    assert (found.hexdigest(), size) == (digest.hexdigest(), 100 * len(piece))


def test_who_leaves_in_the_middle_leaves_nothing_behind(listening: httpx2.Client, blobs_folder: Path):
    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionError("the cable")

    with pytest.raises(ConnectionError):
        listening.put(address(HELLO), content=broken())
    assert listening.put(address(HELLO), content=b"hello").status_code == 201
    wait_until(lambda: [path.name for path in files_in(blobs_folder)] == [HELLO], "the broken upload is cleared away")
