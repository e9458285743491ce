"""The log by HTTP: read page by page, and followed live."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.services import Services
from api.trail import Trail
from tests.support.by_hand import Agent, Json, answered, step, submitted, template

EVENTS = "/api/v1/events"
SSE, NDJSON = {"Accept": "text/event-stream"}, {"Accept": "application/x-ndjson"}


def events(client: httpx2.Client, **params: Any) -> list[Json]:
    """All of them, page by page."""
    found: list[Json] = []
    cursor = None
    while True:
        page = answered(client.get(EVENTS, params={"limit": 5, **params, **({"cursor": cursor} if cursor else {})}))
        found += page["items"]
        if page["next_cursor"] == cursor:
            return found
        cursor = page["next_cursor"]


def test_the_log_is_read_page_by_page_oldest_first(client: TestClient):
    submitted(client, step("a"), step("b"))
    found = events(client)
    assert [event["position"] for event in found] == [f"0-{number}" for number in range(1, len(found) + 1)]
    assert found == answered(client.get(EVENTS, params={"limit": 500}))["items"]
    assert found[0]["type"] == "QueueCreated"
    assert [event["subject"] for event in found[-4:]] == ["a", "a", "b", "b"]


def test_the_cursor_at_the_end_finds_what_comes_later(client: TestClient):
    end = answered(client.get(EVENTS, params={"limit": 500}))["next_cursor"]
    assert answered(client.get(EVENTS, params={"after": end})) == {"items": [], "next_cursor": end}
    task = template(client)
    [event] = answered(client.get(EVENTS, params={"after": end}))["items"]
    assert (event["stream"], event["type"]) == (f"task-{task['id']}", "TaskCreated")


def test_the_log_of_one_run_one_stream_or_some_types(client: TestClient):
    run, other = submitted(client, step("a"), step("b", "a")), submitted(client, name="other")
    Agent(client).works()
    template(client)
    log = events(client)
    of_run = [event for event in log if event["run_id"] == run["id"]]
    assert events(client, run_id=run["id"]) == of_run
    assert answered(client.get(f"/api/v1/runs/{run['id']}/history"))["items"] == of_run
    stream = of_run[-2]["stream"]
    assert events(client, stream=stream) == [event for event in log if event["stream"] == stream]
    types = ["TaskStarted", "RunCompleted"]
    assert events(client, type=types) == [event for event in log if event["type"] in types]
    both = [event for event in of_run if event["type"] in types]
    assert events(client, type=types, run_id=run["id"]) == both
    assert events(client, stream=stream, run_id=other["id"]) == []
    for event in log:
        behind = [one for one in of_run if int(one["position"][2:]) > int(event["position"][2:])]
        assert events(client, run_id=run["id"], after=event["position"]) == behind


def test_a_long_search_goes_on_from_where_it_stopped(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    submitted(client, step("a"))
    Agent(client).works()
    monkeypatch.setattr("api.trail.PAGE", 2)
    monkeypatch.setattr("api.trail.MOST_PAGES", 2)
    trail = Trail(services.store, 0, types={"RunCompleted"})
    assert trail.read(10) == ([], True)
    assert trail.position == 4
    assert [event["type"] for event in events(client, type="RunCompleted")] == ["RunCompleted"]


@pytest.mark.parametrize(
    "params",
    [{"after": "x"}, {"after": "1-1"}, {"after": "0-999999"}, {"cursor": "0-²"}, {"limit": 0}, {"stream": "a\x00"}],
)
def test_a_question_that_makes_no_sense_is_refused(shared_client: TestClient, params: Json):
    answered(shared_client.get(EVENTS, params=params), 422)
    if "limit" not in params:
        answered(shared_client.get(EVENTS, params=params, headers=SSE), 422)


@contextmanager
def followed(client: httpx2.Client, accept: Json, **params: Any) -> Iterator[Iterator[str]]:
    """The lines of the log as they come."""
    with client.stream("GET", EVENTS, headers=accept, params=params) as response:
        assert response.status_code == 200
        assert response.headers["X-Accel-Buffering"] == "no"
        yield response.iter_lines()


def sent(lines: Iterator[str]) -> tuple[str, Json]:
    """The next server-sent event: its id and data."""
    fields = dict(line.split(": ", 1) for line in iter(lambda: next(lines), ""))
    return fields["id"], json.loads(fields["data"])


def test_the_log_is_followed_live_as_lines(listening: httpx2.Client):
    with followed(listening, NDJSON) as lines:
        assert [json.loads(next(lines))["type"] for _ in range(2)] == ["QueueCreated"] * 2
        task = template(listening)
        assert json.loads(next(lines))["stream"] == f"task-{task['id']}"
        answered(listening.patch(f"/api/v1/tasks/{task['id']}", json={"comment": "x"}))
        assert json.loads(next(lines))["type"] == "TaskEdited"


def test_the_log_is_followed_live_as_events_and_resumed(listening: httpx2.Client):
    with followed(listening, SSE) as lines:
        seen = [sent(lines) for _ in range(2)]
        assert [id for id, _ in seen] == [event["position"] for _, event in seen] == ["0-1", "0-2"]
    template(listening)
    with followed(listening, {**SSE, "Last-Event-ID": "0-2"}, after="0-0") as lines:
        assert sent(lines)[1]["type"] == "TaskCreated"
    with followed(listening, SSE, after="0-1") as lines:
        assert [sent(lines)[0] for _ in range(2)] == ["0-2", "0-3"]


def test_a_live_log_is_of_what_was_asked_for(listening: httpx2.Client):
    run = submitted(listening)
    with followed(listening, NDJSON, run_id=run["id"], type="TaskStarted") as lines:
        template(listening)
        submitted(listening, name="other")
        Agent(listening).works()
        event = json.loads(next(lines))
        assert (event["run_id"], event["subject"]) == (run["id"], "only")


def test_a_silent_log_keeps_its_connection_open(listening: httpx2.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("api.routes.events.PING_EVERY", 0.01)
    with followed(listening, SSE, after="0-2") as lines:
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]


def test_many_follow_and_each_hears_everything(listening: httpx2.Client):
    run = submitted(listening, *(step(f"s{number}") for number in range(300)))
    head = answered(listening.get("/api/v1/projections"))["items"][0]["head"]
    count = int(head.removeprefix("0-"))
    with followed(listening, NDJSON) as one, followed(listening, NDJSON, run_id=run["id"]) as other:
        assert [json.loads(next(one))["position"] for _ in range(count)] == [f"0-{n}" for n in range(1, count + 1)]
        assert [json.loads(next(other))["run_version"] for _ in range(602)] == list(range(1, 603))
        task = template(listening)
        assert json.loads(next(one))["stream"] == f"task-{task['id']}"
