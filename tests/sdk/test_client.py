"""The client against a server that drops, refuses, pages and streams."""

import hashlib
import logging
import pickle
import socket
import threading

import pytest

from foldline.client import Client
from foldline.errors import (
    ApiError,
    ConnectionFailed,
    FoldlineError,
    Invalid,
    NotFound,
    Refused,
    StaleVersion,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from tests.sdk.canned import Answer, Canned

RUN = {"id": "r" * 32, "status": "running"}


@pytest.mark.parametrize(
    "away",
    [
        pytest.param(Answer(drop=True), id="the connection breaks"),
        pytest.param(Answer(503, {"code": "not-ready", "detail": "starting"}), id="not ready"),
        pytest.param(Answer(502, b"<html>bad gateway</html>"), id="a proxy in between"),
    ],
)
def test_a_command_is_tried_again_under_the_same_key(canned: Canned, client: Client, away: Answer):
    canned.on("POST", "runs", away, away, Answer(201, RUN))
    assert client.runs.submit(pipeline_id="p") == RUN
    keys = [asked.headers["Idempotency-Key"] for asked in canned.to("POST", "runs")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    client.runs.submit(pipeline_id="p")
    assert canned.to("POST", "runs")[-1].headers["Idempotency-Key"] != keys[0]


def test_a_given_key_is_sent(canned: Canned, client: Client):
    canned.on("POST", "runs", Answer(201, RUN))
    client.runs.submit(pipeline_id="p", key="nightly-2026-11-22")
    assert canned.asked[0].headers["Idempotency-Key"] == "nightly-2026-11-22"


def test_reads_bear_no_key_and_all_bear_the_token(canned: Canned, client: Client):
    canned.on("GET", "runs/r", Answer(200, RUN))
    client.runs.get("r")
    assert "Idempotency-Key" not in canned.asked[0].headers
    assert canned.asked[0].headers["Authorization"] == "Bearer secret-token"


def test_a_refusal_is_not_tried_again(canned: Canned, client: Client):
    canned.on("POST", "tasks/t/reset", Answer(409, {"code": "refused", "detail": "it is running"}))
    with pytest.raises(Refused, match="it is running"):
        client.tasks.reset("t")
    assert len(canned.asked) == 1


def test_what_repeats_itself_is_sent_once(canned: Canned, client: Client):
    canned.on("POST", "agents/a/heartbeat", Answer(503, {"detail": "starting"}))
    with pytest.raises(Unavailable):
        client.agents.heartbeat("a", session="s", held=[])
    assert len(canned.asked) == 1
    assert "Idempotency-Key" not in canned.asked[0].headers


def test_a_server_that_is_not_there_is_named_with_the_cure():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionFailed, match=rf"{url}.*FOLDLINE_URL"):
        Client(url, patience=0).runs.get("r")


@pytest.mark.parametrize("url", ["localhost:8420", "ftp://somewhere", "http://"])
def test_what_is_no_address_fails_at_once(url: str):
    with pytest.raises(ConnectionFailed, match="FOLDLINE_URL"):
        Client(url, patience=1000).runs.get("r")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (409, Refused),
        (412, StaleVersion),
        (413, TooLarge),
        (422, Invalid),
        (418, ApiError),
        (500, ApiError),
    ],
)
def test_each_status_has_its_error(canned: Canned, client: Client, status: int, error: type[ApiError]):
    problem = {"code": "c", "detail": "no good", "instance": "/x", "errors": [{"location": "name", "message": "empty"}]}
    canned.on("GET", "runs/r", Answer(status, problem))
    with pytest.raises(error) as caught:
        client.runs.get("r")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.code, caught.value.instance) == (status, "c", "/x")
    assert str(caught.value) == "no good (name: empty)"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_answer_from_something_else_says_so(canned: Canned, client: Client):
    canned.on("GET", "runs/r", Answer(404, b"<h1>Not here</h1>"))
    with pytest.raises(NotFound, match="is this a Foldline server"):
        client.runs.get("r")


