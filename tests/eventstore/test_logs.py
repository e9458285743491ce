"""Logs by offset, in files and in a table."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventstore.logs import FileLogs, LogGap, Logs, TableLogs
from eventstore.sql import SqlStore

TASK, OTHER = "ab" * 16, "cd" * 16


@pytest.fixture(params=["files", "sqlite table", "postgres table"])
def logs(request: pytest.FixtureRequest, tmp_path: Path, opened: Callable[[str], SqlStore]) -> Logs:
    if request.param == "files":
        return FileLogs(tmp_path / "logs")
    return TableLogs(opened(request.getfixturevalue(f"{request.param.split()[0]}_url")).database)


def test_what_is_appended_is_read_by_offset(logs: Logs):
    assert logs.append(TASK, 1, 0, b"hello ") == 6
    assert logs.append(TASK, 1, 6, b"world\xff\x00\n") == 14
    assert logs.read(TASK, 1, 0, 100) == b"hello world\xff\x00\n"
    assert logs.read(TASK, 1, 4, 4) == b"o wo"
    assert logs.read(TASK, 1, 6, 5) == b"world"
    assert logs.read(TASK, 1, 14, 5) == b""
    assert logs.read(TASK, 1, 99, 5) == b""
    assert logs.size(TASK, 1) == 14


def test_each_attempt_has_its_own_log(logs: Logs):
    logs.append(TASK, 1, 0, b"one")
    logs.append(TASK, 2, 0, b"two")
    logs.append(OTHER, 1, 0, b"other")
    assert [logs.read(TASK, 1, 0, 9), logs.read(TASK, 2, 0, 9), logs.read(OTHER, 1, 0, 9)] == [b"one", b"two", b"other"]


def test_a_log_that_was_never_written_is_empty(logs: Logs):
    assert logs.read(TASK, 1, 0, 10) == b""
    assert logs.size(TASK, 1) == 0


def test_a_repeat_changes_nothing(logs: Logs):
    logs.append(TASK, 1, 0, b"hello")
    assert logs.append(TASK, 1, 0, b"hello") == 5
    assert logs.append(TASK, 1, 1, b"ell") == 5
    assert logs.read(TASK, 1, 0, 99) == b"hello"


def test_what_overlaps_is_kept_once(logs: Logs):
    logs.append(TASK, 1, 0, b"hello")
    assert logs.append(TASK, 1, 3, b"lo world") == 11
    assert logs.read(TASK, 1, 0, 99) == b"hello world"


def test_a_gap_is_refused_and_says_where_to_go_on(logs: Logs):
    logs.append(TASK, 1, 0, b"hello")
    with pytest.raises(LogGap, match="from offset 5") as refused:
        logs.append(TASK, 1, 6, b"world")
    assert refused.value.offset == 5
    assert logs.size(TASK, 1) == 5


def test_nothing_may_be_appended(logs: Logs):
    assert logs.append(TASK, 1, 0, b"") == 0
    assert logs.append(TASK, 1, 0, b"x") == 1
    assert logs.append(TASK, 1, 1, b"") == 1


def test_a_megabyte_on_one_line_is_kept(logs: Logs):
    line = bytes(range(256)) * 4096
    assert logs.append(TASK, 1, 0, line) == len(line)
    assert logs.read(TASK, 1, 1_000_000, 100) == line[1_000_000:1_000_100]


def test_senders_of_the_same_bytes_leave_them_once(logs: Logs):
    text = b"".join(b"%06d\n" % number for number in range(200))

    def send(size: int) -> int:
        offset = 0
        while offset < len(text):
            offset = logs.append(TASK, 1, offset, text[offset : offset + size])
        return offset

    with ThreadPoolExecutor(4) as senders:
        assert list(senders.map(send, [70, 100, 333, 70])) == [len(text)] * 4
    assert logs.read(TASK, 1, 0, 9999) == text


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "AB" * 16, "ab" * 15, "ab" * 16 + "\n", "/" * 32])
def test_a_name_that_is_no_id_reaches_no_file(tmp_path: Path, name: str):
    logs = FileLogs(tmp_path / "logs")
    for use in (lambda: logs.append(name, 1, 0, b"x"), lambda: logs.read(name, 1, 0, 1), lambda: logs.size(name, 1)):
        with pytest.raises(ValueError, match="no id"):
            use()
    assert not (tmp_path / "logs").exists()
