"""What attempts print: appended by offset, read by offset, followed while it grows."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.routes import logs
from api.services import Services
from controller.handle import By
from domain.task import LoseTask
from tests.support.sse import Event, events_in
from tests.support.tasks import TASKS, made, started, told

LIVE = {"Accept": "text/event-stream"}


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def said(client: httpx2.Client, task: dict[str, Any], data: bytes, offset: int, attempt: int = 1) -> Any:
    params = {"attempt": attempt, "offset": offset}
    return client.post(f"{TASKS}/{task['id']}/logs", params=params, content=data)


def read(client: TestClient, task: dict[str, Any], **params: Any) -> Any:
    return client.get(f"{TASKS}/{task['id']}/logs", params=params)


def followed(client: TestClient, task: dict[str, Any], **headers: str) -> list[Event]:
    answer = client.get(f"{TASKS}/{task['id']}/logs", headers={**LIVE, **headers})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return list(events_in(answer.text.split("\n")))


def test_what_is_appended_is_read_piece_by_piece(client: TestClient):
    task = started(client)
    assert said(client, task, b"first ", 0).json() == {"offset": 6}
    assert said(client, task, b"second", 6).json() == {"offset": 12}
    answer = read(client, task, attempt=1, limit=8)
    assert (answer.content, answer.headers["Foldline-Next-Offset"]) == (b"first se", "8")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer = read(client, task, offset=8)
    assert (answer.content, answer.headers["Foldline-Next-Offset"]) == (b"cond", "12")
    answer = read(client, task, offset=99)
    assert (answer.content, answer.headers["Foldline-Next-Offset"]) == (b"", "99")


def test_a_repeat_is_harmless_and_a_gap_says_where_to_go_on(client: TestClient):
    task = started(client)
    for _ in range(2):
        assert said(client, task, b"hello", 0).json() == {"offset": 5}
    gap = said(client, task, b"late", 9)
    assert (gap.status_code, gap.json()["code"], gap.json()["offset"]) == (409, "log-gap", 5)
    assert read(client, task).content == b"hello"


def test_bytes_are_kept_as_they_are(client: TestClient):
    task = started(client)
    data = bytes(range(256))
    said(client, task, data, 0)
    assert read(client, task).content == data


def test_each_attempt_has_its_own_log_and_the_last_is_read_by_default(client: TestClient):
    task = started(client)
    said(client, task, b"one", 0)
    told(client, told(client, task, "fail"), "start", session="77" * 16)
    said(client, task, b"two", 0, attempt=2)
    said(client, task, b" more", 3, attempt=1)
    assert read(client, task).content == b"two"
    assert read(client, task, attempt=1).content == b"one more"


def test_a_task_that_never_ran_has_an_empty_log(client: TestClient):
    answer = read(client, made(client))
    assert (answer.content, answer.headers["Foldline-Next-Offset"]) == (b"", "0")


@pytest.mark.parametrize("live", [{}, LIVE], ids=["read", "follow"])
def test_an_attempt_that_was_not_made_has_no_log(client: TestClient, live: dict[str, str]):
    task = started(client)
    assert said(client, task, b"x", 0, attempt=2).status_code == 404
    answer = client.get(f"{TASKS}/{task['id']}/logs", params={"attempt": 2}, headers=live)
    assert answer.status_code == 404
    assert "no attempt 2" in answer.json()["detail"]


@pytest.mark.parametrize("params", [{}, {"attempt": 1}, {"attempt": 0, "offset": 0}, {"attempt": 1, "offset": -1}])
def test_a_piece_without_its_place_is_refused(client: TestClient, params: dict[str, int]):
    assert client.post(f"{TASKS}/{started(client)['id']}/logs", params=params, content=b"x").status_code == 422


# Followed


def test_a_log_that_has_ended_is_told_and_ends(client: TestClient):
    task = started(client)
    said(client, task, "grün\n".encode(), 0)
    told(client, task, "complete")
    assert followed(client, task) == [Event("6", "message", {"text": "grün\n"}), Event("6", "end", {})]


def test_a_task_that_ended_without_running_has_nothing_to_follow(client: TestClient):
    task = told(client, told(client, made(client), "enqueue", queue="default"), "stop")
    assert followed(client, task) == [Event("0", "end", {})]


def test_who_follows_goes_on_behind_the_last_event_seen(client: TestClient):
    task = started(client)
    said(client, task, b"first second", 0)
    told(client, task, "complete")
    assert followed(client, task, **{"Last-Event-ID": "6"})[0].data == {"text": "second"}


def test_a_long_log_comes_in_pieces_and_loses_nothing(client: TestClient):
    task = started(client)
    text = "häßlich\n" * 30_000
    said(client, task, text.encode(), 0)
    told(client, task, "complete")
    *pieces, end = followed(client, task)
    assert len(pieces) == -(-len(text.encode()) // logs.PIECE)
    assert "".join(piece.data["text"] for piece in pieces) == text
    # Each id is a place at which the text can be gone on with.
    for number, piece in enumerate(pieces):
        so_far = "".join(told.data["text"] for told in pieces[: number + 1])
        assert int(piece.id or 0) == len(so_far.encode())
    assert end.event == "end"


def test_what_is_no_text_is_shown_as_such(client: TestClient):
    task = started(client)
    said(client, task, b"a\xffb\xe2\x82", 0)
    told(client, task, "complete")
    assert "".join(event.data.get("text", "") for event in followed(client, task)) == "a\ufffdb\ufffd"


@pytest.fixture
def follow(listening: httpx2.Client) -> Iterator[Callable[[dict[str, Any]], Iterator[Event]]]:
    """Begin to follow a task on a server that listens."""
    answers: list[Any] = []

    def begin(task: dict[str, Any]) -> Iterator[Event]:
        request = listening.build_request("GET", f"{TASKS}/{task['id']}/logs", headers=LIVE)
        answers.append(listening.send(request, stream=True))
        return events_in(answers[-1].iter_lines())

    yield begin
    for answer in answers:
        answer.close()


Follow = Callable[[dict[str, Any]], Iterator[Event]]


def test_who_follows_sees_what_is_printed_as_it_is_printed(listening: Any, follow: Follow):
    task = started(listening)
    events = follow(task)
    said(listening, task, b"one\n", 0)
    assert next(events) == Event("4", "message", {"text": "one\n"})
    said(listening, task, "zwei ü"[:6].encode()[:-1], 4)
    assert next(events) == Event("9", "message", {"text": "zwei "})
    said(listening, task, "ü".encode()[1:], 10)
    assert next(events) == Event("11", "message", {"text": "ü"})
    told(listening, task, "complete")
    assert list(events) == [Event("11", "end", {})]


def test_who_follows_a_task_that_waits_sees_it_from_its_start(listening: Any, follow: Follow):
    task = made(listening)
    events = follow(task)
    told(listening, task, "start", session="77" * 16)
    said(listening, task, b"go", 0)
    assert next(events).data == {"text": "go"}


def test_who_follows_an_attempt_that_is_lost_is_told_that_it_has_ended(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "POLL", 0.02)
    task = started(client)
    said(client, task, b"then silence", 0)
    services.controller.task(task["id"], LoseTask(attempt=1, reason="gone"), By())
    assert [event.event for event in followed(client, task)] == ["message", "end"]


def test_a_silent_log_keeps_its_connection(listening: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "PING_EVERY", 0.0)
    monkeypatch.setattr(logs, "POLL", 0.02)
    for task in (started(listening), made(listening)):
        with listening.stream("GET", f"{TASKS}/{task['id']}/logs", headers=LIVE) as answer:
            assert next(line for line in answer.iter_lines() if line) == ": ping"


def test_where_other_processes_take_logs_in_they_are_looked_for(
    start: Callable[..., TestClient], postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "POLL_SHARED", 0.02)
    client = start(db=postgres_url)
    task = started(client)
    app: Any = client.app
    services: Services = app.state.services
    looks: list[int] = []
    size_of = services.logs.read

    def read_and_print(task_id: str, attempt: int, offset: int, limit: int) -> bytes:
        data = size_of(task_id, attempt, offset, limit)
        looks.append(offset)
        if len(looks) == 2:
            # As another process would: nothing rings here.
            services.logs.append(task_id, attempt, 0, b"from elsewhere")
        if len(looks) == 5:
            services.controller.task(task_id, LoseTask(attempt=1, reason="gone"), By())
        return data

    monkeypatch.setattr(services.logs, "read", read_and_print)
    assert [event.data.get("text") for event in followed(client, task)] == ["from elsewhere", None]