def test_invalid_is_a_value_error():
    assert issubclass(Invalid, ValueError)
    assert issubclass(Invalid, FoldlineError)


def test_a_list_is_paged_as_it_is_read_and_waits_for_the_last_write(canned: Canned, client: Client):
    canned.on("POST", "queues", Answer(201, {"name": "q"}, {"Foldline-Position": "0-7"}))
    canned.on("GET", "runs", Answer(200, {"items": [{"n": 1}, {"n": 2}], "next_cursor": "c1"}))
    canned.on("GET", "runs", Answer(200, {"items": [{"n": 3}], "next_cursor": None}))
    client.queues.create("q")
    found = iter(client.runs.list(status=["failed", "stopped"]))
    assert next(found) == {"n": 1}
    assert len(canned.to("GET", "runs")) == 1
    assert [item["n"] for item in found] == [2, 3]
    first, second = (asked.query for asked in canned.to("GET", "runs"))
    assert "status=failed&status=stopped" in first
    assert "min_position=0-7" in first
    assert "cursor=c1" in second


def test_a_limit_holds_across_pages(canned: Canned, client: Client):
    canned.on("GET", "runs", Answer(200, {"items": [{"n": 1}, {"n": 2}], "next_cursor": "more"}))
    assert len(list(client.runs.list(limit=2))) == 2
    assert "limit=2" in canned.asked[0].query
    assert len(canned.asked) == 1


def test_a_list_that_always_has_a_next_cursor_ends_at_an_empty_page(canned: Canned, client: Client):
    canned.on("GET", "events", Answer(200, {"items": [{"position": "0-1"}], "next_cursor": "0-1"}))
    canned.on("GET", "events", Answer(200, {"items": [], "next_cursor": "0-1"}))
    assert list(client.events.list()) == [{"position": "0-1"}]


def test_a_followed_log_resumes_where_it_broke(canned: Canned, client: Client):
    sse = {"Content-Type": "text/event-stream"}
    whole = b'id: 5\ndata: {"text": "first"}\n\nid: 11\ndata: {"text": "second"}\n\n'
    canned.on("GET", "tasks/t/logs", Answer(200, whole, sse, cut=whole.index(b"id: 11") + 12))
    canned.on("GET", "tasks/t/logs", Answer(200, b'id: 11\ndata: {"text": "second"}\n\nevent: end\ndata: {}\n\n', sse))
    assert list(client.tasks.follow_logs("t")) == ["first", "second"]
    assert [asked.query for asked in canned.asked] == ["offset=0", "offset=5"]


def test_followed_events_resume_after_the_last_position(canned: Canned, client: Client):
    sse = {"Content-Type": "text/event-stream"}
    canned.on("GET", "events", Answer(200, b'id: 0-1\ndata: {"position": "0-1"}\n\n', sse))
    canned.on("GET", "events", Answer(200, b'id: 0-2\ndata: {"position": "0-2"}\n\n', sse))
    events = client.events.follow(run_id="r")
    assert [next(events)["position"], next(events)["position"]] == ["0-1", "0-2"]
    assert [asked.query for asked in canned.asked] == ["run_id=r", "after=0-1&run_id=r"]


def test_a_replay_is_read_line_by_line(canned: Canned, client: Client):
    canned.on("GET", "runs/r/replay", Answer(200, b'{"version": 1}\n\n{"version": 2}\n'))
    assert [line["version"] for line in client.runs.replay("r", start=1, speed=0)] == [1, 2]
    assert canned.asked[0].query == "from=1&speed=0"


def test_a_large_file_is_sent_again_from_its_start(canned: Canned, client: Client, tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "data").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    canned.on("HEAD", f"blobs/{sha256}", Answer(404, {}))
    canned.on("PUT", f"blobs/{sha256}", Answer(503, {"detail": "starting"}), Answer(201, {}))
    assert client.blobs.put_file(tmp_path / "data") == (sha256, len(data))
    assert [asked.content == data for asked in canned.to("PUT", f"blobs/{sha256}")] == [True, True]


def test_what_the_server_has_is_not_sent(canned: Canned, client: Client):
    sha256 = hashlib.sha256(b"known").hexdigest()
    canned.on("HEAD", f"blobs/{sha256}", Answer(200, {}))
    assert client.blobs.put_bytes(b"known") == (sha256, 5)
    assert [asked.method for asked in canned.asked] == ["HEAD"]


def test_a_download_goes_on_where_it_broke(canned: Canned, client: Client, tmp_path):
    data = b"0123456789" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    canned.on("GET", f"blobs/{sha256}", Answer(200, data, cut=4000), Answer(206, data[4000:]))
    assert client.blobs.get(sha256, tmp_path / "data").read_bytes() == data
    assert canned.asked[1].headers["Range"] == "bytes=4000-"


def test_a_download_with_another_hash_leaves_nothing(canned: Canned, client: Client, tmp_path):
    canned.on("GET", "blobs/" + "0" * 64, Answer(200, b"something else"))
    with pytest.raises(FoldlineError, match="another hash"):
        client.blobs.get("0" * 64, tmp_path / "data")
    assert list(tmp_path.glob("*data*")) == []


def test_waiting_for_a_run_ends_with_the_run(canned: Canned, client: Client):
    canned.on("GET", "runs/r", Answer(200, RUN), Answer(200, {**RUN, "status": "failed"}))
    looks: list[str] = []
    assert client.runs.wait("r", each=lambda run: looks.append(run["status"]))["status"] == "failed"
    assert looks == ["running", "failed"]


def test_waiting_for_a_run_has_an_end(canned: Canned, client: Client):
    canned.on("GET", "runs/r", Answer(200, RUN))
    with pytest.raises(TimedOut, match="still running"):
        client.runs.wait("r", timeout=0.1)


def test_names_with_slashes_stay_one_segment(canned: Canned, client: Client):
    canned.on("GET", "queues/a%2F..%2Fb%20%C3%A9", Answer(200, {"name": "a/../b é"}))
    assert client.queues.get("a/../b é")["name"] == "a/../b é"


def test_inside_a_task_commands_say_which_and_have_patience(canned: Canned, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOLDLINE_TASK_ID", "t1")
    canned.on("POST", "tasks", Answer(201, {"id": "t2"}))
    canned.on("POST", "tasks/t2/enqueue", Answer(200, {"id": "t2"}))
    canned.on("POST", "tasks/t2/clone", Answer(201, {"id": "t3"}))
    with Client() as client:
        assert client._transport.patience == 600
        client.tasks.create(name="child", project="p")
        client.tasks.enqueue("t2", "default")
        client.tasks.clone("t2")
    assert [asked.json()["origin"] for asked in canned.asked] == ["t1", "t1", "t1"]


def test_threads_share_a_client(canned: Canned, client: Client):
    canned.on("GET", "runs/r", Answer(200, RUN))
    found: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(client.runs.get("r"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [RUN] * 8


def test_a_client_never_shows_its_token(client: Client):
    assert "secret-token" not in repr(client)


def test_requests_are_not_spoken_of_in_a_log_of_the_script(
    canned: Canned, client: Client, caplog: pytest.LogCaptureFixture
):
    canned.on("GET", "runs/r", Answer(200, RUN))
    with caplog.at_level(logging.DEBUG):
        client.runs.get("r")
    assert not [record.name for record in caplog.records if record.name.startswith("http")]


def test_who_asks_to_hear_of_requests_does(canned: Canned, client: Client, caplog: pytest.LogCaptureFixture):
    canned.on("GET", "runs/r", Answer(200, RUN))
    with caplog.at_level(logging.INFO, logger="httpx2"):
        client.runs.get("r")
    assert "httpx2" in [record.name for record in caplog.records]
